"""A table is data; Markdown and text show the same figures."""

import pytest

from espnet2_bspmpnet.scoring.tables import Cell, Section, Table, markdown

TABLE = Table(
    "dataset",
    ["PESQ", "gain"],
    [
        ("noisy", [Cell(1.974), Cell()]),
        ("ours_tt", [Cell(12.5, bold=True), Cell(0.25, (-0.1, 0.6), signed=True)]),
    ],
)


@pytest.mark.parametrize(
    "cell, text",
    [
        (Cell(), ""),
        (Cell(1.976), "1.98"),
        (Cell(24, decimals=0), "24"),
        (Cell(-0.001), "0.00"),
        (Cell(-0.001, signed=True), "+0.00"),
        (Cell(interval=(1.0, 2.0), decimals=1), "1.0 … 2.0"),
        (Cell(0.5, (-0.25, 1.25), signed=True), "+0.50 (-0.25 … +1.25)"),
    ],
)
def test_a_cell_is_written_as_its_figure_and_interval(cell, text):
    assert cell.text == text


def test_markdown_is_espnets():
    assert TABLE.markdown() == (
        "|dataset|PESQ|gain|\n"
        "|---|---|---|\n"
        "|noisy|1.97||\n"
        "|ours_tt|**12.50**|+0.25 (-0.10 … +0.60)|\n"
    )


def test_a_terminal_gets_columns_of_equal_width():
    assert TABLE.plain() == (
        "dataset   PESQ                   gain\n"
        "noisy     1.97\n"
        "ours_tt  12.50  +0.25 (-0.10 … +0.60)\n"
    )


def test_sections_have_a_heading_tables_and_notes_with_blank_lines_between():
    sections = [Section("All", level=2), Section("One", [TABLE, TABLE], ["a.", "b."])]
    table = TABLE.markdown()
    assert markdown(sections) == (
        f"## All\n\n### One\n\n{table}\n{table}\n- a.\n- b.\n"
    )
