"""Scores are read as they were written, compared, and found where they lie."""

import json

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring.scores import (
    Mean,
    Row,
    Scores,
    Summary,
    differences,
    find_scores,
    statistics,
)
from tests.scores import scores


def test_what_was_written_is_read(tmp_path):
    written = scores(PESQ=[1.5, None], SI_SNR=[3.0, -2.0], notes=("resampled",))
    written.write(tmp_path)
    assert Scores.read(tmp_path) == written


def test_scores_of_former_versions_are_read(tmp_path):
    written = scores(reference="pcs", PESQ=[1.5, 2.5])
    written.write(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    summary["protocol"] = {"pcs": "paper"}[summary.pop("reference")]
    summary["references"] = summary.pop("references_hash")
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert Scores.read(tmp_path) == written


def test_reasons_are_read_as_they_were_written(tmp_path):
    reasons = {"PESQ": "too short; 0.1 s: no utterance", "SI_SNR": "silent"}
    rows = [Row("u", {}, reasons), Row("v", {"PESQ": 1.5, "SI_SNR": -2.0}, {}, "cut")]
    summary = Summary("clean", "ours", "x", 2, [], statistics(rows, ["PESQ", "SI_SNR"]))
    Scores(rows, summary).write(tmp_path)
    assert Scores.read(tmp_path).rows == rows


def test_missing_or_damaged_scores_are_named(tmp_path):
    with pytest.raises(UserError, match="summary.json: no such file; score first"):
        Scores.read(tmp_path)
    scores(SI_SNR=[1.0]).write(tmp_path)
    summary = (tmp_path / "summary.json").read_text()
    for text in ('{"metrics": {}', '{"metrics": {}}', "[]"):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(UserError, match="summary.json: damaged or of an older"):
            Scores.read(tmp_path)
    (tmp_path / "summary.json").write_text(summary)
    for text in ("utt\tSI_SNR\nu0\t1\n", "", "utt\tSI_SNR\treason\tnote\nu0\t1\n"):
        (tmp_path / "utterances.tsv").write_text(text)
        with pytest.raises(UserError, match="utterances.tsv: damaged or of an older"):
            Scores.read(tmp_path)


def test_systems_are_compared_over_the_utterances_of_both():
    ours = scores(PESQ=[2.0, 3.0, None], STOI=[9.0] * 3)
    other = scores("noisy", PESQ=[1.0, 2.0, 2.0], SDR=[1.0] * 3)
    assert differences(ours, other) == {"PESQ": Mean(1.0, [1.0, 1.0], 2)}


def test_scores_are_found_below_a_folder_and_named_after_where_they_lie(tmp_path):
    one = scores(PESQ=[2.0])
    for place in (
        "exp/enh_a/enhanced_tt/scoring/reference_clean",
        "exp/enh_a/enhanced_tt/scoring/reference_pcs",
        "exp/enh_b/enhanced_tt/scoring/reference_clean",
    ):
        one.write(tmp_path / place)

    def names(folder: str, name: str = "") -> list[str]:
        return [own for own, _ in find_scores(tmp_path / folder, name)]

    assert names("exp") == 2 * ["enh_a/enhanced_tt"] + ["enh_b/enhanced_tt"]
    assert names("exp", "mine")[-1] == "mine/enh_b/enhanced_tt"
    assert names("exp/enh_a/enhanced_tt/scoring", "tt") == ["tt", "tt"]
    assert names("exp/enh_b/enhanced_tt") == ["enhanced_tt"]
    assert find_scores(tmp_path / "exp")[0][1] == one
    with pytest.raises(UserError, match="summary.json: no such file; score first"):
        find_scores(tmp_path / "nowhere")
