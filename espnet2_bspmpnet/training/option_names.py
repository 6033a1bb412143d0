"""Misspelt options of a configuration."""

import difflib
from collections.abc import Collection, Iterable

from espnet2_bspmpnet.errors import UserError


def refuse_unknown(where: str, options: Iterable[str], known: Collection[str]) -> None:
    """Refuse an option whose name is not known, and suggest the nearest one.

    Args:
        where: the options' table, for the message.
        options: names that were given.
        known: names that there are.

    Raises:
        UserError: names the first unknown option.
    """
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            if nearest:
                raise UserError(
                    f"{where} has no option {name!r}; did you mean {nearest[0]!r}?"
                )
            names = ", ".join(sorted(known))
            raise UserError(f"{where} has no option {name!r}; known: {names}")
