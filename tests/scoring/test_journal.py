"""What was measured is remembered line by line, and only as long as it holds."""

import json

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring.journal import Comparison, Journal, Outcome

ONE, OTHER = Comparison("r", "e", "clean"), Comparison("r", "f", "clean")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores" / "scores.jsonl"


def test_outcomes_are_there_after_a_kill(path):
    journal = Journal(path.parent)
    journal.add({ONE: Outcome({"PESQ": 2.5}, {"STOI": "too short"})})
    journal.add({ONE: Outcome({"SDR": 1.0}), OTHER: Outcome({"PESQ": 3.0})})
    found = Journal(path.parent)
    assert found[ONE] == Outcome({"PESQ": 2.5, "SDR": 1.0}, {"STOI": "too short"})
    assert "STOI" in found[ONE] and "SDR" in found[ONE] and "SDR" not in found[OTHER]
    assert found[Comparison("x", "y", "clean")] == Outcome()


def test_a_torn_line_is_forgotten_and_spoils_no_other(path):
    Journal(path.parent).add(
        {ONE: Outcome({"PESQ": 2.5}), OTHER: Outcome({"PESQ": 3.0})}
    )
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal(path.parent)
    assert journal[OTHER] == Outcome()
    journal.add({OTHER: Outcome({"PESQ": 3.5})})
    found = Journal(path.parent)
    assert found[ONE] == Outcome({"PESQ": 2.5}) and found[OTHER].values["PESQ"] == 3.5


@pytest.mark.parametrize("line", ["[1]", "{}", "nonsense", '{"measures": 1}', "\0\0"])
def test_foreign_lines_are_passed_over(path, line):
    Journal(path.parent).add({ONE: Outcome({"PESQ": 2.5})})
    path.write_text(line + "\n" + path.read_text())
    assert Journal(path.parent).outcomes == {ONE: Outcome({"PESQ": 2.5})}


def test_other_measures_count_for_nothing(path, monkeypatch):
    Journal(path.parent).add({ONE: Outcome({"PESQ": 2.5})})
    monkeypatch.setattr(
        "espnet2_bspmpnet.scoring.journal.measures_version", lambda: "of tomorrow"
    )
    journal = Journal(path.parent)
    assert journal[ONE] == Outcome()
    journal.save()
    assert path.read_text() == ""


def test_the_order_of_work_leaves_no_trace(path):
    journal = Journal(path.parent)
    journal.add({ONE: Outcome({"PESQ": 2.5})})
    journal.add({OTHER: Outcome({"PESQ": 3.0})})
    journal.add({ONE: Outcome({"CBAK": 2.0})})
    journal.save()
    saved = path.read_text()
    path.unlink()
    journal = Journal(path.parent)
    journal.add({OTHER: Outcome({"PESQ": 3.0}), ONE: Outcome({"CBAK": 2.0})})
    journal.add({ONE: Outcome({"PESQ": 2.5})})
    journal.save()
    assert path.read_text() == saved
    assert [json.loads(line)["estimate"] for line in saved.splitlines()] == ["e", "f"]


def test_parts_append_to_files_of_their_own_and_know_each_other(path):
    journals = [Journal(path.parent, (number, 2)) for number in (1, 2)]
    journals[0].add({ONE: Outcome({"PESQ": 2.5})})
    journals[1].add({OTHER: Outcome({"PESQ": 3.0})})
    parts = sorted(path.parent.iterdir())
    assert [part.name for part in parts] == ["scores.1-2.jsonl", "scores.2-2.jsonl"]
    parts[0].write_bytes(parts[0].read_bytes() + b'{"torn')
    again = Journal(path.parent, (1, 3))
    assert again[ONE].values == {"PESQ": 2.5} and again[OTHER].values == {"PESQ": 3.0}
    assert parts[0].read_bytes().endswith(b'{"torn'), "another job may be writing to it"
    again.add({ONE: Outcome({"SDR": 1.0})})
    Journal(path.parent).save()
    assert list(path.parent.iterdir()) == [path]
    assert Journal(path.parent)[ONE].values == {"PESQ": 2.5, "SDR": 1.0}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "scores").touch()
    with pytest.raises(UserError, match="scores.jsonl: part of this path is a file"):
        Journal(tmp_path / "scores").add({ONE: Outcome()})
