"""The same function over many items, in worker processes, with a progress bar."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from espnet2_bspmpnet.errors import MachineError, UserError, summary

Item = TypeVar("Item")
Result = TypeVar("Result")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_worker() -> None:
    # Runs before numpy or torch are imported, so that each worker keeps to one core.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    # Ctrl-C reaches the whole terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without this, the workers of a parent that was killed would wait forever.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def part_of(items: Sequence[Item], part: tuple[int, int] | None) -> Sequence[Item]:
    """Return one job's share of the items, every n-th one.

    Args:
        items: the same ones, in the same order, in each job.
        part: the job's number k in 1 ... n, and n; None takes all.
    """
    return items if part is None else items[part[0] - 1 :: part[1]]


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    nj: int,
    description: str,
    notify: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Apply a module-level function to each item; bad ones are reported at the end.

    Args:
        function: importable by a new process.
        items: its arguments, one each.
        nj: number of processes; 1 works in this one.
        description: shown by the progress bar on stderr.
        notify: called in this process with each result as it comes, in any order.

    Returns:
        The results in the order of the items.

    Raises:
        UserError: some items raised one, shown once the others are done; or a process
            was killed.
        MachineError: at once.
    """
    from tqdm import tqdm

    items = list(items)
    results: dict[int, Result] = {}
    errors: dict[int, UserError] = {}
    # In a log the bar appears now and then, and only of what takes long.
    pace = {} if sys.stderr.isatty() else {"delay": 10, "mininterval": 10}
    bar = tqdm(total=len(items), desc=description, file=sys.stderr, **pace)
    with bar, contextlib.closing(_attempts(function, items, nj)) as attempts:
        for place, attempt in attempts:
            try:
                results[place] = attempt()
            except MachineError:
                raise
            except UserError as error:
                errors[place] = error
            else:
                if notify is not None:
                    notify(results[place])
            bar.update()
    if errors:
        found = [errors[place] for place in sorted(errors)]
        raise summary(found, len(items), description)
    return [results[place] for place in range(len(items))]


def _attempts(
    function: Callable[[Item], Result], items: list[Item], nj: int
) -> Iterator[tuple[int, Callable[[], Result]]]:
    """Yield an item's place, and a call that returns its result or raises its error."""
    nj = min(nj, len(items))
    if nj <= 1:
        for place, item in enumerate(items):
            yield place, partial(function, item)
        return
    pool = ProcessPoolExecutor(
        nj, multiprocessing.get_context("spawn"), initializer=prepare_worker
    )
    try:
        places = {
            pool.submit(function, item): place for place, item in enumerate(items)
        }
        for future in as_completed(places):
            if isinstance(future.exception(), BrokenProcessPool):
                raise UserError(
                    "one of the processes was killed (was there too little memory?); "
                    "run it again to complete it, with a smaller --nj if need be"
                )
            yield places[future], future.result
    finally:
        # After an error or Ctrl-C, what has not begun is not begun any more.
        pool.shutdown(cancel_futures=True)
