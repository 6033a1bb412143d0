"""`bspmpnet-run` runs what run.pl would, and says what went wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet2_bspmpnet.jobs.command_line import UsageError
from espnet2_bspmpnet.jobs.local import parse
from tests.processes import completed, is_running, wait_until

COMMAND = [sys.executable, "-m", "espnet2_bspmpnet.jobs.local"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "CUDA_VISIBLE_DEVICES": "4,5,6,7",
}
PYTHON = [sys.executable, "-c"]


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    return completed(COMMAND, *words, cwd=cwd, env=ENVIRONMENT)


def test_one_job_writes_its_output_between_header_and_footer(tmp_path):
    done = run("log/a.log", "echo", "two words", "$HOME", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = (tmp_path / "log" / "a.log").read_text().splitlines()
    assert lines[0] == "# echo 'two words' '$HOME'"
    assert lines[1].startswith("# Started at ")
    assert lines[3] == "two words $HOME"
    assert re.match(r"# Ended \(status 0\) at .*, after \d+\.\d seconds", lines[-1])


def test_job_is_replaced_in_log_and_command(tmp_path):
    run("--mem", "1G", "JOB=2:4", "JOB/x.JOB.log", "echo", "is-JOB,JOB", cwd=tmp_path)
    logs = sorted(tmp_path.glob("*/*.log"))
    assert [str(log.relative_to(tmp_path)) for log in logs] == [
        "2/x.2.log",
        "3/x.3.log",
        "4/x.4.log",
    ]
    assert "is-3,3" in logs[1].read_text().splitlines()


def test_jobs_run_at_the_same_time_up_to_the_limit(tmp_path):
    script = (
        "import pathlib, time; pathlib.Path('JOB.on').touch(); time.sleep(0.5);"
        "print('together', len(list(pathlib.Path('.').glob('*.on'))));"
        "pathlib.Path('JOB.on').unlink()"
    )
    for limit in (1, 3):
        words = ("--max-jobs-run", limit, "JOB=1:3", "JOB.log", *PYTHON, script)
        assert run(*words, cwd=tmp_path).returncode == 0
        logs = [path.read_text() for path in tmp_path.glob("*.log")]
        most = max(int(re.search(r"together (\d)", log)[1]) for log in logs)
        assert most == limit


def test_all_jobs_end_and_each_failure_is_reported_with_the_end_of_its_log(tmp_path):
    script = "print(*range(30), sep='\\n'); import time; time.sleep(0.3); exit(JOB % 2)"
    done = run("JOB=1:3", "x.JOB.log", *PYTHON, script, cwd=tmp_path)
    assert done.returncode == 1
    assert "job 1 failed with status 1, log x.1.log, which ends:" in done.stderr
    assert "job 3 failed" in done.stderr and "job 2 failed" not in done.stderr
    assert "2 of 3 jobs failed" in done.stderr
    assert "  29\n" in done.stderr and "  10\n" not in done.stderr
    assert "(status 0)" in (tmp_path / "x.2.log").read_text()


def test_a_command_that_does_not_exist_fails_like_in_a_shell(tmp_path):
    done = run("a.log", "no-such-command", cwd=tmp_path)
    assert done.returncode == 1
    assert "status 127" in done.stderr and "no-such-command" in done.stderr


def test_a_killed_job_is_reported_as_such(tmp_path):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = run("a.log", *PYTHON, script, cwd=tmp_path)
    assert done.returncode == 1
    assert "killed by signal 9; was there too little memory?" in done.stderr


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    done = run("file/a.log", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert "bspmpnet-run: error: file" in done.stderr


def test_matching_lines_are_printed_as_they_come(tmp_path):
    script = (
        "import time; print('1epoch results: a'); print('chatter');"
        "time.sleep(1); print('2epoch results: b', end='')"
    )
    words = [*COMMAND, "--echo", r"epoch results", "a.log", *PYTHON, script]
    began = time.time()
    with subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout.readline() == "1epoch results: a\n"
        assert job.poll() is None, time.time() - began
        assert job.stdout.read() == "2epoch results: b\n"


def test_threads_and_gpus_are_shared_out(tmp_path):
    script = (
        "import os, time; time.sleep(0.5);"
        "print(os.environ['OMP_NUM_THREADS'], os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    words = ("--num_threads", 3, "--gpu", 2, "JOB=1:2", "x.JOB.log", *PYTHON, script)
    run(*words, cwd=tmp_path)
    printed = [path.read_text().splitlines()[-2] for path in tmp_path.glob("*.log")]
    assert sorted(printed) == ["3 4,5", "3 6,7"]


def test_one_job_keeps_the_gpus_that_are_visible(tmp_path):
    script = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    run("--gpu", 1, "a.log", *PYTHON, script, cwd=tmp_path)
    assert "4,5,6,7" in (tmp_path / "a.log").read_text().splitlines()


FAMILY = (
    "import os, pathlib, subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "pathlib.Path('JOB.tmp').write_text(f'{os.getpid()} {child.pid}');"
    "os.rename('JOB.tmp', 'JOB.pid');"
    "time.sleep(60)"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_jobs_and_their_children(tmp_path, number):
    words = ["--max_jobs_run", "2", "JOB=1:2", "JOB.log", *PYTHON, FAMILY]
    job = start(words, tmp_path)
    job.send_signal(number)
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 128 + number
    assert f"stopped by {number.name}" in printed
    family = processes(tmp_path / "1.pid") + processes(tmp_path / "2.pid")
    wait_until(lambda: not any(map(is_running, family)))
    log = (tmp_path / "1.log").read_text()
    assert "# Ended (status 143) (killed by signal 15)" in log


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux' prctl")
def test_a_job_does_not_outlive_a_killed_bspmpnet_run(tmp_path):
    words = ["--max_jobs_run", "2", "JOB=1:2", "JOB.log", *PYTHON, FAMILY]
    job = start(words, tmp_path)
    job.kill()
    job.communicate(timeout=120)
    job_pids = [processes(tmp_path / f"{number}.pid") for number in (1, 2)]
    wait_until(lambda: not any(is_running(pids[0]) for pids in job_pids))
    for _, child in job_pids:
        os.kill(child, signal.SIGKILL)


def start(words: list[str], folder: Path) -> subprocess.Popen:
    job = subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(list(folder.glob("*.pid"))) == 2)
    return job


def processes(path: Path) -> list[int]:
    return [int(number) for number in path.read_text().split()]


def test_what_only_a_cluster_can_do_is_refused_and_the_rest_has_no_effect():
    assert (
        parse(["--mem=2G", "--time", "1", "--num_nodes", "1", "a.log", "true"]).gpu == 0
    )
    with pytest.raises(UsageError, match="this machine; several need --backend slurm"):
        parse(["--num_nodes", "2", "a.log", "true"])


def test_a_wrong_command_line_shows_the_usage_and_ends_with_status_two(tmp_path):
    done = run("--gup", 1, "a.log", "true", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bspmpnet-run")
    assert done.stderr.splitlines()[-1] == (
        "bspmpnet-run: error: unknown option --gup; known are --max_jobs_run, "
        "--num_threads, --gpu, --echo, --mem, --time, --partition, --num_nodes"
    )
    assert list(tmp_path.iterdir()) == []
