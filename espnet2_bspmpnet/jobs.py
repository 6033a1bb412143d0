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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_bspmpnet.parallel import available_cores

USAGE = """\
usage: bspmpnet-run [options] [JOB=1:N] LOG COMMAND [ARGUMENT ...]

Runs COMMAND once, or N times at once with JOB in LOG, COMMAND and its arguments
replaced by 1 ... N. COMMAND is run as it is, without a shell. Exit status 1 if a job
failed; all jobs run to their end first.

  --max_jobs_run N   at most N jobs at a time (default: one per core, or per GPU)
  --num_threads N    threads of each job: sets OMP_NUM_THREADS
  --gpu N            GPUs of each job
  --mem X            for other job systems; has no effect here
  --echo REGEX       print the log's lines that match as they come
"""
TAIL_LINES = 15
TAIL_BYTES = 65536
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal to get when the parent dies


class UsageError(Exception):
    """The command line makes no sense; the message says which word."""


@dataclass
class Options:
    """What the command line asked for.

    Args:
        log: log file, may contain the array's name.
        command: command and arguments, likewise.
        array: the word that stands for the number, e.g. "JOB"; None for one job.
        numbers: the jobs' numbers.
        max_jobs_run: jobs at a time; None for one per core or GPU.
        num_threads: threads of each job; None leaves the environment alone.
        gpu: GPUs of each job.
        echo: pattern of the lines to print.
    """

    log: str
    command: list[str]
    array: str | None = None
    numbers: range = range(1, 2)
    max_jobs_run: int | None = None
    num_threads: int | None = None
    gpu: int = 0
    echo: re.Pattern | None = None

    def fill(self, text: str, number: int) -> str:
        """Put a job's number in place of the array's name."""
        return text if self.array is None else text.replace(self.array, str(number))


@dataclass
class Job:
    """One job: its log, its process and how it ended.

    Args:
        number: its place in the array.
        log: its log file.
        slot: which of the places that run at a time it has.
        process: None if it could not be started.
        status: exit status, 128 + signal if killed; None while it runs.
        started: time it began, in seconds.
        echoed: how much of the log was looked at, in bytes.
    """

    number: int
    log: Path
    slot: int
    process: subprocess.Popen | None = None
    status: int | None = None
    started: float = field(default_factory=time.time)
    echoed: int = 0


def _at_least(lowest: int) -> Callable[[str], int]:
    def convert(value: str) -> int:
        if not value.isdecimal() or int(value) < lowest:
            raise ValueError(f"a whole number of at least {lowest} is needed")
        return int(value)

    return convert


