"""A Slurm of two nodes on this machine, started where it can be."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.processes import wait_until

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
REPOSITORY = SCRIPT.parents[1]


class Cluster:
    """What tests ask of a cluster that runs.

    Args:
        folder: where its files are.
    """

    def __init__(self, folder: Path):
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("SLURM_")},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PYTHONPATH": str(REPOSITORY),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def ask(self, *words: object) -> str:
        """Run one of Slurm's commands, and return what it prints."""
        return subprocess.run(
            list(map(str, words)),
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    def state(self, name: str) -> str:
        """State and reason of the only job of this name."""
        form = ["--noheader", "--states=all", "--format=%T %r"]
        return self.ask("squeue", f"--name={name}", *form)

    def start_again(self, name: str) -> None:
        """Let a job that goes back to the queue start without its two minutes' wait."""
        wait_until(lambda: self.state(name) == "PENDING BeginTime")
        # In the very second that it was ended in, Slurm refuses the job.
        time.sleep(2)
        job = self.ask("squeue", f"--name={name}", "--noheader", "--format=%A")
        self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster, and stop it at the end; skip the test where that cannot be."""
    # Slurm's sockets need a short path, shorter than that of pytest's folders.
    with TemporaryDirectory(prefix="slurm-") as folder:
        started = subprocess.run(
            [SCRIPT, "start", folder], capture_output=True, text=True, timeout=120
        )
        if "not found" in started.stderr or "only root" in started.stderr:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        try:
            yield Cluster(Path(folder))
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True, timeout=120)
