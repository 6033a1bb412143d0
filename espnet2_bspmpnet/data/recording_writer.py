"""Write recordings in many formats: whole or not at all, never clipped, to the sample.

The same samples make the same bytes at any time, except in MAT5, which holds the date.
The lengths of lossy files were checked to be exact when libsndfile decodes them.
"""

import contextlib
import functools
import io
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

from espnet2_bspmpnet.data.audio import PCM_BITS, forget_time, quantised
from espnet2_bspmpnet.data.recordings import Recording, SequentialFile, open_recording
from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.files.atomic import naming, replacing

# What a user asks for: libsndfile's container, and its sample format if it has but one.
CONTAINERS = {
    "wav": ("WAV", None),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", None),
    "au": ("AU", None),
    "caf": ("CAF", None),
    "w64": ("W64", None),
    "rf64": ("RF64", None),
}
BITS = {"16": "PCM_16", "24": "PCM_24", "32": "PCM_32", "float": "FLOAT"}

_MORE_THAN_16_BITS = {"PCM_24", "PCM_32", "FLOAT", "DOUBLE", "DWVW_24"}
_MORE_THAN_16_BITS |= {"ALAC_20", "ALAC_24", "ALAC_32"}
_BITS = PCM_BITS | {f"ALAC_{bits}": bits for bits in (16, 24, 32)}
_FLOATS = ("FLOAT", "DOUBLE")
_LARGEST_WAV = 2**32 - 2**16  # bytes of samples; its sizes are 32 bit numbers
_MEMORY = 64 << 20  # bytes of samples that are held before they go to the disk
_BLOCK = 1 << 18  # bytes
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NORMAL_PEAK = 10 ** (-1 / 20)  # -1 dBFS


@dataclass(frozen=True)
class OutputFormat:
    """A container and sample format, by libsndfile's names, e.g. "WAV" and "PCM_16"."""

    format: str
    subtype: str
    suffix: str  # of the file's name, e.g. ".wav"
    note: str = ""  # what was taken instead of the input's format and why, in one line

    @classmethod
    def like(
        cls, recording: Recording, container: str | None = None, bits: str | None = None
    ) -> "OutputFormat":
        """Choose the recording's own format, unless asked otherwise.

        Where that cannot be written, or not with its rate, channels and exact length
        (m4a, GSM, ADPCM ...), it is WAV with 16 bits, or 24 if the recording has more
        than 16.

        Args:
            recording: the input.
            container: one of CONTAINERS, if asked for.
            bits: one of BITS, if asked for.

        Raises:
            UserError: what was asked for cannot hold this rate, or these channels.
        """
        own = recording.format, recording.subtype
        precise = recording.subtype in _MORE_THAN_16_BITS
        containers = [recording.format, "WAV"]
        subtypes = [recording.subtype, "PCM_24" if precise else "PCM_16"]
        if container is not None:
            wanted, only = CONTAINERS[container]
            containers, subtypes = [wanted], [only] if only else subtypes
        if bits is not None:
            subtypes = [BITS[bits]]
        for chosen in product(filter(None, containers), subtypes):
            if _can_hold(*chosen, recording.rate, recording.channels):
                break
        else:
            sizes = [f"{bits} bits"] if bits else []
            sizes += [f"{recording.channels} channels", f"{recording.rate} Hz"]
            raise UserError(
                f"{recording.name}: {container or 'WAV'} cannot hold {', '.join(sizes)};"
                " choose another format"
            )
        suffix = _suffix(*chosen)
        is_kept = chosen[0] == own[0] and suffix == _suffix(*own)
        if is_kept and recording.path is not None:
            suffix = recording.path.suffix
        note = ""
        if container is None and bits is None and chosen != own:
            note = (
                f"{recording.name}: its format cannot be written, so the output is "
                f"{' '.join(chosen)}"
            )
        return cls(*chosen, suffix, note)


def _suffix(format: str, subtype: str) -> str:
    for name, (container, only) in CONTAINERS.items():
        if container == format and only in (None, subtype):
            return f".{name}"
    return ".wav" if format == "WAVEX" else f".{format.lower()}"


@functools.lru_cache(maxsize=1024)
def _can_hold(format: str, subtype: str, rate: int, channels: int) -> bool:
    """Try whether a few samples come back with this format, rate and number."""
    if subtype == "VORBIS" and (rate > 200_000 or channels > 255):
        return False  # libsndfile 1.2.2 ends the process
    if subtype == "ALAC_20" or (subtype.startswith("ALAC") and channels > 8):
        return False  # it damages two channels, or leaves a temporary file behind
    if not soundfile.check_format(format, subtype):
        return False
    frames = 102  # no multiple of any format's block
    encoded = io.BytesIO()
    try:
        with SequentialFile(
            encoded, "w", rate, channels, subtype, format=format
        ) as file:
            file.write(np.zeros((frames, channels), np.float32))
        encoded.seek(0)
        with SequentialFile(encoded) as file:
            read = len(file.read(2 * frames))
            found = file.format, file.subtype, file.samplerate, file.channels, read
    except soundfile.LibsndfileError:
        return False
    return found == (format, subtype, rate, channels, frames)


