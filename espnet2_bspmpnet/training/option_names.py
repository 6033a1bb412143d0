"""Misspelt options of a configuration."""

import difflib
from collections.abc import Collection, Iterable

from espnet2_bspmpnet.errors import UserError


def refuse_unknown(where: str, options: Iterable[str], known: Collection[str]) -> None:
    """Check names of options, which were given at the place `where`.

    Raises:
        UserError: names the first unknown option, and the nearest one or all.
    """
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            names = ", ".join(sorted(known))
            fix = f"did you mean {nearest[0]!r}?" if nearest else f"known: {names}"
            raise UserError(f"{where} has no option {name!r}; {fix}")
