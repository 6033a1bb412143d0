"""What lies above 8 kHz follows the octave below it."""

import numpy as np
import pytest

from espnet2_bspmpnet.inference.high_band import HOP, at_samples, octave_gains

TIME = np.arange(16000) / 16000
LOW, HIGH = np.sin(2 * np.pi * 1000 * TIME), np.sin(2 * np.pi * 6000 * TIME)


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.5, 1.0])
def test_the_gain_is_that_of_the_octave_from_4_to_8_khz(factor):
    gains = octave_gains((LOW + HIGH)[None], (LOW + factor * HIGH)[None])
    assert gains.shape == (1, 16000 // HOP + 1)
    assert np.allclose(gains[0, 3:-3], factor, atol=0.01)


def test_what_happens_below_4_khz_does_not_matter():
    gains = octave_gains((LOW + HIGH)[None], (0.01 * LOW + HIGH)[None])
    assert np.allclose(gains[0, 3:-3], 1.0, atol=0.01)


def test_nothing_is_made_louder_and_silence_stays_silence():
    assert octave_gains(HIGH[None], 3 * HIGH[None]).max() == 1.0
    assert not octave_gains(np.zeros((1, 400)), np.zeros((1, 400))).any()


def test_each_channel_has_its_own_gain():
    gains = octave_gains(np.stack([HIGH, HIGH]), np.stack([0.2 * HIGH, 0.8 * HIGH]))
    assert np.allclose(gains[:, 50], [0.2, 0.8], atol=0.01)


def test_gains_change_slowly():
    """Energies are averaged over some 60 ms: no crackling."""
    noise = np.random.default_rng(0).standard_normal(16000)
    gate = np.repeat([1.0, 0.0], 8000)
    gains = octave_gains(noise[None], (gate * noise)[None])[0]
    assert np.abs(np.diff(gains)).max() < 0.6
    assert gains[10] > 0.9 and gains[-10] < 0.01


def test_gains_are_interpolated_to_the_recordings_rate():
    gains = at_samples(np.array([[0.0, 1.0, 0.0]]), 7, 48000, 16000)
    position = np.arange(7) / (3 * HOP)
    assert np.allclose(gains, [position])
