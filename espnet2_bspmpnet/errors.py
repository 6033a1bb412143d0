"""The exceptions that are meant for the person at the keyboard."""

from collections.abc import Sequence

SHOWN_ERRORS = 10


class UserError(Exception):
    """Bad input; the message names the culprit and the mend."""


class MachineError(UserError):
    """No input's fault, such as a full disk: with other input it would be the same."""


def summary(errors: Sequence[UserError], total: int, description: str) -> UserError:
    """Sum up the errors of some inputs, after which the others were gone on with.

    Args:
        errors: one for each bad input; up to ten are told in full.
        total: the inputs' number.
        description: what was done to them.
    """
    lines = [str(error) for error in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"and {len(errors) - SHOWN_ERRORS} more")
    count = f"{len(errors)} of {total} failed"
    if len(errors) < total:
        count += ", the others are done"
    return UserError("\n  ".join([f"{description}: {count}:", *lines]))


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its name where it says nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
