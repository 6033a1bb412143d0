"""A page that is parsed, for tests of what it consists of."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path


class ParsedPage(HTMLParser):
    """What a page consists of."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        """The attributes of all such tags."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def left_out(self) -> list[str]:
        """What it says is missing."""
        return re.findall(r"<p class=absent>Left out: (.*?)\.</p>", self.source)


def decoded(uri: str) -> tuple[str, bytes]:
    """Split a data URI into its type and content."""
    kind, content = re.fullmatch(r"data:([\w/]+);base64,(.*)", uri).groups()
    return kind, base64.b64decode(content)
