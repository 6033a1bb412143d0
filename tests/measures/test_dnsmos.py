"""DNSMOS is what the published implementation computes, however it is computed here."""

import numpy as np
import pytest
from scipy.signal import correlate

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures import dnsmos
from tests.speech import RATE, noisy, speechlike


def recording(seconds: float) -> np.ndarray:
    """Make noisy speech with a second of digital silence, if it is long enough."""
    wave = noisy(speechlike(seconds), 5.0)
    wave[2 * RATE : 3 * RATE] = 0.0
    return 0.5 * wave / np.abs(wave).max()


@pytest.mark.parametrize(
    "seconds, windows",
    [
        (2.4, [0]),  # repeated until it lasts 9.6 s
        (12.3, [0, 1, 2]),
        (18.05, [0, 1, 2, 3, 4, 5, 6]),  # speechmos passes over the 8th and 9th
    ],
)
def test_ratings_are_those_of_speechmos(seconds, windows):
    pytest.importorskip("onnxruntime", reason="what speechmos computes with")
    from speechmos import dnsmos as published

    wave = recording(seconds)
    expected = published.run(wave, RATE)
    found = dnsmos.rate_speech(wave)
    assert dnsmos._window_starts(max(len(wave), int(9.6 * RATE))) == windows
    assert found._asdict() == pytest.approx(
        {name: expected[f"{name}_mos"] for name in found._fields}, abs=1e-4
    )


def test_ratings_of_a_signal_that_anyone_can_make():
    found = dnsmos.rate_speech(0.3 * noisy(speechlike(2.4), 10.0))
    assert found == pytest.approx((1.2036, 1.2320, 1.1932, 2.1954), abs=1e-3)


def test_noise_is_heard_in_the_background():
    clean = 0.3 * speechlike(2.4)
    quiet, loud = (dnsmos.rate_speech(noisy(clean, snr)) for snr in (40.0, 0.0))
    assert quiet.bak > loud.bak + 0.5


@pytest.mark.parametrize("channels, width", [(1, 4), (2, 16), (5, 3)])
def test_a_convolution_of_sparse_values_equals_one_of_all(channels, width):
    generator = np.random.default_rng(0)
    values = generator.standard_normal((7, 9, channels)).astype(np.float32)
    weights = generator.standard_normal((width, channels, 3, 3)).astype(np.float32)
    bias = generator.standard_normal(width).astype(np.float32)
    step = dnsmos._convolution(weights, bias, least=0.0)
    found = dnsmos._run([step], values)
    rectified = np.maximum(values, 0.0).transpose(2, 0, 1)
    for k in range(width):
        parts = [
            correlate(rectified[c], weights[k, c], "same") for c in range(channels)
        ]
        assert found[:, :, k] == pytest.approx(sum(parts) + bias[k], abs=1e-5)


def test_pooling_leaves_odd_rows_and_columns_out():
    values = np.arange(5 * 7, dtype=np.float32).reshape(5, 7, 1)
    found = dnsmos._run([None], values)
    assert found[:, :, 0].tolist() == [[8, 10, 12], [22, 24, 26]]


def test_what_is_not_installed_is_named_with_the_mend(monkeypatch):
    monkeypatch.setattr(dnsmos, "find_spec", lambda package: None)
    dnsmos._networks.cache_clear()
    with pytest.raises(UserError, match="'pip install speechmos onnx' or leave"):
        dnsmos.rate_speech(speechlike())


def test_it_works_where_nothing_can_be_kept(monkeypatch):
    import numba

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function '_scatter': no locator available")
        return compile_now(*arguments, **options)

    compile_now = numba.njit
    monkeypatch.setattr(numba, "njit", njit)
    dnsmos._compiled.cache_clear()
    values = np.ones((4, 4, 1), np.float32)
    weights = np.ones((1, 1, 3, 3), np.float32)
    step = dnsmos._convolution(weights, np.zeros(1, np.float32), least=0.0)
    assert dnsmos._run([step], values)[1, 1, 0] == 9.0
