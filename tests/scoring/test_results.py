"""RESULTS.md looks like ESPnet's, names its reference and hides no missing value."""

import subprocess

import numpy as np
import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring.files import Row, Scores, Summary, statistics
from espnet2_bspmpnet.scoring.results import (
    find_scores,
    tables,
    trained_with,
    write_results,
)


def scores(
    system: str = "enhanced",
    reference: str = "clean",
    references: str = "tt",
    notes: tuple[str, ...] = (),
    **values: list[float | None],
) -> Scores:
    """Make scores of a few utterances: metric=[value, ...], None for undefined."""
    count = len(next(iter(values.values())))
    rows = []
    for place in range(count):
        known = {name: column[place] for name, column in values.items()}
        reasons = {name: "silent" for name, value in known.items() if value is None}
        known = {name: value for name, value in known.items() if value is not None}
        rows.append(Row(f"u{place}", known, reasons))
    metrics = statistics(rows, list(values))
    return Scores(
        rows, Summary(reference, system, references, count, list(notes), metrics)
    )


def lines(text: str, title: str) -> list[str]:
    """Give the rows of the table whose first column has this title."""
    table = text.split(f"|{title}|")[1].split("\n\n")[0]
    return table.splitlines()[2:]


def test_means_have_two_decimals_and_the_reference_is_named():
    row = scores(PESQ=[1.974, 1.976], STOI=[91.2345, 91.2345])
    assert tables([("enhanced_tt", row)]) == (
        "### Reference: clean speech\n"
        "\n"
        "|dataset|PESQ|STOI|\n"
        "|---|---|---|\n"
        "|enhanced_tt|1.98|91.23|\n"
        "\n"
        "|95 % interval|PESQ|STOI|\n"
        "|---|---|---|\n"
        "|enhanced_tt|1.97 … 1.98|91.23 … 91.23|\n"
        "\n"
        "- Utterances: 2; intervals by bootstrap over them.\n"
    )


def test_the_best_is_bold_and_lower_is_better_for_distances():
    text = tables(
        [
            ("a", scores(PESQ=[2.0], LLR=[0.5], STOI=[80.0], RTF=[0.10004])),
            ("b", scores(PESQ=[3.0], LLR=[0.7], STOI=[80.001], RTF=[None])),
        ]
    )
    assert lines(text, "dataset") == [
        "|a|2.00|**0.500**|**80.00**|0.100|",
        "|b|**3.00**|0.700|**80.00**||",
    ]


def test_noisy_speech_comes_first_and_the_others_show_how_they_improve_on_it():
    noisy = scores("noisy", PESQ=[1.0, 2.0, 3.0], STOI=[80.0, 80.0, None])
    ours = scores(PESQ=[1.5, 2.5, 3.5], STOI=[79.0, 80.0, 90.0])
    text = tables([("ours", ours), ("noisy_tt", noisy)])
    assert [line.split("|")[1] for line in lines(text, "dataset")] == [
        "noisy_tt",
        "ours",
    ]
    assert lines(text, "improvement over noisy_tt") == [
        "|ours|+0.50 (+0.50 … +0.50)|-0.50 (-1.00 … +0.00)|"
    ]
    assert "difference to" not in text


def test_systems_are_compared_with_the_first_utterance_by_utterance():
    random = np.random.default_rng(0)
    first = list(random.normal(2.0, 1.0, 50))
    second = [value + 0.25 for value in first]
    text = tables([("one", scores(PESQ=first)), ("two", scores(PESQ=second))])
    # The paired interval is sharp where those of the means overlap.
    assert lines(text, "difference to one") == ["|two|+0.25 (+0.25 … +0.25)|"]
    assert "improvement" not in text


def test_references_and_test_sets_have_tables_of_their_own():
    text = tables(
        [
            ("noisy_tt", scores("noisy", PESQ=[1.0, 1.2])),
            ("ours_tt", scores(PESQ=[2.0, 2.2])),
            ("ours_tt", scores(reference="pcs", PESQ=[2.5, 2.7])),
            ("noisy_dev", scores("noisy", references="dev", PESQ=[1.5])),
        ]
    )
    clean, pcs, dev = text.split("### Reference: ")[1:]
    assert clean.startswith("clean speech\n")
    assert pcs.startswith("PCS of the clean speech\n")
    assert lines(clean, "dataset") == ["|noisy_tt|1.10|", "|ours_tt|**2.10**|"]
    assert lines(pcs, "dataset") == ["|noisy_tt|1.10|", "|ours_tt|**2.60**|"]
    assert lines(pcs, "improvement over noisy_tt") == [
        "|ours_tt|+1.50 (+1.50 … +1.50)|"
    ]
    assert "- noisy_tt: compared with clean speech." in pcs
    assert "compared with" not in clean
    assert lines(dev, "dataset") == ["|noisy_dev|1.50|"]


def test_utterances_without_a_value_are_counted_with_their_reasons():
    text = tables(
        [
            ("a", scores(PESQ=[2.0, None, None], STOI=[9.0] * 3)),
            ("b", scores(PESQ=[None] * 3, STOI=[None] * 3)),
        ]
    )
    assert lines(text, "dataset") == ["|a|2.00|9.00|", "|b|||"]
    left_out = "of 3 utterances, which means leave out (silent: "
    assert f"- a: PESQ: undefined for 2 {left_out}2).\n" in text
    assert f"- b: PESQ, STOI: undefined for 3 {left_out}3).\n" in text


def test_what_was_done_to_recordings_and_what_was_not_measured_is_said():
    resampled = scores(notes=("1 of 1 recordings were resampled",), PESQ=[2.0])
    text = tables([("a", resampled), ("b", scores(PESQ=[2.0], STOI=[90.0]))])
    assert "- a: 1 of 1 recordings were resampled.\n" in text
    assert "- a: not scored with STOI.\n" in text
    assert lines(text, "dataset") == ["|a|**2.00**||", "|b|**2.00**|90.00|"]


def test_nothing_to_report_is_an_error():
    with pytest.raises(UserError, match="nothing to report"):
        tables([])


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


def test_results_have_espnets_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [("noisy_tt", scores("noisy", PESQ=[1.97]))]
    written = write_results("RESULTS.md", "enh_train_raw", "conf/train.yaml", rows)
    text = (tmp_path / "RESULTS.md").read_text()
    assert written == tables(rows) and text.endswith(written)
    first = text.splitlines()
    assert first[0].startswith("<!-- Generated by ")
    assert first[1:3] == ["# RESULTS", "## Environments"]
    for place, name in enumerate(("date", "python", "espnet", "pytorch"), 3):
        assert first[place].startswith(f"- {name}")
    assert "pytorch version: `pytorch 2." in text
    assert "Git hash" not in text
    assert first[first.index("## enh_train_raw") + 1] == "config: conf/train.yaml"


def test_the_commit_is_named_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ("init -q", "commit -q --allow-empty -m first"):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *author, *words.split()], check=True)
    write_results("RESULTS.md", "exp", None, [("a", scores(PESQ=[1.0]))])
    text = (tmp_path / "RESULTS.md").read_text()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    assert f"- Git hash: `{head}`\n  - Commit date: `" in text
    assert "config:" not in text


def test_the_config_is_looked_up_in_the_experiment(tmp_path):
    assert trained_with(tmp_path) is None
    (tmp_path / "config.yaml").write_text("config: conf/train.yaml\nseed: 1\n")
    assert trained_with(tmp_path) == "conf/train.yaml"
    (tmp_path / "config.yaml").write_text("config: [")
    with pytest.raises(UserError, match="config.yaml: not valid YAML"):
        trained_with(tmp_path)
