"""Data directories of tones."""

from pathlib import Path

import numpy as np
import soundfile

from espnet2_bspmpnet.data.datadir import DataDir, write_scp

LENGTHS = {"p1_b": 8000, "p1_a": 4000, "p2_a": 16000}


def tone(length: int, rate: int, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(length) / rate)


def make(folder: Path, rate: int = 16000, suffix: str = "wav") -> Path:
    """Make a data directory of tones, noisy ones twice as loud as clean ones."""
    datadir = DataDir(folder / "data", {}, {}, {})
    for utterance, length in LENGTHS.items():
        for entries, part, gain in (
            (datadir.wav, "noisy", 1.0),
            (datadir.spk1, "clean", 0.5),
        ):
            path = folder / part / f"{utterance}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, gain * tone(length, rate), rate)
            entries[utterance] = str(path)
        datadir.utt2spk[utterance] = utterance[:2]
    datadir.write()
    write_scp(datadir.path / "text", dict.fromkeys(LENGTHS, "some WORDS"))
    write_scp(datadir.path / "utt2snr", dict.fromkeys(LENGTHS, 2.5))
    return datadir.path


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Take down inode and content of each file, to see which were written again."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def pitch(wave: np.ndarray, rate: int) -> float:
    return np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)
