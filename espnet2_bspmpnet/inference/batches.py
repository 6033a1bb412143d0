"""One process's share: recordings are read, enhanced in batches and written.

Reading the next batch and writing the last one overlap with computing.  A float result
depends in its last bit on its neighbours in a batch; so which recordings share one
depends on their chunk alone, and not on what is done already.
"""

import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from espnet2_bspmpnet.data.recordings import Recording, open_recording, printable
from espnet2_bspmpnet.errors import MachineError, UserError, first_line
from espnet2_bspmpnet.inference.events import (
    Chunk,
    Done,
    Event,
    Failed,
    Progress,
    Report,
    Task,
)
from espnet2_bspmpnet.inference.outputs import Outputs

if TYPE_CHECKING:
    from espnet2_bspmpnet.inference.enhancer import Enhancer

# What a single recording can bring about; anything else is a mistake of ours.
TROUBLE = (UserError, OSError, RuntimeError, MemoryError)
# Errors of one output's place; others of the machine would be the same for the rest.
_OF_ONE_PLACE = {
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EPERM,
}
Item = TypeVar("Item")


@dataclass
class _Input:
    """A recording that can be opened.

    Args:
        task: what is to be done with it.
        recording: its header; closed unless it is alone in its chunk: what ffmpeg
            decodes takes up disk, and the standard input can be read once.
        is_open: whether that is open.
        scratch: folder for what must be put on the disk.
    """

    task: Task
    recording: Recording
    is_open: bool
    scratch: str | None

    @property
    def seconds(self) -> float:
        return self.recording.frames / self.recording.rate

    def open(self) -> Recording:
        if self.is_open:
            return self.recording
        return open_recording(self.task.source, self.scratch)


@dataclass
class _Long:
    """A recording that is enhanced in windows."""

    item: _Input


@dataclass
class _Batch:
    """Recordings of one rate that are enhanced together, and their samples [C, n]."""

    items: list[_Input]
    waves: list[np.ndarray]


Job = Failed | _Long | _Batch


@dataclass(frozen=True)
class Batches:
    """Enhances chunks of recordings.

    Args:
        load: gives the model.
        outputs: how files are written.
    """

    load: Callable[[], "Enhancer"]
    outputs: Outputs

    def __call__(self, chunks: Iterator[Chunk], report: Report) -> None:
        """Enhance the recordings of all chunks.

        Args:
            chunks: recordings, those included that only have a share in a batch.
            report: called with an event for each wanted recording that is written or
                failed, and some while long ones are enhanced.

        Raises:
            UserError: no such model.
        """
        enhancer = self.load()
        report = _one_at_a_time(report)
        writing: list[Future] = []
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            for job in _ahead(reader, self._jobs(chunks, enhancer)):
                if isinstance(job, Failed):
                    report(job)
                elif isinstance(job, _Long):
                    report(self._in_windows(job.item, enhancer, report))
                else:
                    enhanced = _together(job, enhancer, report)
                    _wait(writing)  # for the batch before
                    writing = [
                        writer.submit(self._write, *one, report) for one in enhanced
                    ]
            _wait(writing)

    def _jobs(self, chunks: Iterator[Chunk], enhancer: "Enhancer") -> Iterator[Job]:
        """Give what is to be computed, in the order of the chunks."""
        for chunk in chunks:
            short: dict[int, list[_Input]] = {}
            for task in chunk:
                try:
                    item = self._looked_at(task, alone=len(chunk) == 1)
                except TROUBLE as error:
                    yield from _failed(task, error)
                    continue
                recording = item.recording
                if not enhancer.is_long(recording.frames, recording.rate):
                    short.setdefault(recording.rate, []).append(item)
                elif task.wanted:
                    yield _Long(item)
            for rate, items in sorted(short.items()):
                shapes = [(x.recording.channels, x.recording.frames) for x in items]
                for places in enhancer.plan(shapes, rate):
                    yield from _read([items[place] for place in places])

    def _looked_at(self, task: Task, alone: bool) -> _Input:
        scratch = self.outputs.parts
        recording = open_recording(task.source, scratch)
        if not alone:
            recording.close()
        return _Input(task, recording, alone, scratch)

    def _in_windows(
        self, item: _Input, enhancer: "Enhancer", report: Report
    ) -> Done | Failed:
        """Enhance and write a long recording block by block."""
        start = time.perf_counter()

        def blocks(recording: Recording) -> Iterator[np.ndarray]:
            for block in enhancer.stream(recording):
                length = block.shape[1]
                share = length / recording.frames
                report(Progress(item.task, share, length / recording.rate))
                yield block

        try:
            with item.open() as recording:
                notes = self.outputs.write(item.task, recording, blocks(recording))
        except TROUBLE as error:
            return _failure(item.task, error)
        return Done(item.task, item.seconds, time.perf_counter() - start, *notes)

    def _write(
        self, item: _Input, wave: np.ndarray, took: float, report: Report
    ) -> None:
        try:
            notes = self.outputs.write(item.task, item.recording, [wave])
        except TROUBLE as error:
            report(_failure(item.task, error))
        else:
            report(Done(item.task, item.seconds, took, *notes))


def _read(items: Sequence[_Input]) -> Iterator[Job]:
    """Read what shares a batch, without those that cannot be read."""
    batch = _Batch([], [])
    if not any(item.task.wanted for item in items):
        return
    for item in items:
        try:
            with item.open() as recording:
                wave = recording.read()
        except TROUBLE as error:
            yield from _failed(item.task, error)
        else:
            batch.items.append(item)
            batch.waves.append(wave)
    if any(item.task.wanted for item in batch.items):
        yield batch


def _together(
    batch: _Batch, enhancer: "Enhancer", report: Report
) -> list[tuple[_Input, np.ndarray, float]]:
    """Enhance a batch; give what is to be written, and the seconds each one took."""
    start = time.perf_counter()
    try:
        waves = enhancer.batch(batch.waves, batch.items[0].recording.rate)
    except TROUBLE as error:
        for item in batch.items:
            for failure in _failed(item.task, error):
                report(failure)
        return []
    pace = (time.perf_counter() - start) / sum(item.seconds for item in batch.items)
    return [
        (item, wave, pace * item.seconds)
        for item, wave in zip(batch.items, waves, strict=True)
        if item.task.wanted
    ]


def _ahead(pool: ThreadPoolExecutor, items: Iterator[Item]) -> Iterator[Item]:
    """Give items, while the pool is at the next one."""
    coming = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


def _wait(writing: Sequence[Future]) -> None:
    for future in writing:
        future.result()


def _one_at_a_time(report: Report) -> Report:
    """Let the thread that writes report as well."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            report(event)

    return locked


def _failed(task: Task, error: Exception) -> Iterator[Failed]:
    """Report a failure of what is wanted."""
    if task.wanted:
        yield _failure(task, error)


def _failure(task: Task, error: Exception) -> Failed:
    if isinstance(error, UserError):
        reason = str(error).removeprefix(f"{printable(task.source)}: ")
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    else:
        reason = first_line(error)
    if isinstance(error, MemoryError) or "memory" in reason:
        reason += "; try a smaller --window, or fewer processes (--nj)"
    code = getattr(error.__cause__, "errno", None)
    is_last = isinstance(error, MachineError) and code not in _OF_ONE_PLACE
    return Failed(task, reason, is_last)
