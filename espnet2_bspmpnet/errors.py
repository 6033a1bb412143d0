"""The exceptions that are meant for the person at the keyboard."""

from collections.abc import Iterable, Sequence


class UserError(Exception):
    """Bad input; the message names the file and the fix."""


class MachineError(UserError):
    """No input's fault, such as a full disk: with other input it would be the same."""


def summary(errors: Sequence[object], total: int, description: str) -> UserError:
    """Sum up the errors of some inputs, of which the others were processed.

    Args:
        errors: one for each bad input; the first ten are shown.
        total: number of all inputs.
        description: what was done to them.
    """
    count = f"{len(errors)} of {total} failed"
    if len(errors) < total:
        count += ", the others are done"
    return listing(f"{description}: {count}", errors)


def listing(heading: str, problems: Sequence[object], shown: int = 10) -> UserError:
    """Put the first few problems below a heading, a line each, and count the others."""
    lines = [f"{heading}:", *map(str, problems[:shown])]
    if len(problems) > shown:
        lines.append(f"and {len(problems) - shown} more")
    return UserError("\n  ".join(lines))


def some_of(names: Iterable[str], shown: int = 5) -> str:
    """Give the first few names, sorted, and the number of the others."""
    names = sorted(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where that is empty."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
