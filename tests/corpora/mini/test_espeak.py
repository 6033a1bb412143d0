"""eSpeak NG says the same each time, and says why when it cannot speak."""

import ctypes
import sys

import numpy as np
import pytest

from espnet2_bspmpnet.corpora.mini import voices
from espnet2_bspmpnet.corpora.mini.espeak import RATE, speak
from espnet2_bspmpnet.errors import UserError

pytest.importorskip("espeakng_loader", reason="the extra [mini] is not installed")


def test_every_voice_says_the_same_twice():
    everyone = [
        voice.espeak
        for name in ("train", "valid", "test")
        for voice in voices.voices(name, 0)
    ]
    for name in sorted({*everyone, *voices.TRAIN_CROWD, *voices.TEST_CROWD}):
        once, twice = (speak("How nice, a sheep!", name) for _ in range(2))
        assert len(once) > 10000, name
        assert np.array_equal(once, twice), name
        assert np.abs(once).max() < 0.99, name  # louder ones clip inside eSpeak


def test_more_words_a_minute_are_shorter_and_another_pitch_is_another_sound():
    slow, fast = (speak("One, two, three.", "en-us", rate=r) for r in (100, 300))
    assert len(fast) < 0.6 * len(slow) < RATE * 4
    low, high = (speak("Two.", "en-us", pitch=pitch) for pitch in (10, 90))
    assert not np.array_equal(low, high)


def test_an_unknown_voice_is_named():
    with pytest.raises(UserError, match="no voice 'nobody'"):
        speak("Hello.", "nobody")


def test_a_library_that_cannot_be_loaded_is_named(monkeypatch):
    def refuse(path):
        raise OSError("wrong ELF class")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(UserError, match="cannot be loaded .*wrong ELF.*reinstall it"):
        speak("Hello.", "en-us")


def test_a_missing_synthesiser_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="'python -m pip install espeakng-loader'"):
        speak("Hello.", "en-us")
