"""DNSMOS is what the published implementation computes, however it is computed here."""

import numpy as np
import pytest

from espnet2_bspmpnet.data.audio import read_audio
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures import dnsmos
from tests.clips import NOISY
from tests.speech import RATE, noisy, speechlike


def real() -> np.ndarray:
    """Read 6.2 s, which are rated twice over."""
    return read_audio(NOISY / "p232_005.flac")[0]


def long() -> np.ndarray:
    """Make 18 s of noisy speech with a second of digital silence."""
    wave = noisy(speechlike(18.05), 5.0)
    wave[2 * RATE : 3 * RATE] = 0.0
    return 0.5 * wave / np.abs(wave).max()


@pytest.mark.parametrize(
    "recording, length, windows",
    [
        (real, 12.49, [0, 1, 2]),
        (long, 18.05, [0, 1, 2, 3, 4, 5, 6]),  # speechmos leaves the 8th and 9th out
    ],
)
def test_ratings_are_those_of_speechmos(recording, length, windows):
    from speechmos import dnsmos as published

    wave = recording()
    expected = published.run(wave, RATE)
    found = dnsmos.rate_speech(wave)
    assert dnsmos._window_starts(int(length * RATE)) == windows
    assert found._asdict() == pytest.approx(
        {name: expected[f"{name}_mos"] for name in found._fields}, abs=1e-4
    )


def test_noise_is_heard_in_the_background():
    clean = 0.3 * speechlike(2.4)
    quiet, loud = (dnsmos.rate_speech(noisy(clean, snr)) for snr in (40.0, 0.0))
    assert quiet.bak > loud.bak + 0.5


def test_what_is_not_installed_is_named_with_the_fix(monkeypatch):
    monkeypatch.setattr(dnsmos, "find_spec", lambda package: None)
    dnsmos._networks.cache_clear()
    with pytest.raises(UserError, match="'pip install speechmos onnx' or leave"):
        dnsmos.rate_speech(speechlike())
