"""A page to look at and listen to: recordings before and after enhancing."""

from collections.abc import Iterable
from pathlib import Path

from espnet2_bspmpnet.data.recordings import open_recording
from espnet2_bspmpnet.report.examples import LONGEST, Excerpt, spectrograms
from espnet2_bspmpnet.report.page import Page

MOST_PAIRS = 10


def write_before_after(
    folder: str | Path, pairs: Iterable[tuple[str, str, str]], command: str
) -> Path:
    """Write a page with spectrograms and players of the first recordings.

    Of several channels the first one is shown, of long recordings the beginning.

    Args:
        folder: gets index.html, which needs no other file and is returned, and pictures.
        pairs: name, noisy file and enhanced file of each.
        command: that enhanced them.

    Raises:
        UserError: a file is gone or unreadable, or the folder cannot be written to.
    """
    page = Page()
    for number, (name, noisy, enhanced) in zip(range(1, MOST_PAIRS + 1), pairs):
        recordings = {"noisy": _beginning(noisy), "enhanced": _beginning(enhanced)}
        page.heading(name)
        one = recordings["enhanced"]
        if one.whole > LONGEST:
            page.add("text", f"The first {LONGEST:g} of {one.whole:.1f} s.", "faint")
        page.figures(spectrograms(recordings, name, f"{number}"), "small")
    return page.write(Path(folder), "Before and after", "", command)


def _beginning(path: str) -> Excerpt:
    with open_recording(path) as recording:
        shown = min(recording.frames, round(LONGEST * recording.rate))
        wave = recording.read(0, shown)[0]
        return Excerpt(wave, recording.rate, recording.frames / recording.rate)
