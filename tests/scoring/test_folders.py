"""Folders of files are scored row by row, and what is wrong with them is named."""

import csv
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures.metrics import METRICS
from espnet2_bspmpnet.measures.pcs_boost import boost
from espnet2_bspmpnet.scoring import folders as scoring
from espnet2_bspmpnet.scoring.folders import score
from espnet2_bspmpnet.scoring.pairs import named_audio
from espnet2_bspmpnet.scoring.scores import Scores, Summary
from tests.clips import CLEAN, MATLAB_TOLERANCES, NOISY, matlab_scores
from tests.processes import wait_until
from tests.speech import RATE, noisy, speechlike


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["utt"]: row for row in csv.DictReader(file, delimiter="\t")}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folders(tmp_path, monkeypatch) -> Path:
    """Make three short references, their noisy versions and less noisy ones."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        clean = speechlike(seed=seed)
        for part, wave in (
            ("clean", clean),
            ("noisy", noisy(clean, 10.0, seed)),
            ("better", noisy(clean, 20.0, seed)),
        ):
            write(tmp_path / part / f"u{seed}.wav", wave)
    return tmp_path


def write(path: Path, wave: np.ndarray, rate: int = RATE, subtype="PCM_16") -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, wave, rate, subtype)


def score_noisy(metrics=("SI_SNR",), **options) -> Summary:
    (scores,) = score("clean", "noisy", "scores", metrics=metrics, **options)
    return scores.summary


@pytest.fixture
def measured(monkeypatch) -> list[tuple[str, ...]]:
    """Give a list that gets the metrics of each pair that is measured."""
    calls = []

    def watched(reference, estimate, rate, metrics):
        calls.append(tuple(metrics))
        return score_pair(reference, estimate, rate, metrics)

    score_pair = scoring.score_pair
    monkeypatch.setattr(scoring, "score_pair", watched)
    return calls


def test_pesq_and_stoi_agree_with_the_matlab_reference(tmp_path):
    score(CLEAN, NOISY, tmp_path, metrics=("PESQ", "STOI"))
    ours, theirs = rows(tmp_path / "utterances.tsv"), matlab_scores()
    assert ours.keys() == theirs.keys()
    for utterance, expected in theirs.items():
        for name in ("PESQ", "STOI"):
            assert float(ours[utterance][name]) == pytest.approx(
                expected[name], abs=MATLAB_TOLERANCES[name]
            )


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_sample_format_does_not_matter(folders, subtype):
    for path in (folders / "noisy").iterdir():
        wave, rate = soundfile.read(path)
        write(folders / "other" / path.name, wave, rate, subtype)
    expected, found = (
        score("clean", part, "scores", metrics=("PESQ", "SI_SNR"))[0].summary.metrics
        for part in ("noisy", "other")
    )
    assert found == expected


def test_scores_are_written_row_by_row_with_a_summary(folders):
    write(folders / "noisy" / "u1.wav", np.zeros(2 * RATE))
    summary = score_noisy(("STOI", "SI_SNR"))
    table = rows(folders / "scores" / "utterances.tsv")
    assert list(table) == ["u0", "u1", "u2"]
    assert table["u1"] == {
        "utt": "u1",
        "STOI": "",
        "SI_SNR": "",
        "reason": "STOI: the estimate is silent; SI_SNR: the estimate is silent",
        "note": "",
    }
    assert table["u0"]["reason"] == ""
    values = [float(table[name]["SI_SNR"]) for name in ("u0", "u2")]
    statistics = summary.metrics["SI_SNR"]
    assert statistics.mean == pytest.approx(np.mean(values))
    assert statistics.std == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert min(values) <= statistics.interval[0] < statistics.interval[1] <= max(values)
    assert (statistics.count, statistics.failures) == (2, 1)
    assert statistics.reasons == {"the estimate is silent": 1}
    assert summary.reference == "clean"
    read = Scores.read(folders / "scores")
    assert read.summary == summary
    assert [row.reasons for row in read.rows][1] == {
        "STOI": "the estimate is silent",
        "SI_SNR": "the estimate is silent",
    }
    assert (
        "STOI, SI_SNR: undefined for 1 of 3"
        in (folders / "scores/RESULTS.md").read_text()
    )


def test_all_metrics_are_measured_where_none_are_named(folders):
    (scores,) = score("clean", "noisy", "scores")
    assert list(scores.summary.metrics) == list(METRICS)
    assert list(rows(folders / "scores/utterances.tsv")["u0"])[1:-2] == list(METRICS)


def test_one_process_and_two_give_the_same_files(folders):
    for nj in (1, 2):
        score("clean", "noisy", f"nj{nj}", metrics=("PESQ", "STOI", "COVL"), nj=nj)
    assert contents(folders / "nj1") == contents(folders / "nj2")


def test_parts_and_a_last_call_give_what_one_call_gives(folders, measured):
    options = {"noisy": "noisy", "reference": "both", "metrics": ("PESQ", "SI_SNR")}
    score("clean", {"ours": "better"}, "whole", **options)
    count = len(measured)
    for part in ((2, 2), (1, 2), (4, 4)):
        assert score("clean", {"ours": "better"}, "parts", part=part, **options) == []
    assert len(measured) == 2 * count
    assert not list(folders.glob("parts/**/summary.json"))
    score("clean", {"ours": "better"}, "parts", **options)
    assert len(measured) == 2 * count, "the last call measured again"
    assert contents(folders / "parts") == contents(folders / "whole")


def test_a_part_looks_at_its_own_files_alone(folders, measured):
    (folders / "noisy" / "u1.wav").write_text("no audio")
    score("clean", "noisy", "scores", metrics=("SI_SNR",), part=(1, 2))
    assert len(measured) == 2
    with pytest.raises(UserError, match="noisy/u1.wav: cannot be read as audio"):
        score("clean", "noisy", "scores", metrics=("SI_SNR",), part=(2, 2))
    with pytest.raises(UserError, match="noisy/u1.wav: cannot be read as audio"):
        score_noisy()


def test_a_list_serves_as_well_as_a_folder(folders):
    files = sorted((folders / "clean").iterdir())
    scp = folders / "wav.scp"
    scp.write_text("".join(f"{path.stem} {path}\n" for path in files))
    assert named_audio(scp) == {
        name: str(path) for name, path in named_audio(folders / "clean").items()
    }


def test_several_systems_have_a_folder_each_and_are_compared(folders):
    found = score(
        "clean",
        {"ours": "better", "copy": "clean"},
        "scores",
        noisy="noisy",
        metrics=("PESQ", "STOI"),
    )
    assert [scores.summary.system for scores in found] == ["noisy", "ours", "copy"]
    for scores in found:
        assert Scores.read(folders / "scores" / scores.summary.system) == scores
    before, ours, copy = (scores.summary for scores in found)
    assert before.differences == {}
    assert list(ours.differences) == ["noisy"]
    assert list(copy.differences) == ["noisy", "ours"]
    improved = ours.differences["noisy"]["PESQ"]
    expected = ours.metrics["PESQ"].mean - before.metrics["PESQ"].mean
    assert improved.mean == pytest.approx(expected, abs=1e-5)
    assert 0 < improved.interval[0] <= improved.mean <= improved.interval[1]
    assert improved.count == 3


def test_the_reference_pcs_is_pcs_of_the_clean_speech(folders):
    for path in (folders / "clean").iterdir():
        wave, rate = soundfile.read(path)
        write(folders / "boosted" / path.name, boost(wave, rate), rate, "DOUBLE")
    clean, pcs = (
        score("clean", "boosted", name, metrics=("SI_SNR",), reference=name)[0].summary
        for name in ("clean", "pcs")
    )
    assert clean.metrics["SI_SNR"].mean < 20
    same = {"no difference from the reference to measure": 3}
    assert pcs.metrics["SI_SNR"].reasons == same
    assert (clean.reference, pcs.reference) == ("clean", "pcs")


def test_both_references_have_a_folder_each_and_noisy_speech_is_scored_by_one(folders):
    found = score(
        "clean",
        {"ours": "better"},
        "scores",
        noisy="noisy",
        reference="both",
        metrics=("STOI",),
    )
    assert [(s.summary.reference, s.summary.system) for s in found] == [
        ("clean", "noisy"),
        ("clean", "ours"),
        ("pcs", "ours"),
    ]
    for place in ("clean/noisy", "clean/ours", "pcs/ours"):
        assert (folders / f"scores/reference_{place}/summary.json").is_file()
    assert list(found[2].summary.differences) == ["noisy"]
    (noisy_row,) = score(
        "clean", {}, "alone", noisy="noisy", reference="pcs", metrics=("STOI",)
    )
    assert noisy_row.summary.metrics == found[0].summary.metrics


def test_folders_of_former_versions_are_renamed_and_not_left_beside_new_ones(folders):
    options = {"reference": "both", "metrics": ("STOI",)}
    found = score("clean", {"ours": "better"}, "scores", **options)
    for new, old in (("clean", "standard"), ("pcs", "paper")):
        (folders / f"scores/reference_{new}").rename(folders / "scores" / old)
    assert score("clean", {"ours": "better"}, "scores", **options) == found
    assert sorted(
        path.parts[-3] for path in folders.glob("scores/*/ours/summary.json")
    ) == [
        "reference_clean",
        "reference_pcs",
    ]


def test_pcs_is_applied_to_systems_whose_speech_is_natural(folders):
    options = {"reference": "pcs", "metrics": ("SI_SNR",)}
    boosted, natural = (
        score("clean", {"ours": "better"}, "scores", natural=names, **options)[0]
        for names in ((), ("ours",))
    )
    means = [s.summary.metrics["SI_SNR"].mean for s in (boosted, natural)]
    assert means[1] > means[0] + 3
    assert natural.summary.notes == [
        "PCS was applied to it first, as its spectral balance is natural"
    ]
    with pytest.raises(UserError, match="natural: no system other; there are ours"):
        score("clean", {"ours": "better"}, "scores", natural=["other"], **options)


def test_above_16_khz_the_reference_pcs_compares_at_16_khz(folders):
    clean = speechlike(rate=48000)
    for part, wave in (("fine", clean), ("coarse", noisy(clean, 20.0))):
        write(folders / part / "u.wav", wave, 48000)
    (scores,) = score("fine", "coarse", "s", reference="pcs", metrics=("SI_SNR",))
    assert scores.summary.notes == [
        "compared at 16000 Hz, the highest rate PCS is made for"
    ]
    assert scores.rows[0].note == ""


def test_measures_of_the_estimate_alone_are_taken_once_for_both(folders, measured):
    score("clean", "noisy", "scores", reference="both", metrics=("STOI", "DNSMOS_OVRL"))
    assert sorted(measured) == 3 * [("DNSMOS_OVRL",)] + 6 * [("STOI",)]


def test_what_was_measured_is_not_measured_again(folders, measured):
    first = score_noisy(("SI_SNR",))
    assert len(measured) == 3
    before = contents(folders / "scores")
    assert score_noisy(("SI_SNR",)) == first and len(measured) == 3
    assert contents(folders / "scores") == before
    score_noisy(("SI_SNR", "SDR"))
    assert measured[3:] == 3 * [("SDR",)]
    write(folders / "noisy" / "u1.wav", noisy(speechlike(seed=1), 0.0))
    score_noisy(("SI_SNR", "SDR"))
    assert measured[6:] == [("SI_SNR", "SDR")]
    (folders / "clean").rename(folders / "moved")
    score("moved", "noisy", "scores", metrics=("SI_SNR",))
    assert len(measured) == 7


def test_after_an_error_the_rest_need_not_be_measured_again(folders, measured):
    wave, _ = soundfile.read(folders / "noisy" / "u1.wav")
    wave[0] = np.nan
    write(folders / "noisy" / "u1.wav", wave, subtype="FLOAT")
    with pytest.raises(UserError, match="1 of 3 failed, the .*\n.*u1.wav: holds NaN"):
        score_noisy()
    assert len(measured) == 2 and not (folders / "scores" / "summary.json").exists()
    write(folders / "noisy" / "u1.wav", wave[1:])
    score_noisy()
    assert len(measured) == 3


def test_a_killed_run_run_again_leaves_what_an_undisturbed_one_leaves(
    tmp_path, make_pairs
):
    make_pairs(80)
    words = "score --ref clean --inf noisy --nj 2 --metrics PESQ --output"
    command = [sys.executable, "-m", "espnet2_bspmpnet.cli", *words.split()]
    settings = {
        "cwd": tmp_path,
        "env": {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    subprocess.run([*command, "whole"], **settings, check=True)
    journal = tmp_path / "killed" / "scores.jsonl"
    killed = subprocess.Popen([*command, "killed"], **settings)
    wait_until(journal.exists)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    known = journal.read_text().count("\n")
    assert 0 < known < 80, "it was too quick to be killed"
    subprocess.run([*command, "killed"], **settings, check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_the_real_time_factor_comes_from_inferences_own_file(folders):
    (folders / "better" / "utt2seconds").write_text("u0 0.5\nu1 1\n")
    before, ours = score(
        "clean", {"ours": "better"}, "scores", noisy="noisy", metrics=["SI_SNR", "RTF"]
    )
    table = rows(folders / "scores" / "ours" / "utterances.tsv")
    assert [table[name]["RTF"] for name in table] == ["0.250000", "0.500000", ""]
    assert table["u2"]["reason"] == "RTF: not in utt2seconds"
    assert ours.summary.metrics["RTF"].mean == 0.375
    assert "RTF" not in before.summary.metrics
    assert "RTF" in score("clean", "better", "all")[0].summary.metrics
    with pytest.raises(UserError, match="RTF: there is no utt2seconds beside the"):
        score_noisy(["RTF"])
    for text in ("fast", "nan", "-1"):
        (folders / "better" / "utt2seconds").write_text(f"u0 {text}\n")
        with pytest.raises(UserError, match=f"utt2seconds: u0 took '{text}'; enhance"):
            score("clean", "better", "scores", metrics=["RTF"])


def test_a_small_difference_in_length_is_cut_with_a_warning(folders, caplog):
    wave, _ = soundfile.read(folders / "noisy" / "u1.wav")
    write(folders / "noisy" / "u1.wav", wave[:-1600])
    with caplog.at_level(logging.WARNING):
        summary = score_noisy()
    (note,) = summary.notes
    assert note.startswith("1 of 3 recordings and their references differ in length")
    assert f"enhanced: {note}" in caplog.text and "by up to 1600 samples" in note
    table = rows(folders / "scores" / "utterances.tsv")
    assert table["u1"]["note"] == "1600 samples of the reference cut off"


def test_a_larger_difference_in_length_is_an_error_before_any_work(folders, measured):
    for name in ("u1", "u2"):
        wave, _ = soundfile.read(folders / "noisy" / f"{name}.wav")
        write(folders / "noisy" / f"{name}.wav", wave[:-1601])
    with pytest.raises(UserError, match="2 estimates are longer or shorter") as raised:
        score_noisy()
    lines = str(raised.value).splitlines()
    assert "by more than 0.1 s; give the same recordings" in lines[0]
    assert "noisy/u1.wav: 30399 samples, but its reference" in lines[1]
    assert lines[2].startswith("  noisy/u2.wav") and len(lines) == 3
    assert measured == []


def test_another_rate_is_resampled_with_a_warning(folders, caplog):
    write(folders / "noisy" / "u1.wav", speechlike(rate=32000, seed=1), 32000)
    with caplog.at_level(logging.WARNING):
        summary = score_noisy()
    assert "1 of 3 recordings were resampled to the rate of their" in caplog.text
    assert "(the first: u1, from 32000 Hz to 16000 Hz)" in summary.notes[0]
    table = rows(folders / "scores" / "utterances.tsv")
    assert table["u1"]["note"] == "resampled from 32000 Hz to 16000 Hz"
    assert float(table["u1"]["SI_SNR"]) > 20


def test_names_without_partner_are_listed(folders):
    (folders / "noisy" / "u1.wav").rename(folders / "noisy" / "u9.wav")
    with pytest.raises(
        UserError, match="not in enhanced's estimates: u1; .* references: u9"
    ):
        score_noisy()
    assert not (folders / "scores").exists()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"metrics": ("PESQ", "PESK")}, "unknown metric PESK; choose from PESQ"),
        ({"metrics": ()}, "unknown metric \\(none\\)"),
        ({"reference": "papers"}, "reference: 'papers' is not one of clean, pcs"),
        ({"inf": {"noisy": "noisy"}}, "'noisy' .*cannot be a system's name"),
        ({"inf": {"a/b": "noisy"}}, "'a/b' .*cannot be a system's name"),
        ({"inf": {}}, "nothing to score"),
    ],
)
def test_what_makes_no_sense_is_named_before_any_work(folders, options, said):
    with pytest.raises(UserError, match=said):
        score(**{"ref": "clean", "inf": "noisy", "output": "scores", **options})
    assert not (folders / "scores").exists()
