"""Work in several processes gives what work in one gives."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.files.parallel import parallel_map, part_of
from tests.processes import is_running, wait_until


def double(number: int) -> int:
    if number < 0:
        raise UserError(f"{number}: is negative; use another")
    return 2 * number


def threads_allowed(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("nj", [1, 2, 99])
def test_results_come_in_the_order_of_the_items(nj):
    assert parallel_map(double, [3, 1, 2], nj, "doubling") == [6, 2, 4]


@pytest.mark.parametrize("nj", [1, 2])
def test_each_result_is_passed_on_as_it_comes(nj):
    passed = []
    with pytest.raises(UserError):
        parallel_map(double, [3, 1, -1], nj, "doubling", passed.append)
    assert sorted(passed) == [2, 6]
    passed.clear()
    parallel_map(double, [3, 1, 2], nj, "doubling", passed.append)
    assert sorted(passed) == [2, 4, 6]


@pytest.mark.parametrize("nj", [1, 2])
def test_bad_items_are_reported_when_the_others_are_done(nj):
    passed = []
    with pytest.raises(UserError) as raised:
        parallel_map(double, [1, -1, 2, -2], nj, "doubling", passed.append)
    assert str(raised.value).splitlines() == [
        "doubling: 2 of 4 failed, the others are done:",
        "  -1: is negative; use another",
        "  -2: is negative; use another",
    ]
    assert sorted(passed) == [2, 4]


def test_of_many_bad_ones_ten_are_shown():
    with pytest.raises(UserError) as raised:
        parallel_map(double, range(-12, 0), 1, "doubling")
    first, *lines, last = str(raised.value).splitlines()
    assert first == "doubling: 12 of 12 failed:"
    assert len(lines) == 10 and last == "  and 2 more"


@pytest.mark.parametrize("nj", [1, 2])
def test_a_full_disk_ends_the_rest(tmp_path, nj):
    with pytest.raises(MachineError, match="the disk is full"):
        parallel_map(fill, [tmp_path / "0", *later(tmp_path)], nj, "filling")
    assert len(list(tmp_path.iterdir())) < 500


def fill(path: Path) -> None:
    if path.name == "0":
        raise MachineError("the disk is full")
    mark(path)


def test_a_killed_worker_is_reported_and_what_was_done_is_kept(tmp_path):
    with pytest.raises(UserError, match="was killed .*; run it again to complete it"):
        parallel_map(mark_or_die, [*later(tmp_path)[:9], tmp_path / "die"], 2, "x")
    assert list(tmp_path.iterdir())


def mark_or_die(path: Path) -> None:
    if path.name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    mark(path)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_jobs_parts_are_disjoint_and_make_up_the_whole(count):
    items = list(range(7))
    parts = [part_of(items, (number, count)) for number in range(1, count + 1)]
    assert sorted(sum(parts, [])) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert part_of(items, None) == items


def test_after_an_error_what_has_not_begun_is_not_begun(tmp_path):
    with pytest.raises(FileExistsError):
        parallel_map(mark, [tmp_path / "0", tmp_path / "0"] + later(tmp_path), 2, "x")
    assert len(list(tmp_path.iterdir())) < 500


def mark(path: Path) -> None:
    time.sleep(0.01)
    path.touch(exist_ok=False)


def later(folder: Path) -> list[Path]:
    return [folder / str(number) for number in range(1, 1000)]


def test_no_items_are_no_work():
    assert parallel_map(double, [], 2, "doubling") == []


def test_each_worker_is_another_process_with_one_thread():
    for process, threads in parallel_map(threads_allowed, [0, 1], 2, "asking"):
        assert process != os.getpid()
        assert threads == "1"


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "sleepers.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from espnet2_bspmpnet.files.parallel import parallel_map\n"
        "def sleep(number):\n"
        f"    Path({str(tmp_path)!r}, str(number)).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    parallel_map(sleep, [0, 1], 2, 'sleeping')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.DEVNULL,
    )
    notes = [tmp_path / "0", tmp_path / "1"]
    wait_until(lambda: all(note.exists() and note.read_text() for note in notes))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    workers = [int(note.read_text()) for note in notes]
    wait_until(lambda: not any(is_running(worker) for worker in workers))
