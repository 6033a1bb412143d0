"""Utterances' audio brought to another rate, format or speed; what is done is kept."""

import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from espnet2_bspmpnet.data import audio
from espnet2_bspmpnet.data.datadir import check_pair
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import naming, remove
from espnet2_bspmpnet.files.parallel import parallel_map, part_of

Part = tuple[int, int] | None  # the job's number in 1 ... n, and n; None is one job
PARTS = ("wav", "spk1")  # folders of the noisy and the clean files
MADE = (".wav", ".flac", ".tmp")  # a killed job leaves the last, half-written


@dataclass(frozen=True)
class Conversion:
    """One utterance's way from source to target files."""

    utterance: str
    sources: tuple[str, ...]  # the noisy and, if there is one, the clean file
    dst: str | Path  # the data directory to make
    audio_format: str  # wav or flac
    rate: int | None = None  # samples per second wanted; None keeps the source's
    speed: Fraction = Fraction(1)  # of playback
    source_rates: tuple[int, ...] = ()  # that are allowed; empty for any

    @property
    def targets(self) -> tuple[Path, ...]:
        folder = Path(os.path.abspath(self.dst), "data")
        name = f"{self.utterance}.{self.audio_format}"
        return tuple(folder / part / name for part, _ in zip(PARTS, self.sources))


class Converted(NamedTuple):
    """An utterance's files, noisy and clean, once they are right."""

    paths: tuple[str, ...]
    num_samples: int


def convert_all(
    tasks: Sequence[Conversion], dst: Path, nj: int, part: Part, description: str
) -> dict[str, Converted] | None:
    """Convert utterances and leave no others in dst/data; or convert a part of them.

    Args:
        tasks: all utterances, the same ones in each job.
        dst: data directory to make, whose wav.scp is removed first.
        nj: number of processes.
        part: None converts all.
        description: for the progress bar.

    Returns:
        utterance -> its files; None for a part.

    Raises:
        UserError: a source would be overwritten; or bad files, once the others are done.
    """
    sources = {os.path.abspath(path) for task in tasks for path in task.sources}
    overwritten = sources & {str(path) for task in tasks for path in task.targets}
    if overwritten:
        raise UserError(
            f"{min(overwritten)}: would be overwritten; choose another target than {dst}"
        )
    remove(dst / "wav.scp")  # nobody is to read the folder until it is complete
    mine = part_of(tasks, part)
    with contextlib.suppress(UserError):  # which is reported below
        if mine and _finished(mine[0]):  # as then mostly all are: processes do not pay
            nj = 1
    converted = parallel_map(_convert, mine, nj, description)
    if part is not None:
        return None
    kept = sources | {path for one in converted for path in one.paths}
    for folder in PARTS:
        for path in (dst / "data" / folder).rglob("*"):
            if path.suffix in MADE and os.path.abspath(path) not in kept:
                path.unlink()
    return {task.utterance: one for task, one in zip(tasks, converted, strict=True)}


def _finished(task: Conversion) -> Converted | None:
    """Name the files if they are right already or an earlier run made them."""
    infos = check_pair(task.utterance, task.sources)
    if task.source_rates and infos[0].rate not in task.source_rates:
        expected = " or ".join(map(str, task.source_rates))
        raise UserError(
            f"{task.sources[0]} has {infos[0].rate} Hz, but this corpus has {expected} "
            "Hz; take the original file"
        )
    rate = task.rate or infos[0].rate
    container = task.rate and audio.WRITABLE[f".{task.audio_format}"]
    if task.speed == 1 and all(
        info.rate == rate and container in (None, info.format) for info in infos
    ):
        return Converted(tuple(map(os.path.abspath, task.sources)), infos[0].frames)
    if all(map(_was_made_of, task.targets, task.sources)):
        made = audio.audio_info(task.targets[0])
        if made.rate == rate:
            return Converted(tuple(map(str, task.targets)), made.frames)
    return None


def _was_made_of(target: Path, source: str) -> bool:
    # A finished target carries its source's time stamp, set after it is written.
    return target.exists() and target.stat().st_mtime_ns == os.stat(source).st_mtime_ns


def _convert(task: Conversion) -> Converted:
    if (finished := _finished(task)) is not None:
        return finished
    waves = []
    for source in task.sources:
        wave, rate_in = audio.read_audio(source)
        rate = task.rate or rate_in
        # Played at `speed`, a second of the source holds rate_in * speed samples.
        rates = rate_in * task.speed.numerator, rate * task.speed.denominator
        waves.append(audio.resample(wave, *rates))
    # One gain for both, or the clean part of the noisy file would change its level.
    peak = max(float(abs(wave).max(initial=0.0)) for wave in waves)
    if peak > 1.0:
        gain = (1.0 - 2.0**-15) / peak
        logging.warning("%s: scaled by %.4f to full scale", task.utterance, gain)
        waves = [wave * gain for wave in waves]
    for source, target, wave in zip(task.sources, task.targets, waves, strict=True):
        audio.write_audio(target, wave, rate)
        stamp = os.stat(source)
        with naming(target):
            os.utime(target, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return Converted(tuple(map(str, task.targets)), len(waves[0]))
