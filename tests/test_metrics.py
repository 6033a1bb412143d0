"""The measures agree with references, and have a reason where they have no value."""

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.metrics import (
    METRICS,
    Summary,
    named_audio,
    score,
    score_pair,
    sdr,
    si_snr,
)

SHARED = Path(__file__).parents[2] / "shared"
REAL = SHARED / "audio" / "vbdemand" / "test"
REFERENCE = SHARED / "reference" / "vbdemand_noisy_matlab.tsv"
RATE = 16000


def speechlike(seconds: float = 2.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Make syllables: harmonics of a moving pitch, four bursts a second."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase) / k for k in range(1, 25))
    return 0.1 * voice * np.clip(np.sin(2 * np.pi * 2 * time), 0, None)


def noisy(clean: np.ndarray, snr: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    gain = np.sqrt(np.mean(clean**2) / np.mean(noise**2) / 10 ** (snr / 10))
    return clean + gain * noise


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["utt"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture
def folders(tmp_path) -> Path:
    """Make three short references and their noisy versions."""
    for seed in range(3):
        clean = speechlike(seed=seed)
        for part, wave in (("clean", clean), ("noisy", noisy(clean, 10.0, seed))):
            (tmp_path / part).mkdir(exist_ok=True)
            soundfile.write(tmp_path / part / f"u{seed}.wav", wave, RATE)
    return tmp_path


def test_pesq_and_stoi_agree_with_the_matlab_reference(tmp_path):
    if not REFERENCE.is_file() or not REAL.is_dir():
        pytest.skip("the real recordings and their MATLAB scores are not here")
    clean, estimate = named_audio(REAL / "clean"), named_audio(REAL / "noisy")
    score(clean, estimate, tmp_path, ("PESQ", "STOI"))
    ours, theirs = rows(tmp_path / "utterances.tsv"), rows(REFERENCE)
    assert ours.keys() == theirs.keys()
    for utterance, expected in theirs.items():
        found = ours[utterance]
        assert float(found["PESQ"]) == pytest.approx(float(expected["PESQ"]), abs=0.002)
        assert float(found["STOI"]) == pytest.approx(
            100 * float(expected["STOI"]), abs=0.5
        )


def test_si_snr_is_the_ratio_of_target_to_noise_it_was_made_with():
    clean = np.tile([1.0, -1.0, 1.0, -1.0], 100)
    noise = np.tile([1.0, 1.0, -1.0, -1.0], 100)  # no mean, orthogonal to clean
    assert si_snr(clean, 3 * clean + 0.3 * noise, RATE) == pytest.approx(20.0)
    assert si_snr(clean, 3 * clean + 0.3 * noise + 5.0, RATE) == pytest.approx(20.0)


def test_si_snr_equals_espnets_criterion():
    pytest.importorskip("fast_bss_eval", reason="SISNRLoss needs fast_bss_eval")
    import torch
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss

    clean = speechlike()
    for snr in (-5.0, 5.0, 25.0):
        pair = [torch.from_numpy(wave)[None] for wave in (clean, noisy(clean, snr))]
        expected = -float(SISNRLoss()(*pair))
        assert si_snr(clean, noisy(clean, snr), RATE) == pytest.approx(
            expected, abs=1e-3
        )


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
    assert sdr(clean, estimate, RATE) == pytest.approx(expected, abs=1e-3)


def test_less_noise_is_better_in_every_measure():
    clean = speechlike()
    worse, better = (score_pair(clean, noisy(clean, snr), RATE)[0] for snr in (0, 20))
    assert list(worse) == list(METRICS)
    assert all(worse[name] < better[name] for name in METRICS)


@pytest.mark.parametrize("gain", [0.01, 20.0])
def test_scale_does_not_matter(gain):
    clean = speechlike()
    expected, _ = score_pair(clean, noisy(clean, 10.0), RATE)
    found, _ = score_pair(clean / gain, gain * noisy(clean, 10.0), RATE)
    assert found == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_sample_format_does_not_matter(folders, subtype):
    (folders / "other").mkdir()
    for path in (folders / "noisy").iterdir():
        wave, rate = soundfile.read(path)
        soundfile.write(folders / "other" / path.name, wave, rate, subtype)
    clean = named_audio(folders / "clean")
    metrics = ("PESQ", "SI_SNR")
    expected, found = (
        score(clean, named_audio(folders / part), folders / "scores", metrics)
        for part in ("noisy", "other")
    )
    assert found == expected


@pytest.mark.parametrize(
    "change, metrics, reason",
    [
        (lambda x: (0 * x, x), "PESQ STOI SI_SNR SDR", "the reference is silent"),
        (lambda x: (x, 0 * x), "PESQ STOI SI_SNR SDR", "the estimate is silent"),
        (lambda x: (x, 0 * x + 0.5), "PESQ SI_SNR", "the estimate is silent"),
        (lambda x: (x, x), "SI_SNR SDR", "no difference from the reference"),
        (lambda x: (x[:1000], x[1000:2000]), "PESQ", "shorter than 0.25 s"),
        (lambda x: (x[:5000], x[:5000]), "STOI", "less than 0.4 s of speech"),
        (lambda x: (x[:200], x[200:400]), "SDR", "no longer than the filter"),
    ],
)
def test_what_has_no_value_has_a_reason(change, metrics, reason):
    values, reasons = score_pair(*change(speechlike()), RATE, metrics.split())
    assert values == {}
    assert list(reasons) == metrics.split()
    assert all(reason in why for why in reasons.values())


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


def test_other_rates_are_resampled_for_pesq():
    clean = speechlike(rate=48000)
    values, _ = score_pair(clean, noisy(clean, 10.0), 48000, ["PESQ", "STOI"])
    assert 1.0 < values["PESQ"] < 4.7 and 0 < values["STOI"] < 100


def test_scores_are_written_row_by_row_with_a_summary(folders):
    soundfile.write(folders / "noisy" / "u1.wav", np.zeros(2 * RATE), RATE)
    summary = score(
        named_audio(folders / "clean"),
        named_audio(folders / "noisy"),
        folders / "scores",
        ("STOI", "SI_SNR"),
    )
    table = rows(folders / "scores" / "utterances.tsv")
    assert list(table) == ["u0", "u1", "u2"]
    assert table["u1"] == {
        "utt": "u1",
        "STOI": "",
        "SI_SNR": "",
        "reason": "STOI: the estimate is silent; SI_SNR: the estimate is silent",
    }
    assert table["u0"]["reason"] == ""
    values = [float(table[name]["SI_SNR"]) for name in ("u0", "u2")]
    statistics = summary.metrics["SI_SNR"]
    assert statistics.mean == pytest.approx(np.mean(values))
    assert statistics.std == pytest.approx(np.std(values, ddof=1))
    assert (statistics.count, statistics.failures) == (2, 1)
    assert Summary.read(folders / "scores") == summary


def test_one_process_and_two_give_the_same_files(folders):
    for nj in (1, 2):
        score(
            named_audio(folders / "clean"),
            named_audio(folders / "noisy"),
            folders / f"nj{nj}",
            nj=nj,
        )
    for name in ("utterances.tsv", "summary.json"):
        assert (folders / "nj1" / name).read_text() == (
            folders / "nj2" / name
        ).read_text()


def test_a_list_serves_as_well_as_a_folder(folders):
    files = sorted((folders / "clean").iterdir())
    scp = folders / "wav.scp"
    scp.write_text("".join(f"{path.stem} {path}\n" for path in files))
    assert named_audio(scp) == {
        name: str(path) for name, path in named_audio(folders / "clean").items()
    }


def test_a_small_difference_in_length_is_cut_with_a_warning(folders, caplog):
    wave, _ = soundfile.read(folders / "noisy" / "u1.wav")
    soundfile.write(folders / "noisy" / "u1.wav", wave[:-1600], RATE)
    with caplog.at_level(logging.WARNING):
        score_folders(folders)
    assert "u1: 1600 samples cut off" in caplog.text
    soundfile.write(folders / "noisy" / "u1.wav", wave[:-1601], RATE)
    with pytest.raises(UserError, match="noisy/u1.wav: 30399 samples, but .* 32000"):
        score_folders(folders)


def test_another_rate_is_resampled_with_a_warning(folders, caplog):
    clean = speechlike(rate=32000, seed=1)
    soundfile.write(folders / "noisy" / "u1.wav", clean, 32000)
    with caplog.at_level(logging.WARNING):
        summary = score_folders(folders)
    assert "u1.wav: resampled from 32000 Hz to the reference's 16000" in caplog.text
    assert summary.metrics["SI_SNR"].mean > 10


def test_names_without_partner_are_listed(folders):
    (folders / "noisy" / "u1.wav").rename(folders / "noisy" / "u9.wav")
    with pytest.raises(UserError, match="not in the estimates: u1; .* references: u9"):
        score_folders(folders)
    assert not (folders / "scores").exists()


def test_an_unknown_metric_is_named(folders):
    with pytest.raises(UserError, match="unknown metric PESK; choose from PESQ STOI"):
        score_folders(folders, ("PESQ", "PESK"))


def test_a_missing_or_damaged_summary_is_named(tmp_path):
    with pytest.raises(UserError, match="summary.json: no such file; score first"):
        Summary.read(tmp_path)
    (tmp_path / "summary.json").write_text('{"metrics": {}')
    with pytest.raises(UserError, match="summary.json: damaged; score again"):
        Summary.read(tmp_path)


def score_folders(folders: Path, metrics=("SI_SNR",)) -> Summary:
    clean, estimate = (named_audio(folders / part) for part in ("clean", "noisy"))
    return score(clean, estimate, folders / "scores", metrics)
