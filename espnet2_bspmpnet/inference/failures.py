"""failures.tsv: the recordings that a run could not enhance, and why.

A name or reason is one field of one line whatever it holds: tabs, line breaks, other
control characters and bytes that are not UTF-8 are written as \\t, \\n or \\xNN.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import remove, write_text
from espnet2_bspmpnet.inference.shards import (
    WHOLE,
    Shard,
    file_of,
    files_of_other_splits,
)

FAILURES = "failures.tsv"
_HEADER = "file\treason\n"
_SPECIAL = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}
_ORDINARY = {escape: character for character, escape in _SPECIAL.items()}
_SURROGATE = 0xDC00  # Python's place for a byte that is not UTF-8


def escaped(text: str) -> str:
    """Write text as one field of one line."""
    return re.sub(r"[\\\x00-\x1f\x7f\udc80-\udcff]", _escape, text)


def unescaped(field: str) -> str:
    """Read back what `escaped` wrote."""
    return re.sub(r"\\(?:x[0-9a-f]{2}|.)", _unescape, field)


def _escape(found: re.Match) -> str:
    return _SPECIAL.get(found[0]) or f"\\x{ord(found[0]) & 0xFF:02x}"


def _unescape(found: re.Match) -> str:
    if found[0] in _ORDINARY:
        return _ORDINARY[found[0]]
    byte = int(found[0][2:], 16)
    return chr(byte if byte < 0x80 else _SURROGATE + byte)


class FailureList:
    """The list of one share of the work.

    Args:
        folder: where it is.
        shard: which share.
    """

    def __init__(self, folder: Path, shard: Shard):
        self.folder, self.shard = folder, shard
        self.path = file_of(folder, FAILURES, shard)

    def read(self) -> dict[str, str]:
        """Give what failed in the last run: file -> reason.

        A run that is not split takes the failures of all shares.

        Raises:
            UserError: the last run was split otherwise.
        """
        others = files_of_other_splits(self.folder, FAILURES, self.shard)
        if others and self.shard != WHOLE:
            raise UserError(
                f"{others[0]}: is of a run that was split otherwise; give --retry the"
                " same --shard, or none (--shard 1/1)"
            )
        failures = {}
        for path in [self.path, *others]:
            if path.exists():
                lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
                failures |= dict(map(unescaped, line.split("\t")) for line in lines)
        return failures

    def write(self, failures: Mapping[str, str]) -> None:
        """Replace the list, and those of other splits; none is there if nothing failed."""
        if failures:
            lines = (
                f"{escaped(file)}\t{escaped(reason)}\n"
                for file, reason in failures.items()
            )
            write_text(self.path, _HEADER + "".join(lines))
        else:
            remove(self.path)
        for path in files_of_other_splits(self.folder, FAILURES, self.shard):
            remove(path)
