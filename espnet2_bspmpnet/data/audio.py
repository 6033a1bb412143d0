"""Read, write and resample mono audio, with errors that name the file."""

import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import replacing

SUFFIXES = (".wav", ".flac", ".ogg")
WRITABLE = {".wav": "WAV", ".flac": "FLAC"}
PCM_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}

_CUT_WAV = re.compile(r"^data : (\d+) \(should be \d+\)", re.MULTILINE)
_STREAM_LENGTH = 0x7FFF0000  # what programs that write to a pipe put for "unknown"
# The chunk of a float file that holds the time: its name, size and version before that.
_PEAK = re.compile(rb"PEAK.{4}(?:\x01\0\0\0|\0\0\0\x01)", re.DOTALL)


class AudioInfo(NamedTuple):
    """What a file's header says."""

    frames: int  # samples per channel
    rate: int  # samples per second
    channels: int
    format: str  # container, e.g. "WAV"
    subtype: str  # sample format, e.g. "PCM_16"


def _open(path: str | Path) -> soundfile.SoundFile:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such audio file; correct its path")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}: no permission to read it; ask its owner")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes); replace or remove it")
    try:
        return soundfile.SoundFile(str(path))
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", str(error)).strip().rstrip(".")
        raise UserError(
            f"{path}: cannot be read as audio ({reason}); "
            "replace it or convert it to WAV or FLAC"
        ) from error


def _truncated(path: str | Path) -> UserError:
    return UserError(
        f"{path}: the file is truncated or damaged (its header promises more "
        "samples than it holds); copy it again or remove it"
    )


def _check_end(path: str | Path, file: soundfile.SoundFile) -> None:
    # libsndfile shortens a cut WAV in silence, but its log says so.
    cut = _CUT_WAV.search(file.extra_info)
    if cut and int(cut[1]) < _STREAM_LENGTH:
        raise _truncated(path)
    if file.frames == 0:
        return
    try:
        file.seek(file.frames - 1)
        last = file.read(1, dtype="float32")
        file.seek(0)
    except soundfile.LibsndfileError as error:
        raise _truncated(path) from error
    if len(last) == 0:
        raise _truncated(path)


def audio_info(path: str | Path) -> AudioInfo:
    """Read a file's header and make sure that its last sample is there.

    Raises:
        UserError: missing, unreadable or truncated file.
    """
    with _open(path) as file:
        _check_end(path, file)
        return AudioInfo(
            file.frames, file.samplerate, file.channels, file.format, file.subtype
        )


