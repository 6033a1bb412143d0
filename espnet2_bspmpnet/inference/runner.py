"""Whole runs of `bspmpnet enhance`: which recordings, in which processes, with what notes.

Besides the outputs there are, in their folder,

    failures.tsv             what failed in the last run, and why
    .enhance/listing.jsonl   what there is to do; see listing.py
    .enhance/done.jsonl      what is done: input, output, seconds of audio and of computing
    .enhance/parts           what is being written

where those of the second of four shards are failures.2-4.tsv and so on.
"""

import json
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.files.atomic import append_text, remove
from espnet2_bspmpnet.inference.batches import Batches
from espnet2_bspmpnet.inference.events import Chunk, Done, Event, Failed, Task
from espnet2_bspmpnet.inference.failures import FailureList
from espnet2_bspmpnet.inference.listing import STATE, Entry, Listing, list_recordings
from espnet2_bspmpnet.inference.meter import Meter
from espnet2_bspmpnet.inference.outputs import Outputs
from espnet2_bspmpnet.inference.shards import (
    WHOLE,
    Shard,
    file_of,
    files_of_other_splits,
)
from espnet2_bspmpnet.inference.workers import in_processes

if TYPE_CHECKING:
    from espnet2_bspmpnet.inference.enhancer import Enhancer

MANIFEST = "done.jsonl"
PARTS = "parts"
Load = Callable[[], "Enhancer"]


def load_enhancer(model: str | None, options: dict) -> "Enhancer":
    """Load a model in the process that enhances; torch is imported there alone."""
    from espnet2_bspmpnet.inference.enhancer import Enhancer

    return Enhancer.from_pretrained(model, **options)


@dataclass(frozen=True)
class Selection:
    """Which recordings of the listing are to be enhanced.

    Args:
        shard: (k, n), the k-th of n shares.
        skip_existing: only those without an output.
        retry: only those that failed in the last run.
    """

    shard: Shard = WHOLE
    skip_existing: bool = False
    retry: bool = False


def enhance_files(
    inputs: Sequence[str],
    output_dir: str,
    load: Load,
    outputs: Outputs,
    selection: Selection = Selection(),
    nj: int = 1,
) -> None:
    """Enhance files, folders and lists of files into a folder.

    Args:
        inputs: see `list_recordings`.
        output_dir: where outputs go, by the names of the inputs.
        load: gives the model; can be pickled.
        outputs: how files are written.
        selection: which recordings.
        nj: number of processes; 1 works in this one.

    Raises:
        UserError: there is nothing to enhance, no such model, or some recordings
            failed, after all others are done.
    """
    folder = Path(output_dir)
    suffix = outputs.container and f".{outputs.container}"
    listing = list_recordings(inputs, folder, suffix, selection.shard)
    parts = folder / STATE / PARTS / "{}-{}".format(*selection.shard)
    shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed
    work = Batches(load, replace(outputs, parts=str(parts)))
    run = _Run(folder, listing, selection)
    nj = min(nj, len(listing.numbers(selection.shard)))
    try:
        chunks = run.chunks()
        first = list(islice(chunks, nj))
        if nj <= 1 and first:
            work(chain(first, chunks), run.report)
        elif first:
            # Even if one is enough: results depend on the number of threads.
            in_processes(work, chain(first, chunks), run.report, len(first))
    finally:
        shutil.rmtree(parts, ignore_errors=True)
        with suppress(OSError):  # another shard's are there
            parts.parent.rmdir()
        run.end()
    if run.failures:
        raise UserError(
            f"{len(run.failures)} of {run.meter.total} recordings failed, for the reasons"
            f" in {run.failure_list.path}; repair them, then run it again with --retry"
        )


