"""Eq. 1: X' = log(1 + |STFT(x)|), the phase beside it, and exactly L samples back."""

import math

import pytest
import torch

from espnet2_bspmpnet.network.spectrum import Spectrum, wrap_phase
from tests.networks import speech_like


def test_analysis_is_a_hand_written_dft_of_windowed_frames():
    wave, _ = speech_like(2000)
    magnitude, phase = Spectrum()(wave)
    padded = torch.nn.functional.pad(wave[0], (256, 256))  # zeros on both sides
    window = torch.nn.functional.pad(torch.hamming_window(400), (56, 56))
    t = 7
    frame = padded[100 * t : 100 * t + 512] * window
    angle = -2 * math.pi * torch.outer(torch.arange(257.0), torch.arange(512.0)) / 512
    real, imaginary = angle.cos() @ frame, angle.sin() @ frame
    expected = torch.log(1 + torch.hypot(real, imaginary))
    assert torch.allclose(magnitude[0, :, t], expected, atol=1e-4)
    loud = expected > 0.05  # the phase of near silence is rounding noise
    difference = wrap_phase(phase[0, :, t] - torch.atan2(imaginary, real))
    assert difference[loud].abs().max() < 1e-3


@pytest.mark.parametrize("length", [1, 50, 99, 100, 101, 399, 400, 401, 16000, 16037])
def test_every_length_comes_back_exactly(length):
    wave, lengths = speech_like(length)
    spectrum = Spectrum()
    magnitude, phase = spectrum(wave)
    assert magnitude.shape == phase.shape == (1, 257, 1 + length // 100)
    assert spectrum.num_frames(lengths).tolist() == [magnitude.size(2)]
    back = spectrum.inverse(magnitude, phase, lengths)
    assert back.shape == wave.shape
    assert (back - wave).abs().max() < 1e-5


@pytest.mark.parametrize("window", ["hann", "sqrt_hann"])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 511, 512, 16000, 16037])
def test_windows_that_vanish_at_their_ends_have_one_more_where_a_signal_ends(
    window, length
):
    wave, lengths = speech_like(length)
    spectrum = Spectrum(512, 512, 256, window)
    magnitude, phase = spectrum(wave)
    frames = 1 + math.ceil(length / 256)
    assert spectrum.num_frames(lengths).tolist() == [magnitude.size(2)] == [frames]
    assert (spectrum.inverse(magnitude, phase, lengths) - wave).abs().max() < 1e-5
    # What is wrong in the spectrum is heard nowhere louder than it is.
    wrong = spectrum.inverse(torch.ones_like(magnitude), phase, lengths)
    assert wrong.abs().max() < 2


def test_the_complex_spectrum_is_magnitude_and_phase_in_one():
    wave, _ = speech_like(3000)
    spectrum = Spectrum()
    expected = torch.polar(*spectrum(wave))
    assert torch.allclose(spectrum.compressed(wave), expected, atol=1e-5)
    quiet = spectrum.compressed(1e-9 * wave)  # as precise as of speech
    assert torch.allclose(1e9 * quiet, spectrum._stft(wave), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1e-18, 1e-24, 1e-40])
def test_the_complex_spectrum_of_near_silence_has_finite_gradients(level):
    wave = (level * torch.randn(1, 2000)).requires_grad_()
    torch.view_as_real(Spectrum().compressed(wave)).square().sum().backward()
    assert wave.grad.isfinite().all()


def test_phase_lies_between_minus_pi_and_pi():
    _, phase = Spectrum()(speech_like(8000)[0])
    assert phase.min() >= -math.pi - 1e-6 and phase.max() <= math.pi + 1e-6


def test_a_padded_batch_gives_what_each_utterance_gives_alone():
    wave, lengths = speech_like(5000, 3210, 150)
    spectrum = Spectrum()
    magnitude, phase = spectrum(wave)
    back = spectrum.inverse(magnitude * 0.7, phase, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, angle = spectrum(wave[row : row + 1, :length])
        frames = alone.size(2)
        assert torch.allclose(magnitude[row, :, :frames], alone[0], atol=1e-5)
        single = spectrum.inverse(alone * 0.7, angle, torch.tensor([length]))
        assert torch.allclose(back[row, :length], single[0], atol=1e-5)
        assert not back[row, length:].any()


def test_a_negative_magnitude_counts_as_none():
    wave, lengths = speech_like(2000)
    spectrum = Spectrum()
    magnitude, phase = spectrum(wave)
    assert not spectrum.inverse(-magnitude, phase, lengths).any()


def test_the_inverse_takes_gradients():
    wave, lengths = speech_like(1200, 800)
    spectrum = Spectrum()
    magnitude, phase = spectrum(wave)
    magnitude.requires_grad_(), phase.requires_grad_()
    spectrum.inverse(magnitude, phase, lengths).square().sum().backward()
    assert magnitude.grad.abs().sum() > 0 and phase.grad.abs().sum() > 0


def test_wrapping_keeps_the_angle():
    angle = torch.tensor([-7.0, -3.0, 0.5, 4.0, 100.0])
    wrapped = wrap_phase(angle)
    assert wrapped.abs().max() <= math.pi + 1e-6
    assert torch.allclose(wrapped.sin(), angle.sin(), atol=1e-5)
