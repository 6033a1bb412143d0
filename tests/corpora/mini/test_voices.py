"""Voices: the same for the same seed, each with a sound of its own."""

from dataclasses import replace

import numpy as np
import pytest

from espnet2_bspmpnet.corpora.mini import voices
from espnet2_bspmpnet.corpora.mini.voices import utter

SETS = ("train", "valid", "test")

pytest.importorskip("espeakng_loader", reason="the extra [mini] is not installed")


def sound(voice: voices.Voice, seed: int = 0) -> np.ndarray:
    return utter(voice, "How nice, a sheep!", np.random.default_rng(seed))


def test_nobody_speaks_in_front_and_in_the_background():
    speakers = {v.espeak.split("+")[1] for name in SETS for v in voices.voices(name, 0)}
    train, test = (
        {name.split("+")[1] for name in crowd}
        for crowd in (voices.TRAIN_CROWD, voices.TEST_CROWD)
    )
    assert not speakers & train and not speakers & test and not train & test


def test_the_seed_decides_on_all_but_variant_and_accent():
    for name in SETS:
        once, again, other = (voices.voices(name, seed) for seed in (0, 0, 1))
        assert once == again
        assert [v.espeak for v in once] == [v.espeak for v in other]
        assert not {v.pitch for v in once if v in other}


def test_speakers_have_names_of_their_own():
    names = [voice.name for name in SETS for voice in voices.voices(name, 0)]
    assert len(names) == len(set(names)) == 42


def test_a_voice_reads_the_same_text_a_little_differently_each_time():
    (voice, *_) = voices.voices("valid", 0)
    once, again, other = (sound(voice, seed) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_a_longer_vocal_tract_speaks_lower():
    (voice, *_) = voices.voices("valid", 0)
    short, long = (len(sound(replace(voice, tract=tract))) for tract in (0.9, 1.1))
    assert long / short == pytest.approx(1.1 / 0.9, rel=0.01)


def test_breath_and_room_change_the_sound_and_not_its_length():
    (voice, *_) = voices.voices("valid", 0)
    plain = sound(replace(voice, breath=0.0, room=-80.0))
    for change in ({"breath": 0.7}, {"room": -12.0}):
        changed = sound(replace(voice, **{"breath": 0.0, "room": -80.0, **change}))
        assert changed.shape == plain.shape
        assert not np.allclose(changed, plain, atol=0.01 * np.abs(plain).max())
