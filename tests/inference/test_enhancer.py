"""Enhancer: any rate, channels, length and kind of array, and nothing lost around it."""

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference import enhancer as module
from espnet2_bspmpnet.inference.enhancer import Enhancer
from tests.enhancers import decibels, speech, transparent
from tests.networks import tiny_separator
from tests.speech import speechlike


def enhancer(separator=None, **options) -> Enhancer:
    separator = separator or tiny_separator(level="rms", phase_path="residual")
    return Enhancer(separator, **options)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_what_the_network_leaves_alone_comes_back_at_every_rate(rate):
    """Below 16 kHz without what is within a few percent of half the rate."""
    wave = speechlike(1.003, rate).astype(np.float32)
    if rate >= 16000:
        wave = speech(1.003, rate)
    output = transparent()(wave, rate)
    assert output.shape == wave.shape and output.dtype == np.float32
    inner = slice(rate // 20, -rate // 20)
    assert decibels((output - wave)[inner], wave[inner]) < -45


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("length", [1, 2, 50, 401])
def test_few_samples_come_back_at_their_number(length, rate):
    wave = speech(1.0, rate)[:length]
    output = enhancer()(wave, rate)
    assert output.shape == (length,) and np.isfinite(output).all()


def test_each_channel_is_enhanced_as_it_would_be_alone_and_the_order_kept():
    wave = np.stack([speech(seed=0), 0.1 * speech(seed=1), np.zeros(16000)])
    wave = wave.astype(np.float32)
    enhance = enhancer()
    output = enhance(wave, 16000)
    for channel, expected in zip(wave, output, strict=True):
        assert np.abs(enhance(channel, 16000) - expected).max() < 1e-5
    assert not output[2].any()


def test_a_batch_gives_what_each_recording_gives_alone():
    waves = [speech(s, seed=i) for i, s in enumerate((0.4, 1.0, 0.03, 0.7))]
    waves.append(np.stack([speech(0.5), speech(0.5, seed=7)]))
    enhance = enhancer()
    for wave, output in zip(waves, enhance.batch(waves, 16000), strict=True):
        assert output.shape == wave.shape
        assert np.abs(enhance(wave, 16000) - output).max() < 1e-5


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int16, np.int32])
def test_arrays_keep_their_type(kind):
    wave = speech()
    if np.issubdtype(kind, np.integer):
        given = (wave * -float(np.iinfo(kind).min)).astype(kind)
    else:
        given = wave.astype(kind)
    output = transparent()(given, 16000)
    assert output.dtype == kind
    scale = np.abs(given.astype(float)).max() / np.abs(wave).max()
    assert np.allclose(output.astype(float) / scale, wave, atol=1e-3)


def test_tensors_keep_their_type_and_shape():
    wave = torch.from_numpy(speech()).double()[None]
    output = enhancer()(wave, 16000)
    assert isinstance(output, torch.Tensor) and output.dtype == torch.float64
    assert output.shape == wave.shape


def test_integers_do_not_clip():
    """A boosted output may be louder at its peaks: one gain for all of it."""
    wave = (np.sign(speech()) * 32767).astype(np.int16)
    output = enhancer(pcs_output="boosted")(wave, 16000)
    assert np.abs(output.astype(int)).max() <= 32767


def test_strength_mixes_the_noisy_signal_back():
    wave = speech()
    full = enhancer()(wave, 16000)
    half = enhancer(strength=0.5)(wave, 16000)
    assert np.allclose(half, (wave + full) / 2, atol=1e-6)
    assert np.array_equal(enhancer(strength=0.0)(wave, 44100), wave)


def test_attenuation_limit_keeps_noise_at_so_many_decibels():
    """Where the network gives silence, the noisy signal is left 20 dB down."""
    separator = tiny_separator(level="rms")
    separator.bsp_mpnet.pcs.undo = torch.zeros_like
    wave = speech()
    output = Enhancer(separator, attenuation_limit=20.0)(wave, 16000)
    assert np.allclose(output, 0.1 * wave, atol=1e-6)


