"""What the commands' options are read with; see `cli.py`."""

import argparse
import re
from collections.abc import Callable

from espnet2_bspmpnet.files.parallel import available_cores


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def part_of_jobs(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    part = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part[0] <= part[1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no part; write 1/4 ... 4/4")
    return part


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.replace(",", " ").split()))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of numbers; write for example '0.9 1.1'"
        ) from error


def words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def named(text: str) -> tuple[str, str]:
    """Split NAME=PATH; without a name the first part is empty."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and "/" not in name else ("", text)


def add_nj(argument: Callable) -> None:
    """Let a command have worker processes."""
    argument("--nj", type=positive, default=available_cores(), help="worker processes")


def add_part(argument: Callable) -> None:
    """Let a command be one of several jobs that share its work."""
    argument(
        "--part",
        type=part_of_jobs,
        metavar="K/N",
        help="do a share of the work alone, as one of N jobs at the same time; a "
        "last call without --part finds what they did and finishes",
    )


def arguments(options: argparse.Namespace) -> dict:
    """Return what a command's function is to be called with."""
    values = vars(options).copy()
    del values["command"], values["function"]
    return values
