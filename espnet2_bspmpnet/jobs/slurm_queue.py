"""Slurm as seen through its own commands: submit, ask, cancel."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from espnet2_bspmpnet.errors import UserError

CANCEL_SECONDS = 60.0
CANCEL_POLL_SECONDS = 0.2
OURS = ("SLURM_CONF", "SLURM_JWT")  # variables that are not of a job we may be run in
STATES_OF_THE_END = {
    "BOOT_FAIL": "a node did not start",
    "CANCELLED": "by scancel, or by an administrator",
    "COMPLETED": "but its exit status was not written; is the log's disk shared?",
    "DEADLINE": "it could not end by its deadline",
    "FAILED": "its script did not run to the end; is the log's disk shared?",
    "NODE_FAIL": "its node broke down",
    "OUT_OF_MEMORY": "ask for more by --mem",
    "PREEMPTED": "a more urgent job took its place",
    "TIMEOUT": "ask for more by --time",
}


class Slurm:
    """The job system, by its commands; OMP_NUM_THREADS of the jobs may be given."""

    def __init__(self, num_threads: int | None = None):
        kept = {k: v for k, v in os.environ.items() if k in OURS or k[:6] != "SLURM_"}
        self.environment = {"PYTHONUNBUFFERED": "1", **kept}
        if num_threads:
            self.environment["OMP_NUM_THREADS"] = str(num_threads)

    def _call(self, *words: str) -> subprocess.CompletedProcess:
        try:
            # A session of its own: Ctrl-C is for us to answer.
            return subprocess.run(
                words,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise UserError(
                f"{words[0]} not found: run this on a machine of a Slurm cluster, or "
                "choose another backend in cmd.sh"
            ) from error

    def submit(self, options: Sequence[str], script: Path) -> str:
        """Submit a script with options of sbatch, and return the job's number.

        Raises:
            UserError: Slurm refuses it, or is not there.
        """
        done = self._call("sbatch", "--parsable", *options, str(script))
        if done.returncode:
            said = "\n  ".join(done.stderr.strip().splitlines())
            raise UserError(f"Slurm does not take the job:\n  {said}")
        return done.stdout.strip().partition(";")[0]

    def states(self, job_id: str) -> dict[int, tuple[str, str]] | None:
        """Return each job's state, and why it waits; None where Slurm does not answer.

        The place of a job that is no array's is 1.
        """
        form = ["--noheader", "--array", "--states=all", "--format=%K|%T|%r"]
        done = self._call("squeue", f"--jobs={job_id}", *form)
        if done.returncode:
            return {} if "Invalid job id" in done.stderr else None
        rows = [line.strip().split("|", 2) for line in done.stdout.splitlines()]
        return {
            int(place) if place.isdecimal() else 1: (state, reason)
            for place, state, reason in rows
        }

    def remembered(self, job_id: str, number: int, array: bool) -> str | None:
        """Return the state of a job that has left the queue, if Slurm keeps accounts."""
        words = ["--noheader", "--allocations", "--parsable2", "--format=State"]
        job = f"{job_id}_{number}" if array else job_id
        try:
            done = self._call("sacct", *words, f"--jobs={job}")
        except UserError:
            return None
        return done.stdout.split()[0] if done.stdout.split() else None

    def cancel(self, job_id: str) -> None:
        """Cancel jobs, and wait until they are gone."""
        self._call("scancel", job_id)
        deadline = time.monotonic() + CANCEL_SECONDS
        while time.monotonic() < deadline:
            states = self.states(job_id)
            if states is not None and not unfinished(states):
                return
            time.sleep(CANCEL_POLL_SECONDS)


def unfinished(states: dict[int, tuple[str, str]]) -> bool:
    """Return whether one of these jobs may still run; their states as Slurm gives them."""
    return any(state not in STATES_OF_THE_END for state, _ in states.values())
