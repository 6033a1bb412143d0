"""Word error rates: counted, written, found again, and laid out as ESPnet does."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures.recognition import Errors
from espnet2_bspmpnet.scoring.tables import markdown
from espnet2_bspmpnet.scoring.word_errors import (
    check_recogniser,
    error_sections,
    find_error_rates,
    score_text,
)

REFERENCE = "u1 She'd like tea, please.\nu2 a b c d\nu3 well-known\n"
RECOGNISED = "u1 she'd like a tea please\nu2 a x d\nu3 well known\n"


@pytest.fixture
def texts(tmp_path):
    """A function that writes transcripts and what two jobs recognised."""

    def write(reference: str, recognised: str) -> dict:
        (tmp_path / "text").write_text(reference)
        lines = recognised.splitlines(keepends=True)
        parts = [tmp_path / "text.1", tmp_path / "text.2"]
        parts[0].write_text("".join(lines[:1]))
        parts[1].write_text("".join(lines[1:]))
        parts = [part for part in parts if part.stat().st_size]
        return {"ref": tmp_path / "text", "hyp": parts}

    return write


@pytest.fixture
def scored(texts, tmp_path):
    """A function that scores transcripts into enhanced_tt/scoring/asr."""

    def score(
        reference=REFERENCE, recognised=RECOGNISED, name="enhanced_tt", **options
    ):
        return score_text(
            **texts(reference, recognised),
            output=tmp_path / "exp/enh" / name / "scoring/asr",
            name=name,
            asr="zoo/asr",
            **options,
        )

    return score


def test_words_are_counted_as_substituted_deleted_and_inserted(scored):
    rates = scored()
    # u1: "a" inserted; u2: b -> x, c deleted; u3: right.
    assert rates.words == Errors(
        units=10, substitutions=1, deletions=1, insertions=1, utterances=2
    )
    assert rates.words.rate == pytest.approx(30.0)


def test_characters_are_counted_with_the_spaces_between_words(scored):
    rates = scored("u1 ab cd\n", "u1 ab d\n")
    assert rates.characters == Errors(
        units=5, substitutions=0, deletions=1, insertions=0, utterances=1
    )


def test_silence_for_an_answer_deletes_every_word(scored):
    assert scored("u1 a b c\n", "u1\n").words.deletions == 3


def test_words_in_silence_are_inserted(scored):
    rates = scored("u1 a b c d\nu2\n", "u1 a b c d\nu2 noise\n")
    assert (rates.words.insertions, rates.words.rate) == (1, 25.0)


@pytest.mark.parametrize(
    "ignored, wrong",
    [(["case", "punctuation"], 0), (["case"], 1), (["punctuation"], 1), ([], 2)],
)
def test_differences_that_are_not_counted_can_be_chosen(scored, ignored, wrong):
    rates = scored("u1 Tea, please\n", "u1 tea please\n", ignore=ignored)
    words = rates.words
    assert words.substitutions == (1 if ignored != ["case", "punctuation"] else 0)
    assert rates.characters.substitutions + rates.characters.deletions == wrong
    assert rates.ignored == tuple(ignored)


def test_an_unknown_normalisation_is_named(scored):
    with pytest.raises(UserError, match="--ignore accents: choose from case punct"):
        scored(ignore=["accents"])


def test_an_utterance_that_nobody_recognised_is_named(scored):
    with pytest.raises(UserError, match="1 only in .*text, not in .*: u3"):
        scored(recognised="u1 a\nu2 b\n")


def test_missing_transcripts_are_named(texts, tmp_path):
    files = texts("u1 a\n", "u1 a\n") | {"ref": tmp_path / "gone/text"}
    with pytest.raises(UserError, match='gone/text: no such .*"<id> <words>"'):
        score_text(**files, output=tmp_path, name="x", asr="y")


def test_transcripts_without_any_word_are_refused(scored):
    with pytest.raises(UserError, match="there is no word in it"):
        scored("u1 ...\n", "u1 a\n")


def test_an_id_that_is_there_twice_is_refused(scored):
    with pytest.raises(UserError, match="text:2: id u1 is there twice"):
        scored("u1 a\nu1 b\n", "u1 a\n")


def test_the_alignment_shows_each_utterance(scored, tmp_path):
    scored()
    shown = (tmp_path / "exp/enh/enhanced_tt/scoring/asr/alignment.txt").read_text()
    assert shown.startswith("u1\n")
    assert "REF: a b c d" in shown


def test_error_rates_are_found_where_scores_are(scored, tmp_path):
    rates = scored()
    assert find_error_rates(tmp_path / "exp") == [("enh/enhanced_tt", rates)]
    folder = tmp_path / "exp/enh/enhanced_tt/scoring"
    assert find_error_rates(folder, "given") == [("enhanced_tt", rates)]


def test_a_damaged_file_of_error_rates_is_named(scored, tmp_path):
    scored()
    damaged = tmp_path / "exp/enh/enhanced_tt/scoring/asr/wer.json"
    damaged.write_text(damaged.read_text()[:-30])
    with pytest.raises(UserError, match=r"wer.json: damaged .*stages 9 and 10"):
        find_error_rates(tmp_path)


def test_tables_are_laid_out_as_espnets(scored):
    rows = [
        ("noisy_tt", scored("u1 a b c d\n", "u1 x c d e\n", name="noisy_tt")),
        ("enhanced_tt", scored("u1 a b c d\n", "u1 a b c d\n")),
    ]
    text = markdown(error_sections(rows))
    assert text.startswith(
        "## Recognised by zoo/asr\n\n### WER\n\n|dataset|Snt|Wrd|Corr|"
    )
    assert "|noisy_tt|1|4|50.0|25.0|25.0|25.0|75.0|100.0|" in text
    assert "|enhanced_tt|1|4|100.0|0.0|0.0|0.0|0.0|0.0|" in text
    assert "### CER" in text
    assert "- Compared without regard to case and punctuation." in text


def test_recognisers_and_ways_to_compare_are_not_mixed(scored):
    rows = [("a", scored()), ("b", scored(ignore=[]))]
    headings = [section.heading for section in error_sections(rows)]
    assert headings == 2 * ["Recognised by zoo/asr", "WER", "CER"]
    assert error_sections([]) == []


@pytest.mark.parametrize("config", ["frontend_conf: {fs: 16k}", "frontend_conf: {}"])
def test_a_recogniser_of_the_same_rate_is_fine(tmp_path, config):
    (tmp_path / "config.yaml").write_text(config)
    check_recogniser(tmp_path / "config.yaml", 16000)


@pytest.mark.parametrize(
    "config, said",
    [
        ("frontend_conf: {fs: 8k}", "trained at 8k Hz, but the speech has 16000 Hz"),
        ("separator: bsp_mpnet", "no configuration of a recogniser"),
        ("{", "not valid YAML"),
    ],
)
def test_what_cannot_recognise_this_speech_is_named(tmp_path, config, said):
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(UserError, match=f"config.yaml: .*{said}"):
        check_recogniser(tmp_path / "config.yaml", 16000)