class RecordingWriter:
    """Takes a recording block by block and writes its file when it is closed.

    Until then the samples are held in memory, or from 64 MiB on in a file without a
    name beside the target. Leaving a `with` closes it, or after an exception drops
    everything.

    Attributes:
        frames: samples per channel so far.
        gain_db: after closing, the gain that full scale or `normalize` asked for.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        rate: int,
        channels: int,
        output_format: OutputFormat,
        normalize: bool = False,
        tags: dict[str, str] | None = None,
    ) -> None:
        """Prepare to write.

        Args:
            path: the target, with its suffix; replaced if it is there.
            rate: samples per second.
            channels: their number.
            output_format: see OutputFormat.
            normalize: bring the peak to -1 dBFS.
            tags: title, artist and so on, where the format has them.

        Raises:
            MachineError: a place that cannot be written to.
        """
        self.path = Path(path)
        self.frames = 0
        self.gain_db = 0.0
        self._rate, self._channels, self._format = rate, channels, output_format
        self._normalize = normalize
        self._tags = tags or {}
        self._peak = 0.0
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._samples = tempfile.SpooledTemporaryFile(  # noqa: SIM115
                _MEMORY, dir=self.path.parent
            )

    def __enter__(self) -> "RecordingWriter":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            self._drop()

    def _drop(self) -> None:
        # What did not fit on the disk cannot be flushed to it either.
        with contextlib.suppress(OSError):
            self._samples.close()

    def write(self, block: np.ndarray) -> None:
        """Append samples, [channels, samples], full scale at 1.

        Raises:
            UserError: samples that are not finite.
            MachineError: the disk is full.
        """
        assert block.ndim == 2 and len(block) == self._channels, block.shape
        block = np.ascontiguousarray(block.T, np.float32)
        peak = max(block.max(initial=0.0), -block.min(initial=0.0))
        if not np.isfinite(peak):
            raise UserError(
                f"{self.path}: not written, because the signal holds NaN or infinite "
                "samples; look for the step that made them"
            )
        self._peak = max(self._peak, float(peak))
        self.frames += len(block)
        with naming(self.path):
            self._samples.write(block.tobytes())

    def close(self, gain: float = 1.0) -> None:
        """Write the file.

        Samples are multiplied by one number: `gain`, and on top of it what normalises
        the peak, or brings it down to full scale unless the format is a float.

        Raises:
            MachineError: the disk is full, or the place cannot be written to.
        """
        if self._samples.closed:
            return
        assert gain > 0 and self.frames > 0, (gain, self.frames)
        correction = self._correction(self._peak * gain)
        self.gain_db = 20 * math.log10(correction)
        try:
            with replacing(self.path) as temporary:
                self._encode(temporary, gain * correction)
                _remove_chance(temporary, self._format.format)
                self._verify(temporary)
        finally:
            self._drop()

    def _correction(self, peak: float) -> float:
        if self._normalize and peak > 0:
            return _NORMAL_PEAK / peak
        if self._format.subtype in _FLOATS or peak <= 1:
            return 1.0
        bits = _BITS.get(self._format.subtype)
        return (1.0 if bits is None else 1.0 - 2.0 ** (1 - bits)) / peak

    def _encode(self, path: Path, gain: float) -> None:
        subtype, container = self._format.subtype, self._format.format
        bits = _BITS.get(subtype)
        width = 8 if subtype == "DOUBLE" else (bits or 32) // 8
        size = self.frames * self._channels * width
        if container.startswith("WAV") and size > _LARGEST_WAV:
            container = "RF64"
        try:
            with (
                path.open("wb") as file,
                SequentialFile(
                    os.dup(file.fileno()),
                    "w",
                    self._rate,
                    self._channels,
                    subtype,
                    format=container,
                ) as encoder,
            ):
                for name, text in self._tags.items():
                    with contextlib.suppress(soundfile.LibsndfileError):
                        setattr(encoder, name, text)
                for block in self._blocks():
                    block = block if gain == 1 else np.float32(block * np.float64(gain))
                    encoder.write(block if bits is None else quantised(block, bits))
        except (soundfile.LibsndfileError, AssertionError) as error:
            with path.open("ab") as file:  # the system's reason, if the disk is full
                file.write(bytes(_BLOCK))
            reason = getattr(error, "error_string", "libsndfile stopped").strip()
            raise UserError(f"{self.path}: cannot be written ({reason})") from error

    def _blocks(self) -> Iterator[np.ndarray]:
        """Read back what was held, [samples, channels] at a time."""
        self._samples.seek(0)
        frame = 4 * self._channels
        while block := self._samples.read(max(1, _BLOCK // frame) * frame):
            yield np.frombuffer(block, np.float32).reshape(-1, self._channels)

    def _verify(self, path: Path) -> None:
        """Read the last sample, as libsndfile is silent if the disk was full at the end."""
        try:
            with open_recording(path) as written:
                if written.frames >= self.frames:
                    written.read(self.frames - 1)
                    return
        except UserError:
            pass
        raise MachineError(
            f"{self.path}: was not written whole; is the disk full? free some space and"
            " run again"
        )


def _remove_chance(path: Path, format: str) -> None:
    """Clear the time in the headers of float files, and Ogg's random serial number."""
    with path.open("r+b") as file:
        if format == "OGG":
            while header := file.read(27):
                lengths = file.read(header[26])
                page = header + lengths + file.read(sum(lengths))
                page = page[:14] + bytes(4) + page[18:22] + bytes(4) + page[26:]
                file.seek(-len(page), os.SEEK_CUR)
                file.write(page[:22] + _ogg_checksum(page) + page[26:])
        else:
            forget_time(file)


def _ogg_checksum(page: bytes) -> bytes:
    """Compute CRC-32 as Ogg does: zlib's with all bits in reverse, begun at 0."""
    checksum = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2).to_bytes(4, "little")
