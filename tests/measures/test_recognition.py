"""Transcripts are normalised and aligned; errors are counted as they are defined."""

import pytest

from espnet2_bspmpnet.measures.recognition import Errors, count_errors, normalise


@pytest.mark.parametrize(
    "text, normal",
    [
        ("It’s 5\tO'Clock -- 'now'!", "it's 5 o'clock now"),
        ("ＡＢＣ  ÄÖ", "abc äö"),
        ("rock-'n'-roll", "rock n roll"),
        ("50% of $3", "50 of 3"),
        ("你好，世界。", "你好世界"),
    ],
)
def test_normalisation(text, normal):
    assert normalise(text) == normal


def test_a_correct_utterance_counts_no_error_and_others_each_of_theirs():
    said = ["a b c", "d e", "f"]
    heard = ["a x c", "d e", "f g h"]
    words, characters, alignment = count_errors(["u1", "u2", "u3"], said, heard)
    assert words == Errors(
        units=6, substitutions=1, deletions=0, insertions=2, utterances=2
    )
    assert characters == Errors(
        units=9, substitutions=1, deletions=0, insertions=4, utterances=2
    )
    assert words.rate == pytest.approx(50.0)
    assert alignment.startswith("u1\n\nREF: a b c\nHYP: a x c\n")
