"""Sentences are English, of a speakable length, and seldom twice the same."""

import re

import numpy as np

from espnet2_bspmpnet.corpora.mini.sentences import compose


def compose_many(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [compose(rng) for _ in range(500)]


def test_a_sentence_has_six_to_sixteen_words_a_capital_and_a_full_stop():
    for sentence in compose_many(0):
        assert re.fullmatch(r"[A-Z][a-z]*(,? [A-Za-z]+)+\.", sentence), sentence
        assert 5 <= len(sentence.split()) <= 18, sentence
    lengths = [len(sentence.split()) for sentence in compose_many(0)]
    assert np.percentile(lengths, 5) >= 6
    assert np.percentile(lengths, 95) <= 16


def test_the_article_goes_with_the_word_behind_it():
    text = " ".join(compose_many(1))
    assert re.search(r"\ban [aeiou]", text)
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)


def test_the_same_random_numbers_give_the_same_sentences_and_others_do_not():
    assert compose_many(2) == compose_many(2)
    assert not set(compose_many(2)) & set(compose_many(3))
    assert len(set(compose_many(2))) == 500
