"""A page is put together of blocks, without any experiment, and needs no other file."""

import pytest

from espnet2_bspmpnet.report.figures import training_curves
from espnet2_bspmpnet.report.page import Page, Picture, picture
from espnet2_bspmpnet.scoring.tables import Cell, Section, Table
from tests.pages import ParsedPage, decoded

BEFORE = Picture("before", b"PNG 1", "Spectrogram of the noisy speech", "10 s", b"FLAC")
AFTER = Picture("after", b"PNG 2", "Spectrogram of the enhanced speech", sound=b"FLAC")


@pytest.fixture
def written(tmp_path):
    """A function that writes a page and parses it."""

    def write(page: Page, title: str = "Speech", subtitle: str = "") -> ParsedPage:
        return ParsedPage(page.write(tmp_path / "page", title, subtitle, "bspmpnet x"))

    return write


def test_players_stand_below_their_spectrograms(written, tmp_path):
    page = Page()
    page.heading("To hear")
    page.figures([BEFORE, AFTER], "small")
    parsed = written(page)
    images, players = parsed.all("img"), parsed.all("audio")
    assert [decoded(one["src"]) for one in images] == [
        ("image/png", b"PNG 1"),
        ("image/png", b"PNG 2"),
    ]
    assert [decoded(one["src"]) for one in players] == 2 * [("audio/flac", b"FLAC")]
    assert players[1]["aria-label"] == "Listen: Spectrogram of the enhanced speech"
    assert parsed.source.count("<figcaption>") == 1
    assert (tmp_path / "page/before.png").read_bytes() == b"PNG 1"


def test_its_head_links_to_its_sections(written):
    page = Page()
    for text in ("First", "Second"):
        page.heading(text)
        page.add("text", f"About the {text.lower()}.")
    parsed = written(page, "Two sections", "of text")
    assert [one["href"] for one in parsed.all("a")] == ["#section1", "#section2"]
    assert '<h2 id="section2">Second</h2>\n<p>About the second.</p>' in parsed.source
    assert "<h1>Two sections</h1>\n<p class=faint>of text</p>" in parsed.source
    assert "<p class=faint>" not in written(page).source.split("<main>")[0]


def test_a_section_shows_its_first_table_and_folds_the_others_away(written):
    rows = [
        ("a", [Cell(1.5, bold=True), Cell()]),
        ("b", [Cell(-1), Cell(interval=(0, 1))]),
    ]
    tables = [
        Table(title, ["PESQ", "DNSMOS_SIG"], rows) for title in ("means", "more on B")
    ]
    page = Page()
    page.add("section", Section("Reference", tables, ["One note."]))
    parsed = written(page)
    assert len(parsed.all("table")) == 2 and len(parsed.all("details")) == 1
    assert "<details><summary>More on B</summary>" in parsed.source
    row = "<tr><th scope=row>a</th><td><strong>1.50</strong></td><td></td></tr>"
    assert parsed.source.count(row) == 2
    assert "<td>-1.00</td><td>0.00 … 1.00</td>" in parsed.source
    assert "<th scope=col>DNSMOS_<wbr>SIG</th>" in parsed.source
    assert "<li>One note.</li>" in parsed.source


def test_no_text_can_break_it(written):
    bad = "<b>&\"'</p>"
    page = Page()
    page.heading(bad)
    page.leave_out(bad)
    page.add("tiles", {bad: bad})
    page.add("section", Section(bad, [Table(bad, [bad], [(bad, [Cell(1)])])], [bad]))
    page.figures([Picture("name", b"PNG", bad, bad, b"FLAC")])
    parsed = written(page, bad, bad)
    assert len(parsed.all("b")) == 1  # the tile's
    assert parsed.all("img")[0]["alt"] == bad


def test_a_picture_has_a_name_that_every_disk_takes():
    figure = training_curves("Loss", {"train": {1: 1.0}})
    drawn = picture("My set: SI-SNR/gain?", figure, "A figure", caption="below")
    assert drawn.name == "my_set_si_snr_gain" and drawn.caption == "below"
    assert drawn.content.startswith(b"\x89PNG")
