"""VoiceBank+DEMAND in miniature: its archives' names, layout, rate, logs and texts.

python -m tests.miniatures.vctk_noisy FOLDER TRAINING_PAIRS TEST_PAIRS SHORTEST LONGEST

makes one of any size, of utterances between two lengths in seconds; the real ones are 2.9 s
long on average.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile

from tests.speech import noisy as with_noise
from tests.speech import speechlike

RATE = 48000
TRAIN, TEST = "trainset_28spk", "testset"
SPEAKERS = {TRAIN: ("p226", "p227", "p287", "p228", "p230"), TEST: ("p232", "p257")}
CONDITIONS = {
    TRAIN: (("babble", "cafeteria", "ssn", "traffic"), ("0", "5", "10", "15")),
    TEST: (("bus", "cafe", "living", "psquare"), ("2.5", "7.5", "12.5", "17.5")),
}
WORDS = ("please", "bring", "these", "things", "with", "her", "from", "the", "store")


def write(
    folder: Path,
    train: int = 10,
    test: int = 4,
    seconds: tuple[float, float] = (1.3, 1.6),
    rate: int = RATE,
) -> Path:
    """Write the database as it is once its archives are unpacked.

    Args:
        folder: the folder to make.
        train: pairs for training, some of them of the validation speakers.
        test: pairs for the test.
        seconds: length of the shortest and the longest.
        rate: samples per second.
    """
    random = np.random.default_rng(0)
    voices = [speechlike(seconds[1] + 1, rate, seed) for seed in range(3)]
    for part, count in ((TRAIN, train), (TEST, test)):
        log = []
        for name in names(part, count):
            length = int(random.uniform(*seconds) * rate)
            voice = voices[random.integers(len(voices))]
            begin = random.integers(len(voice) - length + 1)
            clean = voice[begin : begin + length] * random.uniform(0.5, 1)
            noises, snrs = CONDITIONS[part]
            noise, snr = random.choice(noises), random.choice(snrs)
            mixed = with_noise(clean, float(snr), seed=random.integers(1 << 30))
            for side, wave in (("clean", clean), ("noisy", mixed)):
                path = folder / f"{side}_{part}_wav" / f"{name}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave, rate, "PCM_16")
            text = folder / f"{part}_txt" / f"{name}.txt"
            text.parent.mkdir(exist_ok=True)
            words = random.choice(WORDS, 6)
            text.write_text(" ".join(words).capitalize() + ".\n")
            log.append(f"{name} {noise} {snr}\n")
        (folder / f"log_{part}.txt").write_text("".join(log))
    (folder / "log_readme.txt").write_text("file noise snr\n")
    return folder


def names(part: str, count: int) -> list[str]:
    """Name the first utterances of a set, its speakers in turn."""
    speakers = SPEAKERS[part]
    return [
        f"{speakers[number % len(speakers)]}_{number // len(speakers) + 1:03d}"
        for number in range(count)
    ]


def pack(folder: Path, archives: Path) -> Path:
    """Pack a database that `write` made into archives as those that are published."""
    archives.mkdir(parents=True, exist_ok=True)
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        with zipfile.ZipFile(archives / f"{part.name}.zip", "w") as archive:
            archive.writestr(f"{part.name}/", "")
            for path in sorted(part.iterdir()):
                archive.write(path, f"{part.name}/{path.name}")
                if path.suffix == ".txt":
                    archive.writestr(f"__MACOSX/{part.name}/._{path.name}", "macOS")
    with zipfile.ZipFile(archives / "logfiles.zip", "w") as archive:
        for path in sorted(folder.glob("log_*.txt")):
            archive.write(path, path.name)
        archive.writestr("__MACOSX/._log_readme.txt", "macOS")
    return archives


if __name__ == "__main__":
    target, train_pairs, test_pairs, *lengths = sys.argv[1:]
    write(Path(target), int(train_pairs), int(test_pairs), tuple(map(float, lengths)))
