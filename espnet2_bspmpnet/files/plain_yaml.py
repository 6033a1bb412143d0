"""YAML that anybody may have written: a table of plain values, or an error."""

import yaml

from espnet2_bspmpnet.errors import UserError, first_line

# Bytes; ESPnet's configuration of an enhancement model takes 5 KB.
MOST_TEXT = 256 << 10
MOST_ALIASES = 100


def read_table(text: str, source: object) -> dict:
    """Read a table of plain values; nothing that it says is run.

    Args:
        text: YAML.
        source: its file, for errors.

    Raises:
        UserError: not YAML, not a table, too long, or with tags of classes or many
            aliases.
    """
    if len(text) > MOST_TEXT:
        raise UserError(f"{source}: {len(text)} characters; {MOST_TEXT} are read")
    try:
        table = yaml.load(text, Loader=_PlainLoader)
    except Exception as error:  # of any kind: wrong values of plain tags, deep nesting
        reason = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{source}: no plain YAML: {reason}") from error
    if not isinstance(table, dict):
        raise UserError(f"{source}: not a table of options")
    return table


class _PlainLoader(yaml.SafeLoader):
    """Refuses aliases of aliases, a few of which stand for more than memory holds."""

    def __init__(self, text: str):
        super().__init__(text)
        self.aliases = 0
        self.nested: set[str] = set()  # anchors of what is not read yet, or has aliases

    def compose_node(self, parent, index):
        anchor = self.peek_event().anchor
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if anchor in self.nested or self.aliases > MOST_ALIASES:
                raise yaml.composer.ComposerError(
                    problem=f"too many aliases such as *{anchor}; write the values out"
                )
            return super().compose_node(parent, index)
        before = self.aliases
        self.nested.add(anchor)
        node = super().compose_node(parent, index)
        if self.aliases == before:
            self.nested.discard(anchor)
        return node
