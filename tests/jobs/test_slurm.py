"""`bspmpnet-slurm` runs jobs on a real Slurm, on two nodes of this machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet2_bspmpnet.jobs.command_line import UsageError
from espnet2_bspmpnet.jobs.slurm import batch_script, parse, sbatch_options
from tests.processes import completed, wait_until
from tests.slurm import SCRIPT, Cluster, running_cluster

COMMAND = [sys.executable, "-m", "espnet2_bspmpnet.jobs.slurm"]


def options(words: str) -> list[str]:
    return sbatch_options(parse([*words.split(), "log/x.JOB.log", "true"]))


def test_what_is_asked_for_is_asked_of_sbatch():
    asked = options(
        "--gpu 2 --num_threads 4 --mem 8G --time 1:00:00 --partition p --account a "
        "--qos q --constraint c --num_nodes 3 --max_jobs_run 5 JOB=1:9"
    )
    assert {
        *("--gres=gpu:2", "--cpus-per-task=4", "--mem=8G", "--time=1:00:00"),
        *("--partition=p", "--account=a", "--qos=q", "--constraint=c"),
        *("--nodes=3", "--ntasks-per-node=1", "--array=1-9%5", "--job-name=x"),
    } <= set(asked)


def test_what_is_not_asked_for_is_left_to_slurm():
    words = sbatch_options(parse(["--gpu", "0", "x.log", "true"]))
    for name in ("gres", "cpus-per-task", "mem", "time", "partition", "array"):
        assert not [word for word in words if word.startswith(f"--{name}")]


def test_further_arguments_of_sbatch_come_last_and_so_win():
    words = ["--gpu", "1", "--sbatch_args", "--gres gpu:a100:1 --comment 'a b'"]
    asked = sbatch_options(parse([*words, "x.log", "true"]))
    assert asked[-4:] == ["--gres", "gpu:a100:1", "--comment", "a b"]


def test_logs_are_named_as_the_command_line_says(tmp_path, monkeypatch):
    (tmp_path / "100%").mkdir()
    monkeypatch.chdir(tmp_path / "100%")
    assert f"--output={tmp_path}/100%%/log/x.%a.log" in options("JOB=1:2")
    words = sbatch_options(parse(["JOB=1:2", "/a/x.JOB.log", "true"]))
    assert "--output=/a/x.%a.log" in words


@pytest.mark.parametrize(
    "limit, warning",
    [
        ("", 120),
        ("UNLIMITED", 120),
        ("2-0", 120),
        ("4", 60),
        ("2:0", 30),
        ("0:1:0", 15),
        ("0-0:2", 30),
        ("0-0:0:40", 10),
    ],
)
def test_the_warning_comes_in_the_last_quarter_of_the_time(limit, warning):
    asked = options(f"--time {limit} JOB=1:1" if limit else "JOB=1:1")
    assert f"--signal=B:USR1@{warning}" in asked


def test_files_beside_the_logs_have_no_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for log, prefix in [
        ("log/x.JOB.log", "log/slurm/x"),
        ("log/JOB/x.log", "log/slurm/x"),
        ("JOB.log", "slurm/jobs"),
    ]:
        assert parse(["JOB=1:2", log, "true"]).prefix == tmp_path / prefix
    assert parse(["exp/train.log", "true"]).prefix == tmp_path / "exp/slurm/train"


@pytest.mark.parametrize(
    "words, printed",
    [
        ("--num_nodes 0 a.log true", "--num_nodes 0: .* at least 1"),
        ("--partitoin x a.log true", "unknown option --partitoin; known are .*--qos"),
        ("--sbatch_args 'a a.log true", "--sbatch_args 'a: No closing quotation"),
        ("JOB=1:3 a.log true", "a.log: the log's name must contain JOB"),
    ],
)
def test_a_wrong_command_line_is_named(words, printed):
    with pytest.raises(UsageError, match=printed):
        parse(words.split(" "))


def test_the_script_is_bash_whatever_the_words(tmp_path):
    words = ["JOB=1:2", "a.JOB.log", "echo", "it's", 'a "b"', "$HOME", "x\ny"]
    script = tmp_path / "script.sh"
    script.write_text(batch_script(parse(words)))
    subprocess.run(["bash", "-n", script], check=True)
    words = f'. "{script}" 2>&1; exit'
    printed = subprocess.run(
        ["bash", "-c", words],
        env={**os.environ, "SLURM_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "2"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout
    assert 'it\'s a "b" $HOME x\ny' in printed


@pytest.mark.parametrize(
    "job, printed, status",
    [
        ("RUNNING PreemptTime=None", "Ended (status 143)", 143),
        ("RUNNING PreemptTime=2026-11-21", "Slurm needs the machine: back to", 1),
        ("SIGNALING PreemptTime=2026-11-21", "Slurm needs the machine: back to", 1),
        ("CANCELLED PreemptTime=None", "Ended by Slurm", 143),
    ],
)
def test_the_script_finds_out_why_its_command_was_ended(tmp_path, job, printed, status):
    """Of Slurm's states, that of a job that is about to be ended passes quickly."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n[ $1 != requeue ] && echo 'JobState={job}'\n")
    scontrol.chmod(0o755)
    words = [tmp_path / "a.log", "bash", "-c", "kill $$"]
    (tmp_path / "slurm").mkdir()
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", batch_script(parse(list(map(str, words))))],
        env={**os.environ, "SLURM_JOB_ID": "1", "PATH": path},
        capture_output=True,
        text=True,
    )
    assert f"# {printed}" in done.stdout
    assert done.returncode == status


