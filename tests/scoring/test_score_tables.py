"""Tables of scores name their reference and hide no missing value."""

import numpy as np
import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring.score_tables import overview, sections_of
from espnet2_bspmpnet.scoring.tables import markdown
from tests.scores import scores


def tables(rows) -> str:
    return markdown(sections_of(rows))


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
        "- Utterances: 2. Intervals: bootstrap over utterances.\n"
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


def test_the_short_table_has_noisy_speech_and_each_output_of_all_test_sets():
    every = dict.fromkeys(("CSIG", "CBAK", "COVL", "STOI", "SI_SNR", "SDR"), [3.0])
    few = {"PESQ": [1.0], **every, "DNSMOS_OVRL": [2.5]}
    table = overview(
        [
            ("ours_tt", scores(**few | {"PESQ": [2.0]})),
            ("noisy_tt", scores("noisy", **few)),
            ("ours_tt", scores(reference="pcs", **few)),
            ("noisy_dev", scores("noisy", references="dev", **few)),
            ("ours_dev", scores(references="dev", **few)),
        ]
    )
    assert table.plain() == (
        "Reference: clean speech\n"
        "\n"
        "dataset    PESQ  CSIG  CBAK  COVL  STOI  SI-SNR  DNSMOS\n"
        "noisy_tt   1.00  3.00  3.00  3.00  3.00    3.00    2.50\n"
        "ours_tt    2.00  3.00  3.00  3.00  3.00    3.00    2.50\n"
        "noisy_dev  1.00  3.00  3.00  3.00  3.00    3.00    2.50\n"
        "ours_dev   1.00  3.00  3.00  3.00  3.00    3.00    2.50\n"
    )


def test_the_short_table_leaves_out_what_was_not_scored():
    rows = [("ours", scores(reference="pcs", SI_SNR=[3.0], SDR=[4.0]))]
    section = overview(rows)
    assert section.heading == "Reference: PCS of the clean speech"
    assert section.tables[0].columns == ["SI-SNR"]
    assert overview([("ours", scores(SDR=[4.0]))]).tables == []
