"""What is shown of jobs: matching lines as they come, and the end of a failed job's log."""

import re
import sys

import pytest

from espnet2_bspmpnet.errors import MachineError
from espnet2_bspmpnet.jobs.logs import Job, echo_lines, report, start_log

PROGRESS = re.compile("INFO: (epoch [0-9]+(?P<progress>: step)?.*)")
TRAINING = ["epoch 1: step 1", "epoch 1: step 2", "epoch 1 done", "epoch 2: step 1"]


@pytest.fixture
def job(tmp_path) -> Job:
    """A job that runs, with an empty log."""
    job = Job(1, tmp_path / "log/a.log")
    start_log(job.log)
    return job


def write(job: Job, text: str) -> None:
    with job.log.open("a") as log:
        log.write(text)


def test_only_new_whole_lines_are_looked_at_until_the_job_has_ended(job, capsys):
    write(job, "1epoch results: a\nchatter\n2epoch resu")
    echo_lines(job, re.compile("epoch results"))
    assert capsys.readouterr().out == "1epoch results: a\n"
    write(job, "lts: b\n3epoch results: c")
    echo_lines(job, re.compile("epoch results"))
    assert capsys.readouterr().out == "2epoch results: b\n"
    job.status = 0
    echo_lines(job, re.compile("epoch results"))
    assert capsys.readouterr().out == "3epoch results: c\n"


def test_without_a_pattern_nothing_is_printed(job, capsys):
    write(job, "1epoch results: a\n")
    echo_lines(job, None)
    assert capsys.readouterr().out == ""


def test_of_a_line_only_the_first_group_is_printed(job, capsys):
    write(job, "".join(f"[host] INFO: {line}\n" for line in TRAINING))
    echo_lines(job, PROGRESS)
    assert capsys.readouterr().out.splitlines() == TRAINING


def test_a_progress_bar_is_followed_through_its_carriage_returns(job, capsys):
    write(job, "scoring:  10%|#\rscoring:  90%|#\rscor")
    echo_lines(job, re.compile("(?P<progress>.+: +[0-9]+%[|].*)"))
    assert capsys.readouterr().out.splitlines() == [
        "scoring:  10%|#",
        "scoring:  90%|#",
    ]


def test_on_a_terminal_progress_is_one_line_that_the_next_replaces(
    job, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "12")
    write(job, "".join(f"[host] INFO: {line}\n" for line in TRAINING))
    job.status = 0
    echo_lines(job, PROGRESS)
    clear = "\x1b[K"
    assert capsys.readouterr().out == (
        f"epoch 1: st{clear}\r" * 2  # cut to the terminal's width
        + f"epoch 1 done{clear}\n"
        + f"epoch 2: st{clear}\r"
        + clear  # nothing of it is left at the end
    )


def test_a_failed_job_is_reported_with_the_end_of_its_log(job, capsys):
    write(job, "".join(f"{number}\n" for number in range(30)))
    job.status = 3
    assert report("bspmpnet-run", [job, Job(2, job.log, status=0)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        f"bspmpnet-run: job 1 failed with status 3, log {job.log}, which ends:"
    )
    assert lines[1:-1] == [f"  {number}" for number in range(15, 30)]
    assert lines[-1] == "bspmpnet-run: 1 of 2 jobs failed"


def test_a_reason_stands_in_place_of_the_status(job, capsys):
    job.status, job.reason = 1, "ended by Slurm: TIMEOUT (ask for more by --time)"
    report("bspmpnet-slurm", [job])
    assert "job 1 failed: ended by Slurm: TIMEOUT (ask" in capsys.readouterr().err


def test_jobs_that_ended_well_are_not_mentioned(job, capsys):
    job.status = 0
    assert report("bspmpnet-run", [job]) == 0
    assert capsys.readouterr().err == ""


def test_a_log_is_started_empty_or_its_place_is_named(job, tmp_path):
    write(job, "of an earlier run")
    start_log(job.log)
    assert job.log.read_text() == ""
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=f"{tmp_path}/file/a.log: part of this path"):
        start_log(tmp_path / "file/a.log")