def test_scripts_pass_shellcheck(repository):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [repository / "espnet2_bspmpnet/jobs/slurm_job.sh", SCRIPT]
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert checked.stdout == ""


def test_without_slurm_the_fix_is_named(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/none"}
    done = completed(COMMAND, "a.log", "true", cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert "sbatch not found: run this on a machine of a Slurm cluster" in done.stderr


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as cluster:
        yield cluster


def run(cluster: Cluster, *words: object, cwd: Path) -> subprocess.CompletedProcess:
    return completed(COMMAND, *words, cwd=cwd, env=cluster.environment)


def start(cluster: Cluster, *words: object, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_there(path: Path):
    return lambda: path.exists()


def test_an_array_runs_and_failures_are_reported_as_bspmpnet_run_does(
    cluster, tmp_path
):
    script = "print(*range(30), sep='\\n'); print('got JOB'); exit(JOB % 2)"
    words = ["--echo", "got", "JOB=1:3", "log/x.JOB.log", sys.executable, "-c", script]
    done = run(cluster, *words, cwd=tmp_path)
    assert done.returncode == 1
    assert {"got 1", "got 2", "got 3"} <= set(done.stdout.splitlines())
    assert "job 1 failed with status 1, log log/x.1.log, which ends:" in done.stderr
    assert "job 3 failed" in done.stderr and "job 2 failed" not in done.stderr
    assert "2 of 3 jobs failed" in done.stderr
    log = (tmp_path / "log/x.2.log").read_text()
    assert re.search(r"# Ended \(status 0\) at .*, after \d+ seconds\n$", log)
    left = [path.name for path in (tmp_path / "log/slurm").iterdir()]
    assert left == ["x.sh"]


def test_a_job_has_the_callers_environment_folder_and_what_it_asked_for(
    cluster, tmp_path
):
    cluster.environment["OF_THE_CALLER"] = "a value"
    script = (
        "import os; print(os.getcwd(), os.environ['OF_THE_CALLER'],"
        "os.environ['OMP_NUM_THREADS'], os.environ['SLURM_CPUS_PER_TASK'],"
        "len(os.environ['CUDA_VISIBLE_DEVICES'].split(',')))"
    )
    words = ["--num_threads", 3, "--gpu", 2, "a.log", "python", "-c", script]
    done = run(cluster, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path} a value 3 3 2" in (tmp_path / "a.log").read_text()


def test_slurms_own_words_explain_why_it_refuses(cluster, tmp_path):
    done = run(cluster, "--partition", "none", "a.log", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert "invalid partition specified: none" in done.stderr


def test_a_log_that_cannot_be_written_is_named(cluster, tmp_path):
    (tmp_path / "file").touch()
    done = run(cluster, "file/a.log", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert "bspmpnet-slurm: error: file" in done.stderr


def test_a_cancelled_job_is_reported_as_such(cluster, tmp_path):
    script = "touch on; sleep 60"
    job = start(cluster, "cancelled.log", "bash", "-c", script, cwd=tmp_path)
    wait_until(is_there(tmp_path / "on"))
    cluster.ask("scancel", "--name=cancelled")
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 1
    assert "job 1 failed: ended by Slurm: CANCELLED (by scancel" in printed
    assert "  # Ended by Slurm at" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_jobs(cluster, tmp_path, number):
    words = ["JOB=1:2", f"{number.name}.JOB.log", "bash", "-c", "touch JOB; sleep 60"]
    job = start(cluster, *words, cwd=tmp_path)
    wait_until(lambda: (tmp_path / "1").exists() and (tmp_path / "2").exists())
    job.send_signal(number)
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 128 + number
    assert f"stopped by {number.name}; job" in printed
    states = cluster.state(number.name).splitlines()
    assert {state.split()[0] for state in states} == {"CANCELLED"}
    assert "# Ended by Slurm" in (tmp_path / f"{number.name}.1.log").read_text()


def test_jobs_that_outlived_their_caller_are_waited_for_by_the_same_command(
    cluster, tmp_path
):
    script = "echo x >>starts; until [[ -f end ]]; do sleep 0.1; done"
    words = ["outlived.log", "bash", "-c", script]
    caller = start(cluster, *words, cwd=tmp_path)
    wait_until(is_there(tmp_path / "starts"))
    caller.kill()
    caller.communicate()

    other = run(cluster, "outlived.log", "true", cwd=tmp_path)
    assert other.returncode == 1
    assert "of another command, still writes to outlived.log" in other.stderr

    caller = start(cluster, *words, cwd=tmp_path)
    assert "waiting for it" in caller.stderr.readline()
    (tmp_path / "end").touch()
    caller.communicate(timeout=120)
    assert caller.returncode == 0
    assert (tmp_path / "starts").read_text() == "x\n"


# Works in steps, and when started again resumes where it was.
STEPS = "echo x >>starts; (($(wc -l <starts) > 1)) || sleep 60; echo resumed"


def test_near_its_time_limit_a_job_goes_back_to_the_queue_and_resumes(
    cluster, tmp_path
):
    job = start(cluster, "limit.log", "bash", "-c", STEPS, cwd=tmp_path)
    wait_until(is_there(tmp_path / "starts"))
    cluster.ask("scancel", "--batch", "--signal=USR1", "--name=limit")
    cluster.start_again("limit")
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 0, printed
    log = (tmp_path / "limit.log").read_text()
    assert log.index("# The time limit is near: back to the") < log.index("\nresumed\n")
    assert log.count("# Started at") == 2


def test_a_job_that_was_requeued_by_hand_is_waited_for(cluster, tmp_path):
    words = ["JOB=4:4", "by_hand.JOB.log", "bash", "-c", STEPS]
    job = start(cluster, *words, cwd=tmp_path)
    wait_until(is_there(tmp_path / "starts"))
    array = cluster.ask("squeue", "--name=by_hand", "--noheader", "--format=%F")
    cluster.ask("scontrol", "requeue", f"{array}_4")
    cluster.start_again("by_hand")
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 0, printed


def test_a_job_that_comes_back_too_often_is_given_up(cluster, tmp_path):
    words = ["--max_requeues", 0, "often.log", "bash", "-c", STEPS]
    job = start(cluster, *words, cwd=tmp_path)
    wait_until(is_there(tmp_path / "starts"))
    cluster.ask("scancel", "--batch", "--signal=USR1", "--name=often")
    cluster.start_again("often")
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 1
    assert "more often than --max_requeues 0: given up" in printed


def test_a_job_that_is_preempted_with_notice_goes_back_to_the_queue(cluster, tmp_path):
    """The notice reaches what srun started, which then ends before Slurm ends the job."""
    words = ["--sbatch_args", "--exclusive", "--num_nodes", 2, "mild.log"]
    steps = STEPS.replace("starts", "starts.$SLURM_PROCID")
    job = start(cluster, *words, "bash", "-c", steps, cwd=tmp_path)
    wait_until(lambda: len(list(tmp_path.glob("starts.*"))) == 2)
    everything = ["--nodes=2", "--exclusive", "--partition=urgent"]
    assert cluster.ask("srun", *everything, "echo", "hello") == "hello\nhello"
    cluster.start_again("mild")
    _, printed = job.communicate(timeout=120)
    assert job.returncode == 0, printed
    log = (tmp_path / "mild.log").read_text()
    assert "# Slurm needs the machine: back to the queue" in log


def test_on_several_nodes_each_runs_the_command_and_knows_where_the_first_is(
    cluster, tmp_path
):
    script = "echo $SLURM_PROCID of $SLURM_NTASKS at $1 $MASTER_PORT"
    words = ["--num_nodes", 2, "a.log", "bash", "-c", script, "-", "MASTER_ADDR"]
    done = run(cluster, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.findall(
        r"^(\d) of 2 at 127.0.0.1 (\d+)$", (tmp_path / "a.log").read_text(), re.M
    )
    assert sorted(node for node, _ in found) == ["0", "1"]
    assert found[0][1] == found[1][1]


def test_the_cluster_is_not_started_twice(cluster):
    folder = Path(cluster.environment["SLURM_CONF"]).parent
    before = cluster.ask("scontrol", "show", "config")
    done = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    boot = re.search("BOOT_TIME .*", before)[0]
    assert boot in cluster.ask("scontrol", "show", "config")