def enhance_file(source: str, output: str, load: Load, outputs: Outputs) -> None:
    """Enhance one recording into one file.

    Args:
        source: its path, or "-" for the standard input.
        output: the file, or "-" for the standard output.
        load: gives the model.
        outputs: how it is written.

    Raises:
        UserError: a bad recording, no such model, or a place that cannot be written to.
    """
    meter = Meter(1)

    def report(event: Event) -> None:
        if isinstance(event, Failed):
            raise UserError(f"{source}: {event.reason}")
        meter.report(event)

    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "enhanced") if output == "-" else output
        try:
            Batches(load, outputs)(iter([[Task(source, path)]]), report)
        finally:
            meter.close()
        if output == "-":
            with open(path, "rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    print(meter.summary(), file=sys.stderr)


class _Run:
    """Chooses what is to be done, and notes what is reported.

    Args:
        folder: where outputs go.
        listing: all recordings.
        selection: which of them.
    """

    def __init__(self, folder: Path, listing: Listing, selection: Selection):
        self.folder, self.listing, self.selection = folder, listing, selection
        self.failure_list = FailureList(folder, selection.shard)
        self.failures = self.failure_list.read() if selection.retry else {}
        self._to_retry = set(self.failures)
        self._gone: set[str] = set()  # failed in the last run and are no longer there
        self._manifest = file_of(folder / STATE, MANIFEST, selection.shard)
        self._recorded = self._begin_manifest()
        # Found by the thread that reads, and noted by the one that reports.
        self._found: deque[Failed | Task] = deque()
        self.meter = Meter(listing.count(selection.shard))

    def chunks(self) -> Iterator[Chunk]:
        """Give the chunks in which something is wanted."""
        gone = set(self._to_retry)
        for entries in self.listing.chunks(self.selection.shard):
            chunk = []
            for entry in entries:
                gone.discard(entry.source)
                task = self._task(entry)
                if entry.reason is None:
                    chunk.append(task)
                if not task.wanted:
                    self._found.append(task)
                elif entry.reason is not None:
                    self._found.append(Failed(task, entry.reason))
            if any(task.wanted for task in chunk):
                yield chunk
        self._gone = gone

    def _task(self, entry: Entry) -> Task:
        output = os.path.join(self.folder, entry.target)
        wanted = True
        if self.selection.retry:
            wanted = entry.source in self._to_retry
        elif self.selection.skip_existing and entry.reason is None:
            wanted = not os.path.exists(output)
        return Task(entry.source, output, wanted)

    def report(self, event: Event) -> None:
        """Note an event.

        Raises:
            MachineError: it shows that all others would fail as well.
        """
        self._note_found()
        self._note(event)
        if isinstance(event, Failed) and event.is_last:
            raise MachineError(event.reason)

    def end(self) -> None:
        """Write the list of failures, and sum up."""
        self._note_found()
        for source in self._gone:
            del self.failures[source]
        self.meter.close()
        print(self.meter.summary(), file=sys.stderr)
        self.failure_list.write(self.failures)

    def _note_found(self) -> None:
        while self._found:
            found = self._found.popleft()
            if isinstance(found, Failed):
                self._note(found)
                continue
            self.meter.skip()
            if self.selection.skip_existing and found.output not in self._recorded:
                self._record(input=found.source, output=found.output)

    def _note(self, event: Event) -> None:
        self.meter.report(event)
        if isinstance(event, Failed):
            self.failures[event.task.source] = event.reason
        elif isinstance(event, Done):
            self.failures.pop(event.task.source, None)
            gain = {"gain_db": round(event.gain_db, 3)} if event.gain_db else {}
            self._record(
                input=event.task.source,
                output=event.task.output,
                audio=round(event.audio, 3),
                seconds=round(event.took, 3),
                **gain,
            )

    def _begin_manifest(self) -> set[str]:
        """Give the outputs that are recorded already; those of a run from scratch go."""
        state, shard = self._manifest.parent, self.selection.shard
        others = files_of_other_splits(state, MANIFEST, shard)
        if not self.selection.skip_existing and not self.selection.retry:
            for path in [self._manifest, *others]:
                remove(path)
            return set()
        if self._manifest.exists():  # a kill may have torn the last line off
            lines = self._manifest.read_bytes()
            self._manifest.write_bytes(lines[: lines.rfind(b"\n") + 1])
            others.append(self._manifest)
        lines = chain.from_iterable(path.read_bytes().splitlines() for path in others)
        return {json.loads(line)["output"] for line in lines}

    def _record(self, **fields: object) -> None:
        append_text(self._manifest, json.dumps(fields) + "\n")
