"""Read recordings of any format, rate, channels and length, block by block.

libsndfile decodes what it can, the ffmpeg program the rest (video, m4a, wma ...). Files
are opened by descriptor, so that names may be of any bytes. libsndfile's seeks are used
where they are exact, which they are not in MP3 and Ogg.
"""

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from espnet2_bspmpnet.data import lengths
from espnet2_bspmpnet.data.audio import PCM_BITS
from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.files.atomic import FIXES, naming

_EXACT_SEEKS = {*PCM_BITS, "FLOAT", "DOUBLE", "ULAW", "ALAW"}
_BLOCK = 1 << 20  # samples that are decoded at once where nobody asked for a number
_MOST_FRAMES = 1 << 48  # more are libsndfile's way to say that it does not know


class SequentialFile(soundfile.SoundFile):
    """A SoundFile without the seeks that soundfile adds to each read and write."""

    def seekable(self) -> bool:
        """Keep soundfile from seeking."""
        return False

    def flush(self) -> None:
        """Do not wait for the disk, as soundfile does when it closes a file."""


class Recording:
    """An open recording; close it, or use it in a `with`.

    Attributes:
        path: the file's; None for a stream.
        name: the same for messages, printable on one line.
        rate: samples per second.
        channels: their number.
        frames: samples per channel, exact.
        format: libsndfile's name of the container, e.g. "WAV"; None where ffmpeg
            decoded it.
        subtype: libsndfile's name of the sample format, e.g. "PCM_16"; after ffmpeg,
            the shortest of PCM_16 and PCM_24 that loses nothing, or PCM_16.
        tags: title, artist and so on, but not the software that wrote the file.
    """

    def __init__(
        self,
        name: str,
        path: Path | None,
        file: BinaryIO,
        scratch: str | Path | None = None,
    ) -> None:
        self.name, self.path = name, path
        self._file = file
        self._decoder: SequentialFile | None = None
        self._feeder: threading.Thread | None = None
        self._piped_from: int | None = None  # offset in bytes, if decoded from a pipe
        self._kept: np.ndarray  # the last block, [samples, channels]
        self._position = 0  # of the decoder, in samples
        try:
            self._open(scratch)
        except BaseException:
            self.close()
            raise

    def _open(self, scratch: str | Path | None) -> None:
        if os.fstat(self._file.fileno()).st_size == 0:
            raise UserError(
                f"{self.name}: the file is empty (0 bytes); replace or remove it"
            )
        if lengths.ends_within_a_part(self._file.fileno()):
            raise self._truncated()
        is_foreign = False
        try:
            self._restart()
        except soundfile.LibsndfileError as error:
            reason = error.error_string.strip().rstrip(".")
            sound = _decoded_by_ffmpeg(self.name, self._file, reason, scratch)
            self._replace_file(sound)
            is_foreign = True
        self._read_header()
        if self.frames == 0:
            self._close_wav(scratch)
        if is_foreign:
            self.format = None
            self.subtype = _shortest_pcm(self.read(0, min(self.frames, self._step)))

    def _replace_file(self, file: BinaryIO) -> None:
        self._file.close()
        self._file = file
        self._restart()

    def _read_header(self) -> None:
        decoder, file = self._decoder, self._file.fileno()
        self.rate, self.channels = decoder.samplerate, decoder.channels
        self.format, self.subtype = decoder.format, decoder.subtype
        self.frames = decoder.frames
        tags = decoder.copy_metadata()
        self.tags = {name: tags[name] for name in tags if name != "software"}
        if lengths.is_shorter_than_promised(file, self.frames, decoder.extra_info):
            raise self._truncated()
        self._can_seek = self.subtype in _EXACT_SEEKS and self.format != "SDS"
        if self.subtype.startswith("MPEG"):
            is_wav = self.format == "WAV"
            self._piped_from = 0 if is_wav else lengths.start_of_unknown_mpeg(file)
        if self._piped_from is not None or self.frames > _MOST_FRAMES:
            self._count()

    def _close_wav(self, scratch: str | Path | None) -> None:
        """Correct the header of a WAV that was not closed, in a copy."""
        place = None
        if self.format in ("WAV", "WAVEX", "RF64"):
            place = lengths.length_of_unclosed_wav(self._file.fileno())
        if place is None:
            raise UserError(f"{self.name}: holds no samples; replace or remove it")
        self._file.seek(0)
        copy = _copied(self._file, scratch)
        os.pwrite(copy.fileno(), b"RIFF" + lengths.STREAM, 0)
        os.pwrite(copy.fileno(), lengths.STREAM, place)
        self._replace_file(copy)
        self._read_header()

    def _restart(self) -> None:
        """Begin to decode the file from its first sample."""
        self._close_decoder()
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        # libsndfile's own descriptor, as some versions close it when they cannot read.
        is_piped = self._piped_from is not None
        self._decoder = SequentialFile(
            self._pipe() if is_piped else os.dup(self._file.fileno())
        )
        self._position = 0
        self._kept = np.zeros((0, self._decoder.channels), np.float32)

    def _close_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
        if self._feeder is not None:  # which ends with its pipe
            self._feeder.join()
        self._decoder = self._feeder = None

    def close(self) -> None:
        """Close the file; what was decoded to the disk is removed."""
        self._close_decoder()
        self._file.close()

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _truncated(self) -> UserError:
        return UserError(
            f"{self.name}: the file is truncated or damaged (its header promises more "
            "samples than it holds); copy it again or remove it"
        )

    def _count(self) -> None:
        """Count the samples where the header does not: decode all once."""
        self._can_seek = False
        self.frames = 0
        try:
            self._restart()
        except soundfile.LibsndfileError as error:
            raise self._truncated() from error
        while decoded := len(self._decode(self._step, whole=False)):
            self.frames += decoded
        self._restart()

    def _pipe(self) -> int:
        """Start a thread that copies the file into a pipe; return the end to read."""
        reading, writing = os.pipe()

        def feed(source: int, offset: int) -> None:
            with open(writing, "wb", buffering=0) as pipe:
                try:
                    while block := os.pread(source, _BLOCK, offset):
                        offset += pipe.write(block)
                except BrokenPipeError:  # the decoder was closed
                    pass

        self._feeder = threading.Thread(
            target=feed, args=(self._file.fileno(), self._piped_from), daemon=True
        )
        self._feeder.start()
        return reading

    @property
    def _step(self) -> int:
        return max(1, _BLOCK // self.channels)

    def _decode(
        self, count: int, start: int | None = None, whole: bool = True
    ) -> np.ndarray:
        """Decode [count, channels], or fewer unless `whole`, from `start` or on."""
        try:
            if start is not None and start != self._position:
                self._decoder.seek(start)
                self._position = start
            wave = self._decoder.read(count, "float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise self._truncated() from error
        if whole and len(wave) < count:
            raise self._truncated()
        self._position += len(wave)
        return wave

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read samples by their position.

        Positions may come in any order. In MP3, Ogg and other formats without exact
        seeks, one before the last block that was read starts again from the file's
        beginning.

        Args:
            start: the first sample.
            stop: the one after the last; by default the file's end.

        Returns:
            [channels, stop - start], float32, full scale at 1.

        Raises:
            UserError: a truncated file, or samples that are not finite.
        """
        stop = self.frames if stop is None else stop
        assert 0 <= start <= stop <= self.frames, (start, stop, self.frames)
        wave = self._read(start, stop)
        finite = np.isfinite(wave)
        if not finite.all():
            time = (start + int(np.argmin(finite.all(axis=1)))) / self.rate
            raise UserError(
                f"{self.name}: holds NaN or infinite samples, the first at {time:.3f} s;"
                " replace it"
            )
        return np.ascontiguousarray(wave.T)

    def _read(self, start: int, stop: int) -> np.ndarray:
        if self._can_seek:
            return self._decode(stop - start, start)
        if start < self._position - len(self._kept):
            self._restart()
        while self._position < start:
            self._kept = self._decode(min(self._step, start - self._position))
        kept = self._kept[len(self._kept) - (self._position - start) :]
        if stop > self._position:
            self._kept = np.concatenate([kept, self._decode(stop - self._position)])
            kept = self._kept
        return kept[: stop - start].copy()

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Read all from the beginning, [channels, size] at a time, the last one shorter."""
        for start in range(0, self.frames, size):
            yield self.read(start, min(start + size, self.frames))


def open_recording(
    source: str | os.PathLike | BinaryIO, scratch: str | Path | None = None
) -> Recording:
    """Open whatever libsndfile or ffmpeg reads.

    Args:
        source: a path; "-" for the standard input; or a binary stream, which is copied
            to the disk first, as is a pipe.
        scratch: folder for what must be put on the disk; by default the system's.

    Raises:
        UserError: no such file, no permission, a folder, an empty or truncated file,
            no audio, or ffmpeg is needed and not installed.
        MachineError: no space for what must be put on the disk.
    """
    if hasattr(source, "read"):
        name = printable(str(getattr(source, "name", "stream")))
        return Recording(name, None, _copied(source, scratch), scratch)
    if source == "-":
        return Recording("-", None, _copied(sys.stdin.buffer, scratch), scratch)
    path = Path(os.fsdecode(source))
    name = printable(path)
    file = _opened(path, name)
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return Recording(name, path, file, scratch)
    with file:
        return Recording(name, None, _copied(file, scratch), scratch)


def printable(path: str | os.PathLike) -> str:
    """Return a name as one line of text, quoted and escaped if need be."""
    text = os.fsdecode(path)
    return text if text.isprintable() else ascii(text)


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file; correct its path") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: is a folder, not a file; name a recording") from error
    except PermissionError as error:
        raise UserError(f"{name}: no permission to read it; ask its owner") from error
    except OSError as error:
        raise UserError(
            f"{name}: cannot be opened ({error.strerror}); correct its path"
        ) from error
    kind = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
        file.close()
        raise UserError(f"{name}: is a device, not a file; name a recording")
    return file


def _temporary_file(scratch: str | Path | None) -> BinaryIO:
    """Make a file without a name, which goes when the process does, however it ends."""
    if scratch is not None:
        Path(scratch).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=scratch)