OPTIONS: Mapping[str, Callable] = {
    "max_jobs_run": _at_least(1),
    "num_threads": _at_least(1),
    "gpu": _at_least(0),
    "mem": str,
    "echo": re.compile,
}


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; options and JOB=1:N may come in any order.

    Args:
        arguments: without the program's name.

    Raises:
        UsageError: naming the word that cannot be understood.
    """
    words = list(arguments)
    settings: dict = {}
    while words:
        array = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", words[0])
        if words[0].startswith("-"):
            name, value = _take_option(words)
            settings[name] = value
        elif array and "array" not in settings:
            first, last = int(array[2]), int(array[3] or array[2])
            if last < first:
                raise UsageError(f"{words[0]}: the last number is below the first")
            settings |= {"array": array[1], "numbers": range(first, last + 1)}
            words.pop(0)
        else:
            break
    settings.pop("mem", None)
    if len(words) < 2:
        raise UsageError("a log file and a command are needed")
    options = Options(log=words[0], command=words[1:], **settings)
    if len(options.numbers) > 1 and options.array not in options.log:
        raise UsageError(f"{options.log}: the log's name must contain {options.array}")
    return options


def _take_option(words: list[str]) -> tuple[str, object]:
    option, equals, value = words.pop(0).partition("=")
    name = option.removeprefix("--").replace("-", "_")
    if not option.startswith("--") or name not in OPTIONS:
        known = ", ".join(f"--{known}" for known in OPTIONS)
        raise UsageError(f"unknown option {option}; known are {known}")
    if not equals:
        if not words:
            raise UsageError(f"{option} needs a value")
        value = words.pop(0)
    try:
        return name, OPTIONS[name](value)
    except (ValueError, re.error) as error:
        raise UsageError(f"{option} {value}: {error}") from error


def run(options: Options) -> list[Job]:
    """Run all jobs to their end, or until a signal asks to stop.

    Args:
        options: see `parse`.

    Returns:
        The jobs, each with its status.

    Raises:
        OSError: a log cannot be written.
        SystemExit: SIGINT, SIGTERM or SIGHUP came; the jobs were ended.
    """
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: received.append(number))
    devices = _devices() if options.gpu else []
    places = _places(options, devices)
    waiting, running, ended = list(options.numbers), [], []
    try:
        while waiting or running:
            while waiting and len(running) < places:
                slot = min(set(range(places)) - {job.slot for job in running})
                running.append(_start(options, waiting.pop(0), slot, devices))
            for job in list(running):
                _look_after(job, options.echo)
                if job.status is not None:
                    running.remove(job)
                    ended.append(job)
            if received:
                print(
                    f"bspmpnet-run: stopped by {signal.Signals(received[0]).name}",
                    file=sys.stderr,
                )
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
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        return []
    return [str(number) for number in range(listing.count("GPU "))]


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


def _start(options: Options, number: int, slot: int, devices: Sequence[str]) -> Job:
    job = Job(number, Path(options.fill(options.log, number)), slot)
    command = [options.fill(word, number) for word in options.command]
    job.log.parent.mkdir(parents=True, exist_ok=True)
    header = f"# {shlex.join(command)}\n# Started at {time.ctime(job.started)}\n#\n"
    job.log.write_bytes(b"")
    _append(job.log, header)
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


def _look_after(job: Job, echo: re.Pattern | None) -> None:
    """See whether a job has ended, and print its new lines that match `echo`."""
    if job.process is not None:
        code = job.process.poll()
        if code is not None:
            job.status = code if code >= 0 else 128 - code
    if echo is not None:
        _echo(job, echo)
    if job.status is not None:
        _write_footer(job)


def _echo(job: Job, echo: re.Pattern) -> None:
    with job.log.open("rb") as log:
        log.seek(job.echoed)
        new = log.read()
    if job.status is None:
        # Only whole lines; a progress bar's end with a carriage return.
        new = new[: max(new.rfind(b"\n"), new.rfind(b"\r")) + 1]
    job.echoed += len(new)
    for line in re.split(r"[\r\n]+", new.decode("utf-8", errors="replace")):
        if line and echo.search(line):
            print(line, flush=True)


def _write_footer(job: Job) -> None:
    reason = ""
    if job.status > 128:
        reason = f" (killed by signal {job.status - 128}"
        memory = job.status == 128 + signal.SIGKILL
        reason += "; was there too little memory?)" if memory else ")"
    seconds = time.time() - job.started
    _append(
        job.log,
        f"# Ended (status {job.status}){reason} at {time.ctime()}, "
        f"after {seconds:.1f} seconds\n",
    )


def _append(log: Path, text: str) -> None:
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        # A full disk is reported when the file is closed, without its name.
        raise OSError(error.errno, error.strerror, str(log)) from error


def _end(jobs: Sequence[Job]) -> None:
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


def _signal_group(job: Job, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # the whole group may be gone
        os.killpg(job.process.pid, number)


def report(jobs: Sequence[Job]) -> int:
    """Print why jobs failed.

    Args:
        jobs: jobs that have ended.

    Returns:
        Exit status: 1 if a job failed, else 0.
    """
    failed = sorted((job for job in jobs if job.status), key=lambda job: job.number)
    for job in failed:
        print(
            f"bspmpnet-run: job {job.number} failed with status {job.status}, "
            f"log {job.log}, which ends:\n{_tail(job.log)}",
            file=sys.stderr,
        )
    if len(jobs) > 1 and failed:
        counts = f"{len(failed)} of {len(jobs)}"
        print(f"bspmpnet-run: {counts} jobs failed", file=sys.stderr)
    return 1 if failed else 0


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join("  " + line for line in text.splitlines()[-TAIL_LINES:])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        Exit status: 0, 1 if a job failed, 2 if the command line is wrong.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    try:
        return report(run(parse(argv)))
    except UsageError as error:
        print(f"{USAGE}\nbspmpnet-run: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        culprit = f"{error.filename}: {error.strerror}"
        print(f"bspmpnet-run: error: {culprit}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
