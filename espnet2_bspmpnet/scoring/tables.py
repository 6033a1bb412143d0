"""Tables as data; written as the Markdown of RESULTS.md or for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A figure in a table, its 95 % interval, or both; None leaves one out."""

    value: float | None = None
    interval: Sequence[float] | None = None
    decimals: int = 2
    signed: bool = False  # a plus before what is above zero
    bold: bool = False  # the best of its column

    @property
    def text(self) -> str:
        """The figure and its interval: 1.97, +0.25 (+0.17 … +0.34), 1.30 … 1.69."""
        value = "" if self.value is None else self._number(self.value)
        interval = " … ".join(map(self._number, self.interval or ()))
        return f"{value} ({interval})" if value and interval else value or interval

    def _number(self, value: float) -> str:
        # Adding 0 turns a negative zero into a plain one.
        shown = round(value, self.decimals) + 0.0
        return f"{shown:{'+' if self.signed else ''}.{self.decimals}f}"


@dataclass(frozen=True)
class Table:
    """Rows of figures."""

    title: str  # what they are; heads the column of the rows' names
    columns: Sequence[str]  # the others
    rows: Sequence[tuple[str, Sequence[Cell]]]  # name, and a cell for each column

    def markdown(self) -> str:
        """Write it for RESULTS.md, as ESPnet does."""
        lines = [[self.title, *self.columns], ["---"] * (1 + len(self.columns))]
        for name, cells in self.rows:
            texts = [f"**{cell.text}**" if cell.bold else cell.text for cell in cells]
            lines.append([name, *texts])
        return "".join(f"|{'|'.join(line)}|\n" for line in lines)

    def plain(self) -> str:
        """Write it for a terminal, in columns of equal width."""
        lines = [[self.title, *self.columns]]
        lines += [[name, *(cell.text for cell in cells)] for name, cells in self.rows]
        first, *widths = (max(map(len, column)) for column in zip(*lines, strict=True))
        return "".join(
            "  ".join([name.ljust(first), *map(str.rjust, texts, widths)]).rstrip()
            + "\n"
            for name, *texts in lines
        )


@dataclass(frozen=True)
class Section:
    """A part of RESULTS.md and of the page."""

    heading: str
    tables: Sequence[Table] = ()  # the first is the main one
    notes: Sequence[str] = ()  # sentences below them
    level: int = 3  # of the heading

    def markdown(self) -> str:
        """Write it for RESULTS.md."""
        heading = f"{'#' * self.level} {self.heading}\n"
        notes = "".join(f"- {note}\n" for note in self.notes)
        parts = [heading, *(table.markdown() for table in self.tables), notes]
        return "\n".join(part for part in parts if part)

    def plain(self) -> str:
        """Write its heading and tables for a terminal."""
        return "\n".join([f"{self.heading}\n", *(one.plain() for one in self.tables)])


def markdown(sections: Sequence[Section]) -> str:
    """Write sections for RESULTS.md."""
    return "\n".join(section.markdown() for section in sections)
