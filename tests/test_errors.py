"""Errors for the person at the keyboard: short lists, one line each."""

import pytest

from espnet2_bspmpnet.errors import (
    MachineError,
    UserError,
    first_line,
    some_of,
    summary,
)


def test_a_summary_counts_and_shows_the_first_ten():
    error = summary([f"u{n}: silent" for n in range(12)], 12, "scoring")
    assert isinstance(error, UserError)
    lines = str(error).splitlines()
    assert lines[0] == "scoring: 12 of 12 failed:"
    assert lines[1] == "  u0: silent" and lines[-1] == "  and 2 more"
    assert len(lines) == 12


def test_a_summary_says_that_the_others_are_done():
    assert "1 of 5 failed, the others are done:" in str(summary(["a"], 5, "enhancing"))


def test_names_are_sorted_and_the_rest_is_counted():
    assert some_of({"c", "a", "b"}) == "a, b, c"
    assert some_of("gfedcba") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    "error, line",
    [(ValueError("one\ntwo"), "one"), (EOFError(), "EOFError")],
)
def test_a_reason_is_one_line(error, line):
    assert first_line(error) == line


def test_what_the_machine_lacks_is_reported_like_bad_input():
    assert issubclass(MachineError, UserError)
