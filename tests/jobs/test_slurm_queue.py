"""Slurm's own commands, played by scripts: what is asked of them, what is understood."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.jobs.slurm_queue import Slurm, unfinished


@pytest.fixture
def play(tmp_path, monkeypatch) -> Callable[[str, str], Path]:
    """Return a function that makes a command; it returns where its words are noted."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def play(name: str, script: str) -> Path:
        calls = tmp_path / f"{name}.calls"
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >>{calls}\n{script}\n')
        (tmp_path / name).chmod(0o755)
        return calls

    return play


def test_the_number_of_a_submitted_job_is_read_without_its_cluster(play):
    calls = play("sbatch", "echo '17;cluster'")
    assert Slurm().submit(["--mem=1G"], Path("x.sh")) == "17"
    assert calls.read_text() == "--parsable --mem=1G x.sh\n"


def test_slurms_reason_for_refusing_a_job_is_passed_on(play):
    play("sbatch", "echo 'invalid partition' >&2; exit 1")
    with pytest.raises(UserError, match="does not take the job:\n  invalid partition"):
        Slurm().submit([], Path("x.sh"))


def test_without_slurm_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch not found: run this on a machine of a"):
        Slurm().submit([], Path("x.sh"))


def test_states_are_those_of_an_array_or_of_one_job(play):
    play("squeue", "echo '1|RUNNING|None'; echo '2|PENDING|Resources'")
    states = Slurm().states("17")
    assert states == {1: ("RUNNING", "None"), 2: ("PENDING", "Resources")}
    play("squeue", "echo 'N/A|COMPLETED|None'")
    assert Slurm().states("17") == {1: ("COMPLETED", "None")}


def test_a_job_that_slurm_has_forgotten_differs_from_a_slurm_that_is_silent(play):
    play("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert Slurm().states("17") == {}
    play("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert Slurm().states("17") is None


@pytest.mark.parametrize(
    "states, expected",
    [
        ({}, False),
        ({1: ("COMPLETED", "")}, False),
        ({1: ("COMPLETED", ""), 2: ("COMPLETING", "")}, True),
        ({1: ("REQUEUED", "")}, True),
    ],
)
def test_a_job_may_run_until_slurm_says_that_it_has_ended(states, expected):
    assert unfinished(states) == expected


def test_accounts_are_asked_for_one_job_of_an_array_or_the_only_one(play):
    calls = play("sacct", "echo 'OUT_OF_MEMORY'")
    assert Slurm().remembered("17", 3, array=True) == "OUT_OF_MEMORY"
    Slurm().remembered("17", 1, array=False)
    jobs = [line.split()[-1] for line in calls.read_text().splitlines()]
    assert jobs == ["--jobs=17_3", "--jobs=17"]
    play("sacct", "true")
    assert Slurm().remembered("17", 1, array=False) is None


def test_cancelling_waits_until_the_job_is_gone(play, tmp_path):
    left = tmp_path / "left"
    left.write_text("xx")
    script = f"[ -s {left} ] && echo '1|RUNNING|None'; truncate -s -1 {left}"
    calls = play("squeue", script)
    cancelled = play("scancel", "true")
    Slurm().cancel("17")
    assert cancelled.read_text() == "17\n"
    assert len(calls.read_text().splitlines()) == 3


def test_variables_of_a_job_that_we_run_in_do_not_reach_ours(monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "conf")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "SLURM_JOB_ID" not in Slurm().environment
    assert Slurm().environment["SLURM_CONF"] == "conf"
    assert Slurm(num_threads=3).environment["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in Slurm().environment
