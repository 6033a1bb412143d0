"""The measures agree with references, and have a reason where they have no value."""

from pathlib import Path

import numpy as np
import pytest

from espnet2_bspmpnet.data.audio import read_audio, resample, write_audio
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures.metrics import (
    METRICS,
    REFERENCE_FREE,
    check_metrics,
    score_pair,
    sdr,
    si_snr,
)
from tests.clips import CLEAN, MATLAB_TOLERANCES, NOISY, matlab_scores
from tests.speech import RATE, noisy, speechlike

MATLAB = matlab_scores()
REFERENCED = [name for name in METRICS if name not in REFERENCE_FREE]


def score_files(reference: Path, estimate: Path, metrics) -> dict[str, float]:
    clean, rate = read_audio(reference)
    values, reasons = score_pair(clean, read_audio(estimate)[0], rate, metrics)
    assert reasons == {}
    return values


@pytest.mark.parametrize("clip", MATLAB)
@pytest.mark.parametrize(
    "gain, subtype",
    [(1.0, "PCM_16"), (0.1, "FLOAT"), (32768.0, "FLOAT"), (0.5, "PCM_24")],
)
def test_composite_measures_agree_with_matlab_at_any_scale_and_sample_format(
    tmp_path, clip, gain, subtype
):
    paths = []
    for folder in (CLEAN, NOISY):
        wave, rate = read_audio(folder / f"{clip}.flac")
        paths.append(tmp_path / f"{folder.name}.wav")
        write_audio(paths[-1], gain * wave, rate, subtype)
    found = score_files(*paths, list(MATLAB_TOLERANCES))
    for name, tolerance in MATLAB_TOLERANCES.items():
        assert found[name] == pytest.approx(MATLAB[clip][name], abs=tolerance), name


def test_clean_against_clean_is_the_best_there_is():
    clean = noisy(speechlike(), 30.0)
    values, reasons = score_pair(clean, clean, RATE, REFERENCED)
    assert set(reasons) == {"SI_SNR", "SDR"}  # infinite
    assert values == pytest.approx(
        {
            "PESQ": 4.644,
            "CSIG": 5.0,
            "CBAK": 5.0,
            "COVL": 5.0,
            "SSNR": 35.0,
            "LLR": 0.0,
            "WSS": 0.0,
            "STOI": 100.0,
            "ESTOI": 100.0,
            "COSINE": 1.0,
        },
        abs=1e-3,
    )


def test_cosine_is_that_of_the_angle_between_the_signals():
    clean = np.tile([1.0, -1.0], 200)
    noise = np.tile([1.0, 1.0], 200)  # orthogonal, of the same norm
    values, _ = score_pair(clean, 3 * clean + 3 * noise, RATE, ["COSINE"])
    assert values["COSINE"] == pytest.approx(np.sqrt(0.5))


def test_si_snr_is_the_ratio_of_target_to_noise_it_was_made_with():
    clean = np.tile([1.0, -1.0, 1.0, -1.0], 100)
    noise = np.tile([1.0, 1.0, -1.0, -1.0], 100)  # no mean, orthogonal to clean
    assert si_snr(clean, 3 * clean + 0.3 * noise) == pytest.approx(20.0)
    assert si_snr(clean, 3 * clean + 0.3 * noise + 5.0) == pytest.approx(20.0)


def test_si_snr_equals_espnets_criterion():
    import torch
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss

    clean = speechlike()
    for snr in (-5.0, 5.0, 25.0):
        pair = [torch.from_numpy(wave)[None] for wave in (clean, noisy(clean, snr))]
        expected = -float(SISNRLoss()(*pair))
        assert si_snr(clean, noisy(clean, snr)) == pytest.approx(expected, abs=1e-3)


def test_sdr_allows_any_filter_of_512_taps():
    generator = np.random.default_rng(0)
    clean = generator.standard_normal(4000)
    estimate = np.convolve(clean, generator.standard_normal(300))[:4000]
    estimate += generator.standard_normal(4000)
    # Least squares over all shifts of the reference, written out.
    shifts = np.stack([np.pad(clean, (k, 511 - k)) for k in range(512)], axis=1)
    padded = np.pad(estimate, (0, 511))
    target = shifts @ np.linalg.lstsq(shifts, padded, rcond=None)[0]
    noise = padded - target
    expected = 10 * np.log10(target @ target / (noise @ noise))
    assert sdr(clean, estimate) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("snr", [-5.0, 20.0])
def test_sdr_equals_mir_evals_which_espnet_uses_and_ci_sdrs(snr):
    import torch
    from ci_sdr.pt import ci_sdr
    from mir_eval.separation import bss_eval_sources

    clean = noisy(speechlike(), 30.0)
    estimate = noisy(clean, snr, seed=1)
    ((expected,), *_) = bss_eval_sources(clean[None], estimate[None])
    assert sdr(clean, estimate) == pytest.approx(expected, abs=1e-6)
    pair = [torch.from_numpy(wave)[None] for wave in (clean, estimate)]
    assert sdr(clean, estimate) == pytest.approx(float(ci_sdr(*pair)), abs=1e-6)


def test_sdr_of_a_tone_has_a_value_though_many_filters_do():
    tone = np.sin(2 * np.pi * 0.01 * np.arange(8000))
    assert sdr(tone, noisy(tone, 10.0)) == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("rate", [16000, 10000, 44100])