def read_audio(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a mono file.

    Returns:
        Samples [L], float32 in [-1, 1], and samples per second.

    Raises:
        UserError: missing, unreadable, truncated, empty or multichannel file, or
            samples that are not finite.
    """
    with _open(path) as file:
        _check_end(path, file)
        if file.channels != 1:
            raise UserError(
                f"{path}: has {file.channels} channels, but mono is needed; "
                "pick or mix one channel first"
            )
        if file.frames == 0:
            raise UserError(f"{path}: holds no samples; replace or remove it")
        try:
            if file.subtype == "PCM_16":  # faster than libsndfile's, and the same
                wave = file.read(dtype="int16") * np.float32(2.0**-15)
            else:
                wave = file.read(dtype="float32")
        except soundfile.LibsndfileError as error:
            raise _truncated(path) from error
        if len(wave) != file.frames:
            raise _truncated(path)
        rate = file.samplerate
    if not np.isfinite(wave).all():
        raise UserError(f"{path}: holds NaN or infinite samples; replace it")
    return wave, rate


def _within_full_scale(path: Path, wave: np.ndarray, bits: int) -> np.ndarray:
    peak = float(max(wave.max(initial=0.0), -wave.min(initial=0.0)))
    if peak <= 1.0:
        return wave
    gain = (1.0 - 2.0 ** (1 - bits)) / peak
    logging.warning(
        "%s: peak %.3f is above full scale; scaled by %.4f", path, peak, gain
    )
    return wave * gain


def quantised(wave: np.ndarray, bits: int) -> np.ndarray:
    """Round to the nearest step, as libsndfile rounds down; full scale is 2^31."""
    full = 2 ** (bits - 1)
    steps = wave * np.float64(full)
    np.rint(steps, out=steps)
    np.clip(steps, -full, full - 1, out=steps)
    steps *= 2 ** (32 - bits)
    return steps.astype(np.int32)


def write_audio(
    path: str | Path, wave: np.ndarray, rate: int, subtype: str = "PCM_16"
) -> None:
    """Write mono audio, whole or not at all, never clipped; keep an identical file.

    Args:
        path: the file to make; .wav or .flac.
        wave: samples [L]; a peak above 1 is scaled down to full scale with a
            warning where the sample format cannot hold it.
        rate: samples per second.
        subtype: sample format as libsndfile names it, e.g. "PCM_16" or "FLOAT".

    Raises:
        UserError: unknown suffix or sample format, samples that are not finite, or
            a place that cannot be written to.
    """
    path = Path(path)
    wave = np.asarray(wave, dtype=np.float64)
    assert wave.ndim == 1, wave.shape
    container = WRITABLE.get(path.suffix.lower())
    if container is None:
        raise UserError(f"{path}: cannot write this kind of file; use .wav or .flac")
    if not soundfile.check_format(container, subtype):
        allowed = ", ".join(soundfile.available_subtypes(container))
        raise UserError(f"{path}: {container} cannot hold {subtype}; use {allowed}")
    if not np.isfinite(wave).all():
        raise UserError(
            f"{path}: not written, because the signal holds NaN or infinite samples; "
            "look for the step that made them"
        )
    if bits := PCM_BITS.get(subtype):
        samples = quantised(_within_full_scale(path, wave, bits), bits)
    else:
        samples = wave.astype(np.float32)
    # Encoded in memory, because libsndfile does not say when the disk is full.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, rate, format=container, subtype=subtype)
    forget_time(encoded)
    # A file that stays as it is keeps its time stamp.
    if path.is_file() and path.read_bytes() == encoded.getvalue():
        return
    with replacing(path) as temporary:
        # A view of the buffer, kept by a failed write's error, would crash Python later.
        temporary.write_bytes(encoded.getvalue())


def forget_time(file: BinaryIO) -> None:
    """Clear the time in a float file's header: the same samples make the same bytes."""
    file.seek(0)
    if peak := _PEAK.search(file.read(1 << 16)):
        file.seek(peak.end())
        file.write(bytes(4))


def resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample [L] to float32 [round(L * rate_out / rate_in)], but never to none."""
    wave = np.asarray(wave, dtype=np.float32)
    if rate_in == rate_out:
        return wave
    length = max(round(len(wave) * rate_out / rate_in), min(len(wave), 1))
    resampled = soxr.resample(wave, rate_in, rate_out, quality="VHQ")[:length]
    return np.pad(resampled, (0, length - len(resampled)))


def looped(wave: np.ndarray, start: int, length: int) -> np.ndarray:
    """Take ``length`` samples of [L] from ``start`` on, beginning again at the end."""
    return np.take(wave, np.arange(start, start + length), mode="wrap")


def list_audio(folder: str | Path) -> dict[str, Path]:
    """Find .wav, .flac and .ogg below a folder, through links, without what is hidden.

    Returns:
        File names without suffix -> paths, sorted.

    Raises:
        UserError: a missing, unreadable or empty folder, a name used twice, or one
            that is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; correct its path")
    found: dict[str, Path] = {}
    for path in sorted(_visible_files(folder)):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if re.search("[\udc80-\udcff]", str(path)):  # bytes that are not UTF-8
            raise UserError(
                f"{str(path)!r}: its name is not UTF-8 text, as lists of files are; "
                "rename it"
            )
        if path.stem in found:
            raise UserError(
                f"{path}: same name as {found[path.stem]}; names must be unique "
                "within a folder, so rename one of them"
            )
        found[path.stem] = path
    if not found:
        raise UserError(
            f"{folder}: holds no audio files ({', '.join(SUFFIXES)}); "
            "put some there or correct the path"
        )
    return dict(sorted(found.items()))


def _visible_files(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"{folder}: no permission to look into it; ask its owner")
    above = (*above, folder.resolve())
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif path.resolve() not in above:  # a link to where it came from
            yield from _visible_files(path, above)
