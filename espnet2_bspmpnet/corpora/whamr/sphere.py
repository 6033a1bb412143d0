"""Speech files of the LDC: NIST SPHERE, compressed by "shorten" or not, and WAV."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile

from espnet2_bspmpnet.data.audio import audio_info, read_audio
from espnet2_bspmpnet.errors import UserError

_MAGIC = b"NIST_1A\n"


def read_speech(path: str | Path, rate: int) -> np.ndarray:
    """Read a mono SPHERE, WAV or FLAC file of a sampling rate: float64 [L] in [-1, 1].

    Raises a UserError if the file is missing, damaged, multichannel or of another rate,
    or its samples are compressed and there is no program that decodes them.
    """
    path = Path(path)
    header = _header(path)
    if _is_compressed(header):
        wave, found = _decode(path, header)
    else:
        wave, found = read_audio(path)
        if header and len(wave) != _sample_count(path, header):
            # libsndfile shortens a cut file in silence.
            raise UserError(f"{path}: the file is truncated; copy it again")
    if found != rate:
        raise UserError(
            f"{path}: has {found} Hz in place of {rate}; take the original recording"
        )
    return wave.astype(np.float64)


def count_samples(path: str | Path) -> int:
    """Count the samples of a mono file, undecoded; a bad one is a UserError."""
    path = Path(path)
    header = _header(path)
    return _sample_count(path, header) if header else audio_info(path).frames


def check_decodable(path: str | Path) -> None:
    """Raise a UserError if a file is missing or damaged, or no program decodes it."""
    path = Path(path)
    if _is_compressed(_header(path)):
        _command(path)


def _header(path: Path) -> dict[str, str]:
    """Read the header of a SPHERE file; of another file, nothing."""
    if not path.is_file():
        raise UserError(f"{path}: no such audio file; correct its path")
    with path.open("rb") as file:
        start = file.read(16)
        if not start.startswith(_MAGIC):
            return {}
        size = start[len(_MAGIC) :].split(b"\n")[0].strip()
        text = file.read(int(size)) if size.isdigit() else b""
    if b"end_head" not in text:
        raise UserError(f"{path}: damaged SPHERE header; copy the file again")
    header = {}
    for line in text.partition(b"end_head")[0].decode("latin-1").splitlines():
        name, _, value = line.partition(" -")
        header[name.strip()] = value.partition(" ")[2].strip()
    return header


def _is_compressed(header: dict[str, str]) -> bool:
    return "shorten" in header.get("sample_coding", "")


def _sample_count(path: Path, header: dict[str, str]) -> int:
    value = header.get("sample_count", "")
    if not value.isdecimal():
        raise UserError(
            f"{path}: no sample_count in its SPHERE header; copy the file again"
        )
    return int(value)


def _command(path: Path) -> list[str]:
    if tool := shutil.which("sph2pipe"):
        return [tool, "-f", "wav", str(path)]
    if tool := shutil.which("ffmpeg"):
        encoding = ["-c:a", "pcm_s16le", "-f", "wav", "-"]
        return [tool, "-nostdin", "-v", "error", "-i", str(path), *encoding]
    raise UserError(
        f"{path}: is compressed (shorten), and neither sph2pipe nor ffmpeg is on PATH "
        "to decode it; install ffmpeg, or sph2pipe from https://www.ldc.upenn.edu/"
        "language-resources/tools/sphere-conversion-tools, or convert .wv1 to .wav"
    )


def _decode(path: Path, header: dict[str, str]) -> tuple[np.ndarray, int]:
    command = _command(path)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    try:
        wave, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    except soundfile.LibsndfileError:
        wave, rate = np.zeros(0), 0
    expected = _sample_count(path, header)
    if done.returncode != 0 or wave.shape != (expected,):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(
            f"{path}: {Path(command[0]).name} decodes {len(wave)} of {expected} samples"
            f"{': ' + said[-1] if said else ''}; copy the file again, or convert it to "
            ".wav by another program"
        )
    return wave, rate