def test_stoi_is_pystois(extended, rate):
    import pystoi

    clean = noisy(speechlike(rate=rate), 40.0)
    estimate = noisy(clean, 3.0, seed=1)
    expected = 100 * pystoi.stoi(clean, estimate, rate, extended=extended)
    name = "ESTOI" if extended else "STOI"
    values, _ = score_pair(clean, estimate, rate, [name])
    assert values[name] == pytest.approx(expected, abs=1e-6)


def test_less_noise_is_better_in_every_measure():
    clean = noisy(speechlike(), 40.0)
    worse, better = (score_pair(clean, noisy(clean, s, 1), RATE)[0] for s in (0, 25))
    assert list(worse) == list(METRICS)
    for name in METRICS:
        sign = -1 if name in ("LLR", "WSS") else 1
        assert sign * worse[name] < sign * better[name], name


@pytest.mark.parametrize("gain", [0.01, 20.0])
def test_a_gain_of_the_estimate_matters_to_few(gain):
    clean = noisy(speechlike(), 40.0)
    estimate = noisy(clean, 10.0)
    names = [name for name in REFERENCED if name not in ("SSNR", "CBAK")]
    expected, _ = score_pair(clean, estimate, RATE, names)
    found, _ = score_pair(clean, gain * estimate, RATE, names)
    assert found == pytest.approx(expected, abs=0.002)


def test_pesq_is_computed_once_for_all_that_need_it(monkeypatch):
    import pesq as package

    calls = []
    monkeypatch.setattr(package, "pesq", lambda *_: calls.append(1) or 2.0)
    clean = speechlike()
    score_pair(clean, noisy(clean, 10.0), RATE, ["PESQ", "CSIG", "CBAK", "COVL"])
    assert len(calls) == 1


@pytest.mark.parametrize(
    "change, metrics, reason",
    [
        (lambda x: (0 * x, x), " ".join(REFERENCED), "the reference is silent"),
        (lambda x: (x, 0 * x), " ".join(METRICS), "the estimate is silent"),
        (lambda x: (x, 0 * x + 0.5), " ".join(METRICS), "the estimate is silent"),
        (lambda x: (x[:0], x[:0]), "PESQ SDR", "the reference is silent"),
        (lambda x: (x, x), "SI_SNR SDR", "no difference from the reference"),
        (lambda x: (x[:1000], x[1000:2000]), "PESQ CSIG", "shorter than 0.25 s"),
        (lambda x: (x[:599], x[600:1199]), "LLR WSS SSNR", "shorter than 0.04 s"),
        (lambda x: (x[:5000], x[:5000]), "STOI ESTOI", "less than 0.4 s of speech"),
        (lambda x: (x[:200], x[200:400]), "SDR", "no longer than the filter"),
        (lambda x: (x, 100 * x), " ".join(sorted(REFERENCE_FREE)), "louder than full"),
    ],
)
def test_what_has_no_value_has_a_reason(change, metrics, reason):
    values, reasons = score_pair(*change(speechlike()), RATE, metrics.split())
    assert values == {}
    assert list(reasons) == metrics.split()
    assert all(reason in why for why in reasons.values())


def test_a_measure_without_a_value_leaves_the_others_theirs():
    clean = noisy(speechlike(), 30.0)[:3000]
    values, reasons = score_pair(clean, noisy(clean, 10.0), RATE)
    assert reasons.keys() == {"PESQ", "CSIG", "CBAK", "COVL", "STOI", "ESTOI"}
    assert values.keys() == METRICS.keys() - reasons.keys()


def test_dnsmos_needs_no_reference():
    clean = speechlike()
    values, reasons = score_pair(0 * clean, clean, RATE)
    assert values.keys() == REFERENCE_FREE
    assert set(reasons) == set(REFERENCED)


def test_speech_that_stops_early_is_too_short_for_stoi():
    clean = speechlike()
    clean[4000:] = 0
    _, reasons = score_pair(clean, noisy(clean, 10.0), RATE, ["STOI"])
    assert reasons == {"STOI": "less than 0.4 s of speech"}


def test_a_burst_in_a_quarter_second_has_no_utterance_for_pesq():
    clean = np.zeros(RATE // 4)
    clean[:400] = np.random.default_rng(0).standard_normal(400)
    values, reasons = score_pair(clean, noisy(clean, 20.0), RATE, ["PESQ"])
    assert (values, reasons) == ({}, {"PESQ": "no utterance detected"})


def test_other_rates_are_resampled_for_what_wants_16_khz():
    clean = noisy(speechlike(), 40.0)
    estimate = noisy(clean, 10.0, seed=1)
    names = ["PESQ", "CSIG", "LLR", "WSS", "DNSMOS_OVRL"]
    expected, _ = score_pair(clean, estimate, RATE, names)
    pair = (resample(wave, RATE, 48000) for wave in (clean, estimate))
    found, _ = score_pair(*pair, 48000, names)
    # The resampler's filters take the highest of the white noise away.
    assert found == pytest.approx(expected, rel=0.1)


def test_8_khz_is_scored_as_narrowband():
    from pesq import pesq

    clean = noisy(speechlike(rate=8000), 40.0)
    estimate = noisy(clean, 10.0, seed=1)
    values, reasons = score_pair(clean, estimate, 8000)
    assert reasons == {}
    assert values["PESQ"] == pytest.approx(pesq(8000, clean, estimate, "nb"), abs=1e-3)


def test_an_unknown_metric_is_named():
    with pytest.raises(UserError, match="unknown metric PESK; choose from PESQ CSIG"):
        check_metrics(["PESQ", "PESK"])