def silent_network():
    separator = tiny_separator(level="rms")
    separator.bsp_mpnet.pcs.undo = torch.zeros_like
    return separator


@pytest.mark.parametrize(
    "high_band, heard", [("keep", 1.0), ("follow", 0.0), ("drop", 0.0)]
)
def test_above_8_khz_is_kept_follows_or_is_dropped(high_band, heard):
    """A tone of 12 kHz beside noise that the network takes away altogether."""
    time = np.arange(48000) / 48000
    tone = 0.1 * np.sin(2 * np.pi * 12000 * time)
    wave = (speech(1.0, 48000) + tone).astype(np.float32)
    output = Enhancer(silent_network(), high_band=high_band)(wave, 48000)
    spectrum = np.abs(np.fft.rfft(output[4800:-4800] * np.hanning(38400)))
    expected = np.abs(np.fft.rfft(tone[4800:-4800] * np.hanning(38400)))
    assert spectrum[9600] == pytest.approx(
        heard * expected[9600], abs=0.02 * expected[9600]
    )


def test_batches_are_of_nearly_equal_length_and_bounded(monkeypatch):
    enhance = enhancer()
    shapes = [(1, 16000 * seconds) for seconds in (1, 9, 8, 2, 5, 10, 1)]
    plan = enhance.plan(shapes, 16000)
    assert sorted(place for batch in plan for place in batch) == list(range(7))
    for batch in plan:
        lengths = [shapes[place][1] for place in batch]
        assert max(lengths) <= 2 * min(lengths)
    monkeypatch.setattr(module, "MEMORY", 1)
    assert all(len(batch) == 1 for batch in enhance.plan(shapes, 16000))


def test_bfloat16_agrees_to_2_percent():
    wave = speech()
    exact, rough = (enhancer(precision=p)(wave, 16000) for p in ("float32", "bfloat16"))
    assert 0 < np.abs(rough - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(strength=1.5), "strength: 1.5 must be from 0 to 1"),
        (dict(attenuation_limit=-3.0), "attenuation_limit: -3.0 dB must be 0 or more"),
        (dict(high_band="all"), "high_band: 'all' is not one of follow, keep, drop"),
        (dict(precision="int8"), "precision: 'int8' is not one of float32, bfloat16"),
        (dict(pcs_output="loud"), "pcs_output: 'loud' is not one of boosted, natural"),
        (dict(window=1), "window: 1 s must be 4 s or more"),
        (dict(device="gpu"), "device: 'gpu' cannot be used"),
    ],
    ids=str,
)
def test_wrong_options_name_what_is_allowed(options, message):
    with pytest.raises(UserError, match=message):
        enhancer(**options)


@pytest.mark.parametrize(
    "wave, rate, message",
    [
        (np.array([0.0, np.nan]), 16000, "NaN or infinite"),
        (np.array([0.0, np.inf]), 16000, "NaN or infinite"),
        (np.zeros(0), 16000, r"\[samples\] or \[channels, samples\], not \[0\]"),
        (np.zeros((1, 1, 9)), 16000, r"not \[1, 1, 9\]"),
        (np.zeros(9), 16000.5, "rate: 16000.5 must be a whole number"),
        (np.zeros(9), 0, "rate: 0 must be"),
    ],
)
def test_wrong_recordings_are_refused(wave, rate, message):
    with pytest.raises(UserError, match=message):
        enhancer()(wave, rate)


def test_many_channels_go_through_the_network_a_few_at_a_time(monkeypatch):
    enhance = enhancer()
    sizes, forward = [], enhance.separator.forward

    def counted(wave, lengths, **options):
        sizes.append(len(wave))
        return forward(wave, lengths, **options)

    monkeypatch.setattr(enhance.separator, "forward", counted)
    wave = np.stack([speech(0.5, seed=seed) for seed in range(9)])
    together = enhance(wave, 16000)
    assert sum(sizes) == 9 and max(sizes) == module.MOST_ROWS["cpu"]
    assert np.allclose(together, [enhance(row, 16000) for row in wave], atol=1e-5)
