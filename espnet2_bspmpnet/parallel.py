"""The same function over many items, in worker processes, with a progress bar."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def available_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _prepare_worker() -> None:
    # Runs before numpy or torch are imported, so that each worker keeps to one core.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    # Ctrl-C reaches the whole terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Without this, the workers of a parent that was killed wait for ever.
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def parallel_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    nj: int,
    description: str,
    notify: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Apply a module-level function to each item; the first error ends the rest.

    Args:
        function: importable by a new process.
        items: its arguments, one each.
        nj: number of processes; 1 works in this one.
        description: what the progress bar on stderr says.
        notify: called in this process with each result as it comes, in any order.

    Returns:
        The results in the order of the items.
    """
    from tqdm import tqdm

    def done(result: Result) -> Result:
        if notify is not None:
            notify(result)
        bar.update()
        return result

    items = list(items)
    nj = min(nj, len(items))
    # disable=None: no bar where stderr is no terminal but a log.
    bar = tqdm(total=len(items), desc=description, file=sys.stderr, disable=None)
    with bar:
        if nj <= 1:
            return [done(function(item)) for item in items]
        pool = ProcessPoolExecutor(
            nj, multiprocessing.get_context("spawn"), initializer=_prepare_worker
        )
        try:
            futures = [pool.submit(function, item) for item in items]
            for future in as_completed(futures):
                done(future.result())
            return [future.result() for future in futures]
        finally:
            # After an error or Ctrl-C, what has not begun is not begun any more.
            pool.shutdown(cancel_futures=True)
