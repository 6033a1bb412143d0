"""A page of figures, players and tables that needs no other file, block by block."""

import base64
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from espnet2_bspmpnet.files.atomic import replacing, write_text
from espnet2_bspmpnet.report.figures import png


@dataclass(frozen=True)
class Picture:
    """A figure of a page, with a player where it has a sound."""

    name: str  # of its PNG file, without suffix
    content: bytes  # the PNG file's
    alt: str  # what it shows, for those who cannot see it
    caption: str = ""
    sound: bytes = b""  # FLAC file


def picture(name: str, figure: Figure, alt: str, **more) -> Picture:
    """Encode a figure for a page; its name may have any characters."""
    name = re.sub(r"\W+", "_", name.lower()).strip("_")
    return Picture(name, png(figure), alt, **more)


class Page:
    """A page as it is put together; its blocks are the macros of blocks.html."""

    def __init__(self):
        self._templates = Environment(
            loader=PackageLoader("espnet2_bspmpnet", "report"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._templates.filters["data_uri"] = _data_uri
        self._blocks = self._templates.get_template("blocks.html").module
        self._headings: dict[str, str] = {}  # anchor -> text
        self._parts: list[Markup] = []
        self._pictures: list[Picture] = []

    def heading(self, text: str) -> None:
        """Begin a section that the page's head links to."""
        anchor = f"section{len(self._headings) + 1}"
        self._headings[anchor] = text
        self.add("heading", text, anchor)

    def figures(self, pictures: Iterable[Picture], kind: str = "") -> None:
        """Add figures side by side; more of them in a row where kind is "small"."""
        drawn = list(pictures)
        self._pictures += drawn
        self.add("figures", drawn, kind)

    def add(self, block: str, *content) -> None:
        """Add what a macro of blocks.html makes of this content."""
        self._parts.append(getattr(self._blocks, block)(*content))

    def leave_out(self, reason: str) -> None:
        """Say what is left out, and why."""
        self.add("text", f"Left out: {reason}.", "absent")

    def write(self, folder: Path, title: str, subtitle: str, command: str) -> Path:
        """Write index.html, which names the command, and its figures beside it."""
        for picture in self._pictures:
            with replacing(folder / f"{picture.name}.png") as temporary:
                temporary.write_bytes(picture.content)
        text = self._templates.get_template("page.html").render(
            title=title,
            subtitle=subtitle,
            command=command,
            headings=self._headings,
            parts=self._parts,
            date=time.strftime("%Y-%m-%d %H:%M"),
        )
        write_text(folder / "index.html", text)
        return folder / "index.html"


def _data_uri(content: bytes, kind: str) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}")
