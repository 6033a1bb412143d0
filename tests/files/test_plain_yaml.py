"""YAML from strangers: plain values, or one line that says why not; nothing is run."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.plain_yaml import MOST_TEXT, read_table

ALIASES = "a: &a [1, 1]\n" + "".join(
    f"{now}: &{now} [{', '.join(['*' + before] * 9)}]\n"
    for before, now in zip("abcdefgh", "bcdefghi")
)


def test_a_value_may_be_repeated():
    text = "a: &a [1, 2]\nb: [*a, *a]\nc: {<<: &c {d: 3}, e: *c}\n"
    assert read_table(text, "x.yaml") == {
        "a": [1, 2],
        "b": [[1, 2], [1, 2]],
        "c": {"d": 3, "e": {"d": 3}},
    }


def test_a_table_of_plain_values_is_read():
    text = "a: 1\nb: {c: [1.5, true, null]}\nd: it's text\n"
    assert read_table(text, "x.yaml") == {
        "a": 1,
        "b": {"c": [1.5, True, None]},
        "d": "it's text",
    }


@pytest.mark.parametrize(
    "text, reason",
    [
        (ALIASES, r"no plain YAML: too many aliases such as \*b; write"),
        ("a: &a [1]\nb: [" + "*a, " * 101 + "]", r"too many aliases such as \*a"),
        ("a: &a {b: *a}", r"too many aliases such as \*a"),
        ("a: &a {<<: [*a]}", r"too many aliases such as \*a"),
        ("a: !!python/object/apply:os.mkdir [evil]", "no plain YAML: could not determ"),
        ("a: !!python/name:os.system", "no plain YAML: could not determine"),
        ("a: !!bool maybe", "no plain YAML: "),
        ("a: 2026-99-99", "no plain YAML: month"),
        ("a: " + "9" * 5000, "no plain YAML: "),
        ("a: [", "no plain YAML: "),
        ("a: \0", "no plain YAML: "),
        ("[" * 10_000, "no plain YAML: "),
        ("- a", "not a table of options"),
        ("", "not a table of options"),
        ("a: " + "b" * MOST_TEXT, "characters; .* are read"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path, monkeypatch, text, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"x.yaml: .*{reason}") as refused:
        read_table(text, "x.yaml")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
