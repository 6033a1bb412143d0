"""failures.tsv: a line for each failure, whatever names hold, for the last run alone."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.failures import FailureList, escaped, unescaped
from espnet2_bspmpnet.inference.shards import WHOLE


@pytest.mark.parametrize(
    "text, field",
    [
        ("ü b.wav", "ü b.wav"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        (r"a\tb", r"a\\tb"),
        ("\udcff\x1b[1m", r"\xff\x1b[1m"),
        (r"\xff", r"\\xff"),
    ],
)
def test_a_field_is_readable_and_read_back(text, field):
    assert escaped(text) == field
    assert unescaped(field) == text


def test_the_list_is_of_the_last_run_and_gone_when_nothing_failed(tmp_path):
    failures = FailureList(tmp_path, WHOLE)
    assert failures.read() == {}
    found = {"a\n\t\udcff.wav": "is\nbroken", "b": "too"}
    failures.write(found)
    text = (tmp_path / "failures.tsv").read_text(encoding="utf-8")
    assert text == "file\treason\na\\n\\t\\xff.wav\tis\\nbroken\nb\ttoo\n"
    assert failures.read() == found
    failures.write({})
    assert failures.read() == {} and not list(tmp_path.iterdir())


def test_shares_have_lists_of_their_own_which_a_whole_run_joins(tmp_path):
    whole, first, second = (
        FailureList(tmp_path, shard) for shard in (WHOLE, (1, 2), (2, 2))
    )
    first.write({"a": "x"})
    second.write({"b": "y"})
    assert first.read() == {"a": "x"} and second.read() == {"b": "y"}
    assert whole.read() == {"a": "x", "b": "y"}
    with pytest.raises(UserError, match="failures.1-2.tsv: .*split otherwise"):
        FailureList(tmp_path, (1, 3)).read()
    whole.write({"b": "y"})
    assert [path.name for path in tmp_path.iterdir()] == ["failures.tsv"]
    first.write({})
    assert not list(tmp_path.iterdir())
