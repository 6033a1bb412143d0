"""The composite measures agree with their definition, read frame by frame."""

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz, toeplitz

from espnet2_bspmpnet.measures.composite import (
    BANDS,
    Distances,
    cbak,
    covl,
    csig,
    distances,
    shortest,
)
from tests.speech import RATE, noisy, speechlike

EQUAL = Distances(llr=0.0, wss=0.0, ssnr=35.0)


def frame_pairs(reference, estimate, rate):
    """Cut windowed frames out of both, one after the other."""
    length = 3 * rate // 100
    hop = length // 4
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, length + 1) / (length + 1))
    for start in range(0, hop * int(len(reference) / hop - 4), hop):
        part = slice(start, start + length)
        yield window * reference[part], window * estimate[part]


def llr_of(reference, estimate, order):
    correlations = []
    for frame in (reference, estimate):
        full = np.correlate(frame, frame, "full")
        correlations.append(full[len(frame) - 1 :][: order + 1])
    matrix = toeplitz(correlations[0])
    energies = []
    for r in correlations:
        predictor = np.append(1.0, -solve_toeplitz(r[:-1], r[1:]))
        energies.append(predictor @ matrix @ predictor)
    return np.log(energies[1] / energies[0])


def wss_of(reference, estimate, rate):
    size = 1024 if rate == 16000 else 512
    slopes, weights = [], []
    for frame in (reference, estimate):
        power = np.abs(np.fft.fft(frame, size)) ** 2
        energy = []
        for centre, width in BANDS:
            bins = np.arange(size // 2)
            distance = (bins - np.floor(centre * size / rate)) / (width * size / rate)
            weight = np.exp(-11 * distance**2 + np.log(70 / width))
            weight[weight <= np.exp(-30 / (2 * 2.303))] = 0
            energy.append(10 * np.log10(max(weight @ power[: size // 2], 1e-10)))
        slope = [energy[i + 1] - energy[i] for i in range(24)]
        weight = []
        for i in range(24):
            n = i
            if slope[i] > 0:
                while n < 24 and slope[n] > 0:
                    n += 1
                peak = energy[n - 1]
            else:
                while n >= 0 and slope[n] <= 0:
                    n -= 1
                peak = energy[n + 1]
            weight.append(20 / (20 + max(energy) - energy[i]) / (1 + peak - energy[i]))
        slopes.append(np.array(slope))
        weights.append(np.array(weight))
    weight = (weights[0] + weights[1]) / 2
    return weight @ (slopes[0] - slopes[1]) ** 2 / weight.sum()


def best(values):
    values = sorted(values)
    return np.mean(values[: round(0.95 * len(values))])


@pytest.mark.parametrize("rate, order", [(16000, 16), (8000, 10)])
def test_distances_are_those_of_the_definition(rate, order):
    clean = noisy(speechlike(1.0, rate), 30.0)
    estimate = 0.8 * noisy(clean, 10.0)
    scale = 32768 / np.abs(clean).max()
    pairs = list(frame_pairs(scale * clean, scale * estimate, rate))
    snr = [
        10 * np.log10(np.sum(ours**2) / np.sum((ours - theirs) ** 2) + 1e-12)
        for ours, theirs in pairs
    ]
    found = distances(clean, estimate, rate)
    assert found.llr == pytest.approx(
        best(llr_of(*pair, order) for pair in pairs), rel=1e-6
    )
    assert found.wss == pytest.approx(best(wss_of(*p, rate) for p in pairs), rel=1e-6)
    assert found.ssnr == pytest.approx(np.clip(snr, -10, 35).mean(), rel=1e-6)


def test_equal_signals_have_no_distance():
    clean = noisy(speechlike(), 30.0)
    assert distances(clean, clean, RATE) == pytest.approx(EQUAL, abs=1e-9)


def test_ratings_are_hu_and_loizous_regressions():
    found = Distances(llr=0.5, wss=30.0, ssnr=5.0)
    assert csig(2.0, found) == pytest.approx(3.093 - 0.5145 + 1.206 - 0.27)
    assert cbak(2.0, found) == pytest.approx(1.634 + 0.956 - 0.21 + 0.315)
    assert covl(2.0, found) == pytest.approx(1.594 + 1.61 - 0.256 - 0.21)


def test_ratings_stay_on_their_scale():
    far = Distances(llr=5.0, wss=200.0, ssnr=-10.0)
    assert [rate(4.64, EQUAL) for rate in (csig, cbak, covl)] == [5.0, 5.0, 5.0]
    assert [rate(1.0, far) for rate in (csig, cbak, covl)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("gain", [1e-4, 3e4])
def test_a_gain_of_both_changes_nothing(gain):
    clean = speechlike()
    estimate = noisy(clean, 10.0)
    expected = distances(clean, estimate, RATE)
    found = distances(gain * clean, gain * estimate, RATE)
    assert found._asdict() == pytest.approx(expected._asdict(), rel=1e-6)


def test_only_the_segmental_snr_hears_a_gain_of_the_estimate():
    clean = noisy(speechlike(), 40.0)
    estimate = noisy(clean, 30.0, seed=1)
    expected, found = (distances(clean, g * estimate, RATE) for g in (1.0, 0.5))
    assert found[:2] == pytest.approx(expected[:2], rel=1e-6)
    # Half the signal is missing: 6 dB where there is speech.
    assert found.ssnr < expected.ssnr - 5


def test_digital_silence_in_a_recording_does_no_harm():
    clean = speechlike()
    clean[8000:16000] = 0.0
    estimate = noisy(clean, 10.0)
    estimate[12000:16000] = 0.0
    assert np.isfinite(distances(clean, estimate, RATE)).all()


def test_the_shortest_signal_has_one_frame():
    clean = noisy(speechlike(), 20.0)[: shortest(RATE)]
    assert len(clean) == 600
    assert distances(clean, clean, RATE) == pytest.approx(EQUAL, abs=1e-9)
    with pytest.raises(AssertionError, match="599"):
        distances(clean[1:], clean[1:], RATE)
