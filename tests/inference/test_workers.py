"""Processes share chunks; the death of one costs no more than its own chunk."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.inference.events import Done, Failed, Progress, Task
from espnet2_bspmpnet.inference.workers import in_processes
from tests.processes import is_running, wait_until


def chunks(count, size=2):
    for number in range(count):
        yield [Task(f"{number}-{place}", "out") for place in range(size)]


def work(chunks, report, deadly=()):
    """Report the process and its threads; die when a deadly chunk comes."""
    for chunk in chunks:
        for task in chunk:
            if task.source in deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            report(Progress(task, 0.5, 1.0))
            time.sleep(0.01)
            report(Done(task, os.getpid(), float(os.environ["OMP_NUM_THREADS"])))


def work_ahead(chunks, report, deadly=()):
    """Ask for each chunk while the one before is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            time.sleep(0.05)
            work([chunk], report, deadly)


def outcomes(work, chunks, nj=2):
    events = []
    in_processes(work, chunks, events.append, nj)
    return {
        event.task.source: event for event in events if not isinstance(event, Progress)
    }


def names(count):
    return {task.source for chunk in chunks(count) for task in chunk}


def test_each_recording_is_reported_once_by_processes_of_one_thread():
    found = outcomes(work, chunks(20))
    assert found.keys() == names(20)
    assert len({event.audio for event in found.values()}) == 2
    assert {event.took for event in found.values()} == {1.0}


@pytest.mark.parametrize("nj", [1, 2])
@pytest.mark.parametrize("work", [work, work_ahead])
def test_one_that_is_killed_takes_its_chunk_with_it_and_is_replaced(work, nj):
    found = outcomes(partial(work, deadly=("3-1", "7-0")), chunks(12), nj)
    assert found.keys() == names(12)
    failed = {name for name, event in found.items() if isinstance(event, Failed)}
    assert failed in ({"3-1", "7-0", "7-1"}, {"3-0", "3-1", "7-0", "7-1"})
    assert "its process was killed by signal 9; was there too little" in str(
        found["3-1"].reason
    )


def test_it_ends_when_each_process_is_killed():
    started = chunks(100, 1)
    with pytest.raises(MachineError, match="each process was killed by signal 9; run"):
        outcomes(partial(work, deadly=names(100)), started)
    assert next(started, None) is not None


def broken(chunks, report):
    raise UserError("no such model")


def test_an_error_of_a_process_is_raised():
    with pytest.raises(UserError, match="no such model"):
        outcomes(broken, chunks(3))


def endless(chunks, report, folder):
    (task,) = next(chunks)
    try:
        (folder / f"{os.getpid()}").touch()
        report(Progress(task, 0.0, 0.0))
        time.sleep(600)
    finally:
        (folder / f"{os.getpid()}").unlink()


def test_after_ctrl_c_processes_clear_up_and_are_gone(tmp_path):
    begun = []

    def report(event):
        begun.append(event)
        if len(begun) == 2:
            begun[:] = [int(path.name) for path in tmp_path.iterdir()]
            raise KeyboardInterrupt

    start = time.time()
    with pytest.raises(KeyboardInterrupt):
        in_processes(partial(endless, folder=tmp_path), chunks(9, 1), report, 2)
    assert time.time() - start < 60
    wait_until(lambda: not any(map(is_running, begun)))
    assert len(begun) == 2 and not list(tmp_path.iterdir())
