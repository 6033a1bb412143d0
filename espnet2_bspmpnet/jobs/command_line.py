"""The command line of `bspmpnet-run` and `bspmpnet-slurm`, which is Kaldi's run.pl's.

    COMMAND [options] [JOB=1:N] LOG COMMAND [ARGUMENT ...]

It is read by hand: to argparse `--sbatch_args --exclusive` lacks a value.
"""

import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.jobs.logs import Job, report


class UsageError(Exception):
    """The command line makes no sense; the message says which word."""


@dataclass
class Options:
    """What the command line asked for; the log and the command may contain `array`."""

    log: str
    command: list[str]  # with its arguments
    array: str | None = (
        None  # the word for a job's number, e.g. "JOB"; None for one job
    )
    numbers: range = range(1, 2)
    max_jobs_run: int | None = None  # at a time; None leaves it to what runs them
    num_threads: int | None = None  # of each job; None leaves the environment alone
    gpu: int = 0  # GPUs of each job
    echo: re.Pattern | None = None  # of the lines to print

    def fill(self, text: str, number: int) -> str:
        """Put a job's number in place of the array's name."""
        return text if self.array is None else text.replace(self.array, str(number))


def at_least(lowest: int) -> Callable[[str], int]:
    """Return a converter of an option's text to a whole number of at least `lowest`."""

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
        converters: from text, for each option that is known besides `CONVERTERS`.

    Raises:
        UsageError: naming the word that cannot be understood.
    """
    words, converters = list(arguments), {**CONVERTERS, **converters}
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


def catch_signals() -> list[int]:
    """Return a list that gets the signals which ask this program to stop."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: received.append(number))
    return received


def run_command_line(
    program: str,
    usage: str,
    run: Callable[[Sequence[str]], Sequence[Job]],
    arguments: Sequence[str] | None,
) -> int:
    """Report what `run` returns for the arguments, by default the process's own.

    Returns:
        Exit status: 0, 1 if a job failed, 2 if the command line is wrong.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage, end="")
        return 0
    try:
        return report(program, run(arguments))
    except UsageError as error:
        print(f"{usage}\n{program}: error: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    print(f"{program}: error: {message}", file=sys.stderr)
    return 1