def _copied(stream: BinaryIO, scratch: str | Path | None) -> BinaryIO:
    """Copy a stream to a file, so that its bytes can be read in any order."""
    with naming(Path(scratch or tempfile.gettempdir())):
        file = _temporary_file(scratch)
        shutil.copyfileobj(stream, file, _BLOCK)
        file.flush()
    return file


def _decoded_by_ffmpeg(
    name: str, file: BinaryIO, reason: str, scratch: str | Path | None
) -> BinaryIO:
    """Decode a file's first audio track to floats, in the format AU.

    AU may be written to a pipe, and of any length.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{name}: libsndfile cannot read it ({reason}); if it is video, m4a, wma or "
            "the like, install ffmpeg, otherwise replace or remove it"
        )
    folder = Path(scratch or tempfile.gettempdir())
    with naming(folder):
        sound = _temporary_file(scratch)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    source = f"file:/dev/fd/{file.fileno()}"  # whatever the name is
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
    command += ["-i", source, "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "-"]
    done = subprocess.run(
        command, stdout=sound, stderr=subprocess.PIPE, pass_fds=[file.fileno()]
    )
    lines = done.stderr.decode(errors="replace").replace(f"{source}: ", "").split("\n")
    message = re.sub(r"^\[.*?\] ", "", lines[0]).strip()
    if done.returncode == 0 and not message:
        return sound
    sound.close()
    if b"No space left on device" in done.stderr:
        raise MachineError(f"{folder}: {FIXES[errno.ENOSPC]}")
    if b"matches no streams" in done.stderr:
        raise UserError(f"{name}: holds no audio track; replace or remove it")
    if done.returncode == 0:  # it went on after an error
        raise UserError(
            f"{name}: the file is truncated or damaged (ffmpeg: {message}); copy it again"
            " or remove it"
        )
    raise UserError(
        f"{name}: cannot be read as audio (libsndfile: {reason}; ffmpeg: {message});"
        " replace or remove it"
    )


def _shortest_pcm(wave: np.ndarray) -> str:
    """Name the sample format of decoded samples: lossy codecs give no whole numbers."""
    steps = wave * np.float32(2.0**23)
    is_whole = bool((steps == np.rint(steps)).all())
    return "PCM_24" if is_whole and (steps % 256).any() else "PCM_16"
