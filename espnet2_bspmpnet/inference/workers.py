"""Processes that each load a model once and take chunks of recordings as they need them.

Unlike those of files/parallel.py, one that is killed, as the system does when memory runs
out, takes only its own chunk with it: another takes its place.
"""

import multiprocessing
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.files.parallel import prepare_worker
from espnet2_bspmpnet.inference.events import (
    Chunk,
    Event,
    Failed,
    Progress,
    Report,
    Task,
)

Work = Callable[[Iterator[Chunk], Report], None]
PATIENCE = 20  # seconds for a process to end that was asked to


def in_processes(work: Work, chunks: Iterator[Chunk], report: Report, nj: int) -> None:
    """Do ``work`` in ``nj`` processes.

    Args:
        work: what each process does with the chunks that it asks for; can be pickled.
        chunks: read one by one, when a process asks for more.
        report: called here with what the processes report, as it comes.

    Raises:
        UserError: the first that a process raises, or each new one is killed at once.
    """
    pool = _Pool(work, chunks, report)
    try:
        for _ in range(nj):
            pool.start()
        while pool.workers:
            for connection in wait(list(pool.workers)):
                pool.receive(pool.workers[connection])
    finally:
        pool.end()


class _Worker:
    """A process, the end of the pipe to it, and what it has not done yet."""

    def __init__(self, process: BaseProcess, connection: Connection):
        self.process = process
        self.connection = connection
        self.chunks: list[tuple[Chunk, set[Task]]] = []  # and what is left to do
        self.is_tried = False  # whether its chunk may be what has killed another
        self.asks = False  # for a chunk that it cannot have yet

    def note(self, task: Task) -> None:
        for _, left in self.chunks:
            left.discard(task)
        self.chunks = [(chunk, left) for chunk, left in self.chunks if left]


class _Pool:
    def __init__(self, work: Work, chunks: Iterator[Chunk], report: Report):
        self.work = pickle.dumps(work)
        self.chunks = chunks
        self.report = report
        self.suspects: list[Chunk] = []  # one of which has killed a worker
        self.workers: dict[Connection, _Worker] = {}
        self.exhausted = False  # whether `chunks` is
        self.deaths = 0  # since something was done last

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(self.work, there), daemon=True)
        process.start()
        there.close()  # so that its death is seen as the end of the pipe
        self.workers[here] = _Worker(process, here)

    def receive(self, worker: _Worker) -> None:
        """Take one message: an event, an error, or None for a chunk that is asked for."""
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):
            self._ended(worker)
            return
        if message is None:
            self._hand_out(worker)
        elif isinstance(message, UserError):
            raise message
        elif isinstance(message, Progress):
            self.report(message)
        else:
            self.deaths = 0
            worker.note(message.task)
            self.report(message)
            if worker.asks and not worker.chunks:
                self._hand_out(worker)

    def _hand_out(self, worker: _Worker) -> None:
        """Give a chunk; one that may kill is given alone, so that this can be seen."""
        worker.asks = bool(worker.chunks) and (worker.is_tried or bool(self.suspects))
        if worker.asks:
            return
        worker.is_tried = bool(self.suspects)
        chunk = self.suspects.pop() if worker.is_tried else next(self.chunks, None)
        if chunk is None:
            self.exhausted = True
        else:
            worker.chunks.append((chunk, {task for task in chunk if task.wanted}))
        with suppress(ConnectionError):  # it died, which `wait` says next
            worker.connection.send(chunk)

    def _ended(self, worker: _Worker) -> None:
        del self.workers[worker.connection]
        worker.connection.close()
        worker.process.join()
        status = worker.process.exitcode
        if status == 0 and not worker.chunks:
            return
        self.deaths += 1
        how = f"was killed by signal {-status}" if status < 0 else "ended unexpectedly"
        if len(worker.chunks) == 1:
            reason = (
                f"its process {how}; was there too little memory? Try it with --retry,"
                " and a smaller --nj or --window"
            )
            for task in sorted(worker.chunks[0][1]):
                self.report(Failed(task, reason))
        else:
            self.suspects += [chunk for chunk, _ in worker.chunks]
        if self.deaths > 2 * (len(self.workers) + 1):
            raise MachineError(f"each process {how}; run again with a smaller --nj")
        if self.suspects or not self.exhausted:
            self.start()

    def end(self) -> None:
        """End what still runs, after an error or Ctrl-C; nothing is left half written."""
        for worker in self.workers.values():
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join(PATIENCE)
            worker.process.kill()


def _work(work: bytes, connection: Connection) -> None:
    """Do the work in a new process."""
    prepare_worker()  # before numpy and torch are imported, by what follows
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # lets files be cleared away
    lock = threading.Lock()

    def send(message: Event | UserError | None) -> None:
        with lock:  # chunks are asked for by the thread that reads
            connection.send(message)

    def chunks() -> Iterator[Chunk]:
        send(None)
        while (chunk := connection.recv()) is not None:
            yield chunk
            send(None)

    try:
        pickle.loads(work)(chunks(), send)
    except UserError as error:
        send(error)
    except (EOFError, ConnectionError):
        sys.exit(1)  # the parent does not want more
