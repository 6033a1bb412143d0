"""What the commands that run jobs share: words, what is shown, exit status.

`bspmpnet-run` (local.py) and `bspmpnet-slurm` (slurm.py) are called like Kaldi's run.pl.
"""

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from espnet2_bspmpnet.errors import UserError

TAIL_LINES = 15
TAIL_BYTES = 65536
CLEAR_REST = "\x1b[K"  # a terminal's code: clear from the cursor to the line's end


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
        max_jobs_run: jobs at a time; None leaves it to what runs them.
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
    """One job: its log and how it ended.

    Args:
        number: its place in the array.
        log: its log file.
        status: exit status, 128 + signal if killed; None while it runs.
        reason: why it ended, where its status does not tell.
        echoed: how much of the log was looked at, in bytes.
    """

    number: int
    log: Path
    status: int | None = None
    reason: str = ""
    echoed: int = 0


def at_least(lowest: int) -> Callable[[str], int]:
    """Return a converter of an option's value that takes whole numbers from `lowest` on."""

    def convert(value: str) -> int:
        if not value.isdecimal() or int(value) < lowest:
            raise ValueError(f"a whole number of at least {lowest} is needed")
        return int(value)

    return convert


CONVERTERS: Mapping[str, Callable] = {
    "max_jobs_run": at_least(1),
    "num_threads": at_least(1),
    "gpu": at_least(0),
    "echo": re.compile,
}
Kind = TypeVar("Kind", bound=Options)


def parse(
    arguments: Sequence[str], kind: type[Kind], converters: Mapping[str, Callable]
) -> Kind:
    """Read the command line; options and JOB=1:N may come in any order.

    Args:
        arguments: without the program's name.
        kind: what to return; an option that it has no field for has no effect.
        converters: of each option that is known, from text to its value.

    Raises:
        UsageError: naming the word that cannot be understood.
    """
    words = list(arguments)
    settings: dict = {}
    while words:
        array = re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", words[0])
        if words[0].startswith("-"):
            name, value = _take_option(words, converters)
            settings[name] = value
        elif array and "array" not in settings:
            first, last = int(array[2]), int(array[3] or array[2])
            if last < first:
                raise UsageError(f"{words[0]}: the last number is below the first")
            settings |= {"array": array[1], "numbers": range(first, last + 1)}
            words.pop(0)
        else:
            break
    if len(words) < 2:
        raise UsageError("a log file and a command are needed")
    known = {field.name for field in fields(kind)}
    settings = {name: value for name, value in settings.items() if name in known}
    options = kind(log=words[0], command=words[1:], **settings)
    if len(options.numbers) > 1 and options.array not in options.log:
        raise UsageError(f"{options.log}: the log's name must contain {options.array}")
    return options


def _take_option(
    words: list[str], converters: Mapping[str, Callable]
) -> tuple[str, object]:
    option, equals, value = words.pop(0).partition("=")
    name = option.removeprefix("--").replace("-", "_")
    if not option.startswith("--") or name not in converters:
        known = ", ".join(f"--{known}" for known in converters)
        raise UsageError(f"unknown option {option}; known are {known}")
    if not equals:
        if not words:
            raise UsageError(f"{option} needs a value")
        value = words.pop(0)
    try:
        return name, converters[name](value)
    except (ValueError, re.error) as error:
        raise UsageError(f"{option} {value}: {error}") from error


def echo_lines(job: Job, echo: re.Pattern) -> None:
    """Print the lines that have come to a job's log and match."""
    with job.log.open("rb") as log:
        log.seek(job.echoed)
        new = log.read()
    if job.status is None:
        # Only whole lines; a progress bar's end with a carriage return.
        new = new[: max(new.rfind(b"\n"), new.rfind(b"\r")) + 1]
    job.echoed += len(new)
    terminal = sys.stdout.isatty()
    for line in re.split(r"[\r\n]+", new.decode("utf-8", errors="replace")):
        found = echo.search(line) if line else None
        if not found:
            continue
        shown = found[1] if echo.groups else line
        if terminal and found.groupdict().get("progress"):
            # The next line takes its place: it must not be broken, nor reach further.
            width = shutil.get_terminal_size().columns - 1
            print(shown[:width], end=CLEAR_REST + "\r", flush=True)
        else:
            print(shown, end=(CLEAR_REST if terminal else "") + "\n", flush=True)
    if terminal and job.status is not None:
        print(end=CLEAR_REST, flush=True)


def report(program: str, jobs: Sequence[Job]) -> int:
    """Print why jobs failed.

    Args:
        program: whose message it is.
        jobs: jobs that have ended.

    Returns:
        Exit status: 1 if a job failed, else 0.
    """
    failed = sorted((job for job in jobs if job.status), key=lambda job: job.number)
    for job in failed:
        why = f": {job.reason}" if job.reason else f" with status {job.status}"
        print(
            f"{program}: job {job.number} failed{why}, "
            f"log {job.log}, which ends:\n{_tail(job.log)}",
            file=sys.stderr,
        )
    if len(jobs) > 1 and failed:
        counts = f"{len(failed)} of {len(jobs)}"
        print(f"{program}: {counts} jobs failed", file=sys.stderr)
    return 1 if failed else 0


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join("  " + line for line in text.splitlines()[-TAIL_LINES:])


def run_command_line(
    program: str,
    usage: str,
    run: Callable[[Sequence[str]], Sequence[Job]],
    words: Sequence[str] | None,
) -> int:
    """Run jobs as a command line asks, and report.

    Args:
        program: the command's name.
        usage: what its --help prints.
        run: reads the arguments, and runs the jobs to their end.
        words: arguments without the program's name; None takes the process's own.

    Returns:
        Exit status: 0, 1 if a job failed, 2 if the command line is wrong.
    """
    words = sys.argv[1:] if words is None else words
    if words and words[0] in ("-h", "--help"):
        print(usage, end="")
        return 0
    try:
        return report(program, run(words))
    except UsageError as error:
        print(f"{usage}\n{program}: error: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        culprit = f"{error.filename}: {error.strerror}"
        print(f"{program}: error: {culprit}", file=sys.stderr)
        return 1
