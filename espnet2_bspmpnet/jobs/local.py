"""`bspmpnet-run`: N jobs as local processes, called like Kaldi's run.pl."""

import contextlib
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_bspmpnet.files.atomic import append_text
from espnet2_bspmpnet.files.parallel import available_cores
from espnet2_bspmpnet.jobs import command_line, logs
from espnet2_bspmpnet.jobs.command_line import Options, run_command_line

USAGE = """\
usage: bspmpnet-run [options] [JOB=1:N] LOG COMMAND [ARGUMENT ...]

Runs COMMAND once, or N times at once with JOB in LOG, COMMAND and its arguments
replaced by 1 ... N. COMMAND is run as it is, without a shell. Exit status 1 if a job
failed; all jobs run to their end first.

  --max_jobs_run N   at most N jobs at a time (default: one per core, or per GPU)
  --num_threads N    threads of each job: sets OMP_NUM_THREADS
  --gpu N            GPUs of each job
  --mem X            for other job systems, like --time T and --partition P; these have
                     no effect here
  --num_nodes 1      for other job systems; here there is one
  --echo REGEX       print the log's lines that match as they come, or of each what the
                     first group matches; on a terminal a line of which the group named
                     progress matches something is replaced by the next
"""
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal to get when the parent dies


@dataclass
class LocalJob(logs.Job):
    """One job and its process."""

    slot: int = 0  # which of the places that run at a time it has
    process: subprocess.Popen | None = None  # None if it could not be started
    started: float = field(default_factory=time.time)  # seconds


def _one(value: str) -> int:
    if value != "1":
        raise ValueError("there is only this machine; several need --backend slurm")
    return 1


ONLY_ELSEWHERE = {"mem": str, "time": str, "partition": str, "num_nodes": _one}


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; for errors see `command_line.parse`."""
    return command_line.parse(arguments, Options, ONLY_ELSEWHERE)


def run(options: Options) -> list[LocalJob]:
    """Run all jobs to their end, and return them, each with its status.

    Raises:
        UserError: a log cannot be written.
        SystemExit: SIGINT, SIGTERM or SIGHUP came; the jobs were ended.
    """
    received = command_line.catch_signals()
    devices = _devices() if options.gpu else []
    places = _places(options, devices)
    waiting, running, ended = list(options.numbers), [], []
    try:
        while waiting or running:
            while waiting and len(running) < places:
                slot = min(set(range(places)) - {job.slot for job in running})
                running.append(_start(options, waiting.pop(0), slot, devices))
            for job in list(running):
                _check(job, options.echo)
                if job.status is not None:
                    running.remove(job)
                    ended.append(job)
            if received:
                name = signal.Signals(received[0]).name
                print(f"bspmpnet-run: stopped by {name}", file=sys.stderr)
                raise SystemExit(128 + received[0])
            time.sleep(POLL_SECONDS if running else 0)
    finally:
        _end(running)
    return ended


def _devices() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return [str(number) for number in range(listing.stdout.count("GPU "))]


def _places(options: Options, devices: Sequence[str]) -> int:
    if options.max_jobs_run is not None:
        return options.max_jobs_run
    if options.gpu:
        return max(1, len(devices) // options.gpu)
    return max(1, available_cores() // (options.num_threads or 1))


def _environment(options: Options, slot: int, devices: Sequence[str]) -> dict[str, str]:
    environment = {"PYTHONUNBUFFERED": "1"} | os.environ
    if options.num_threads is not None:
        environment["OMP_NUM_THREADS"] = str(options.num_threads)
    shares = len(devices) // options.gpu if options.gpu else 0
    # One job takes the GPUs that the user left visible; several must share them out.
    if len(options.numbers) > 1 and shares > 0:
        first = slot % shares * options.gpu
        mine = devices[first : first + options.gpu]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
    return environment


def _start(
    options: Options, number: int, slot: int, devices: Sequence[str]
) -> LocalJob:
    job = LocalJob(number, Path(options.fill(options.log, number)), slot=slot)
    command = [options.fill(word, number) for word in options.command]
    logs.start_log(job.log)
    started = time.ctime(job.started)
    append_text(job.log, f"# {shlex.join(command)}\n# Started at {started}\n#\n")
    job.echoed = job.log.stat().st_size
    with job.log.open("ab") as log:
        try:
            job.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(options, slot, devices),
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except (FileNotFoundError, PermissionError) as error:
            log.write(f"{error}\n".encode())
            job.status = 127 if isinstance(error, FileNotFoundError) else 126
    return job


def _die_with_parent() -> None:
    # A training that outlives a killed bspmpnet-run would fight with the next one.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _check(job: LocalJob, echo: re.Pattern | None) -> None:
    """See whether a job has ended, and print its new lines that match `echo`."""
    if job.process is not None and (code := job.process.poll()) is not None:
        job.status = code if code >= 0 else 128 - code
    logs.echo_lines(job, echo)
    if job.status is not None:
        _write_footer(job)


def _write_footer(job: LocalJob) -> None:
    reason = ""
    if job.status > 128:
        reason = f" (killed by signal {job.status - 128}"
        memory = job.status == 128 + signal.SIGKILL
        reason += "; was there too little memory?)" if memory else ")"
    ended = f"# Ended (status {job.status}){reason} at {time.ctime()}, "
    append_text(job.log, f"{ended}after {time.time() - job.started:.1f} seconds\n")


def _end(jobs: Sequence[LocalJob]) -> None:
    """End jobs that still run, with all the processes that they started."""
    jobs = [job for job in jobs if job.process is not None]
    for job in jobs:
        _signal_group(job, signal.SIGTERM)
    deadline = time.time() + GRACE_SECONDS
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.0, deadline - time.time()))
        _signal_group(job, signal.SIGKILL)
        job.status = 128 - job.process.wait()
    for job in jobs:
        _write_footer(job)


def _signal_group(job: LocalJob, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group may be gone
        os.killpg(job.process.pid, number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; for arguments and status see `run_command_line`."""
    return run_command_line(
        "bspmpnet-run", USAGE, lambda words: run(parse(words)), argv
    )


if __name__ == "__main__":
    sys.exit(main())
