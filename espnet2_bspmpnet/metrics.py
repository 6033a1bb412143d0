"""The measures of speech quality; one that has no value says why."""

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.atomic import write_text
from espnet2_bspmpnet.audio import list_audio, read_audio, resample
from espnet2_bspmpnet.datadir import check_same_ids, read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.parallel import parallel_map

PESQ_MODES = {8000: "nb", 16000: "wb"}
STOI_RATE = 10000
STOI_SAMPLES = 29 * 128 + 256  # 30 frames, which STOI correlates over
SDR_FILTER = 512
LENGTH_TOLERANCE = 0.1  # seconds
EXACT_DECIBELS = 140.0  # beyond the precision of float32 samples
DECIMALS = 6


class Undefined(Exception):
    """A measure has no value for this pair; the message is the reason."""


def pesq(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """PESQ (ITU-T P.862.2 wideband; P.862.1 narrowband at 8 kHz).

    Args:
        reference: clean samples [L].
        estimate: samples to judge [L].
        rate: samples per second; other rates than 8 and 16 kHz are resampled to 16.

    Raises:
        Undefined: too short, or no utterance is detected.
    """
    import pesq as package

    if rate not in PESQ_MODES:
        reference = resample(reference, rate, 16000)
        estimate = resample(estimate, rate, 16000)
        rate = 16000
    try:
        return package.pesq(rate, reference, estimate, PESQ_MODES[rate])
    except package.NoUtterancesError as error:
        raise Undefined("no utterance detected") from error
    except package.BufferTooShortError as error:
        raise Undefined("shorter than 0.25 s") from error
    except ValueError as error:
        # What the package raises where its delay estimate divides by zero.
        raise Undefined("its time alignment fails") from error


def stoi(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """STOI in percent.

    Args:
        reference: clean samples [L].
        estimate: samples to judge [L].
        rate: samples per second.

    Raises:
        Undefined: less than 0.4 s of speech.
    """
    import pystoi

    too_short = Undefined("less than 0.4 s of speech")
    if len(reference) * STOI_RATE < STOI_SAMPLES * rate:
        raise too_short
    with warnings.catch_warnings():
        # pystoi returns 1e-5 with a warning where it cannot measure.
        warnings.filterwarnings("error", message="Not enough STFT frames")
        try:
            return 100.0 * float(pystoi.stoi(reference, estimate, rate))
        except RuntimeWarning as warning:
            raise too_short from warning


def si_snr(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Scale-invariant signal-to-noise ratio in dB, of signals without their means.

    Args:
        reference: clean samples [L].
        estimate: samples to judge [L].
        rate: samples per second; of no influence.

    Raises:
        Undefined: the estimate is the reference, or has nothing of it.
    """
    reference = reference - reference.mean()
    estimate = estimate - estimate.mean()
    target = (estimate @ reference) / (reference @ reference) * reference
    noise = estimate - target
    return _decibels(float(target @ target), float(noise @ noise))


def sdr(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Signal-to-distortion ratio in dB (BSS Eval v3: any filter of 512 taps is free).

    Args:
        reference: clean samples [L].
        estimate: samples to judge [L].
        rate: samples per second; of no influence.

    Raises:
        Undefined: shorter than the filter, or the estimate is the reference.
    """
    import torch
    from ci_sdr.pt import ci_sdr

    if len(reference) <= SDR_FILTER:
        raise Undefined(f"no longer than the filter of {SDR_FILTER} samples")
    pair = [torch.from_numpy(wave)[None] for wave in (reference, estimate)]
    try:
        value = ci_sdr(*pair, compute_permutation=False, filter_length=SDR_FILTER)
    except torch.linalg.LinAlgError as error:
        raise Undefined("the reference has too few frequencies to filter") from error
    return _checked_decibels(float(value))


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return _checked_decibels(np.inf)
    if signal == 0.0:
        return _checked_decibels(-np.inf)
    return _checked_decibels(10.0 * np.log10(signal / noise))


def _checked_decibels(value: float) -> float:
    if not value < EXACT_DECIBELS:
        raise Undefined("no difference from the reference to measure")
    if value < -EXACT_DECIBELS:
        raise Undefined("nothing of the reference in the estimate")
    return float(value)


Metric = Callable[[np.ndarray, np.ndarray, int], float]
METRICS: Mapping[str, Metric] = {
    "PESQ": pesq,
    "STOI": stoi,
    "SI_SNR": si_snr,
    "SDR": sdr,
}


def check_metrics(names: Sequence[str]) -> None:
    """Make sure that each name is a metric.

    Args:
        names: e.g. ("PESQ", "STOI").

    Raises:
        UserError: an unknown name, or none at all.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(
            f"unknown metric {' '.join(unknown) or '(none)'}; "
            f"choose from {' '.join(METRICS)}"
        )


def score_pair(
    reference: np.ndarray,
    estimate: np.ndarray,
    rate: int,
    metrics: Sequence[str] = tuple(METRICS),
) -> tuple[dict[str, float], dict[str, str]]:
    """Measure one estimate; its scale and its sample format do not matter.

    Args:
        reference: clean samples [L].
        estimate: samples to judge [L].
        rate: samples per second of both.
        metrics: names out of METRICS.

    Returns:
        Metric -> value, and for those without a value metric -> reason.
    """
    assert reference.shape == estimate.shape, (reference.shape, estimate.shape)
    try:
        reference = _unit_peak(reference, "reference")
        estimate = _unit_peak(estimate, "estimate")
    except Undefined as undefined:
        return {}, dict.fromkeys(metrics, str(undefined))
    values, reasons = {}, {}
    for name in metrics:
        try:
            value = METRICS[name](reference, estimate, rate)
            if not np.isfinite(value):
                raise Undefined("not a finite number")
            values[name] = value
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons


def _unit_peak(wave: np.ndarray, which: str) -> np.ndarray:
    # A constant is as silent as zeros are.
    if len(wave) == 0 or np.ptp(wave) == 0.0:
        raise Undefined(f"the {which} is silent")
    wave = wave.astype(np.float64)
    return wave / np.abs(wave).max()


@dataclass(frozen=True)
class Statistics:
    """One metric over a set of utterances.

    Args:
        mean: None if no utterance has a value.
        std: standard deviation of the utterances; None below two values.
        count: utterances with a value.
        failures: utterances without.
    """

    mean: float | None
    std: float | None
    count: int
    failures: int


@dataclass(frozen=True)
class Summary:
    """All metrics over a set of utterances.

    Args:
        protocol: "standard": the reference is the clean speech.
        utterances: their number.
        metrics: metric -> its statistics.
    """

    protocol: str
    utterances: int
    metrics: dict[str, Statistics]

    @classmethod
    def read(cls, folder: str | Path) -> "Summary":
        """Read summary.json.

        Args:
            folder: where `score` wrote it.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = Path(folder) / "summary.json"
        if not path.is_file():
            raise UserError(f"{path}: no such file; score first (stage 8)")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            metrics = {
                name: Statistics(**values)
                for name, values in content.pop("metrics").items()
            }
            return cls(metrics=metrics, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: damaged; score again (stage 8)") from error


@dataclass(frozen=True)
class _Pair:
    utterance: str
    reference: str
    estimate: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    utterance: str
    values: dict[str, float]
    reasons: dict[str, str]


def _score_files(pair: _Pair) -> _Row:
    reference, rate = read_audio(pair.reference)
    estimate, estimate_rate = read_audio(pair.estimate)
    if estimate_rate != rate:
        logging.warning(
            "%s: resampled from %d Hz to the reference's %d Hz",
            pair.estimate,
            estimate_rate,
            rate,
        )
        estimate = resample(estimate, estimate_rate, rate)
    length = min(len(reference), len(estimate))
    difference = abs(len(reference) - len(estimate))
    if difference > LENGTH_TOLERANCE * rate:
        raise UserError(
            f"{pair.estimate}: {len(estimate)} samples, but its reference "
            f"{pair.reference} has {len(reference)}; they must be the same recording"
        )
    if difference:
        logging.warning("%s: %d samples cut off", pair.utterance, difference)
    values, reasons = score_pair(
        reference[:length], estimate[:length], rate, pair.metrics
    )
    rounded = {name: round(value, DECIMALS) for name, value in values.items()}
    return _Row(pair.utterance, rounded, reasons)


def score(
    reference: Mapping[str, str | Path],
    estimate: Mapping[str, str | Path],
    output: str | Path,
    metrics: Sequence[str] = tuple(METRICS),
    nj: int = 1,
) -> Summary:
    """Score files against references; write utterances.tsv and summary.json.

    Args:
        reference: utterance -> clean file.
        estimate: utterance -> file to judge; the same utterances.
        output: folder to write to.
        metrics: names out of METRICS.
        nj: number of processes.

    Returns:
        What summary.json holds.

    Raises:
        UserError: utterances that differ, bad files, lengths that differ by more
            than 0.1 s.
    """
    check_metrics(metrics)
    check_same_ids("the references", reference, "the estimates", estimate)
    pairs = [
        _Pair(name, str(reference[name]), str(estimate[name]), tuple(metrics))
        for name in sorted(reference)
    ]
    rows = parallel_map(_score_files, pairs, nj, f"scoring into {output}")
    summary = Summary(
        "standard", len(rows), {name: _statistics(rows, name) for name in metrics}
    )
    output = Path(output)
    (output / "summary.json").unlink(missing_ok=True)
    write_text(output / "utterances.tsv", _table(rows, metrics))
    write_text(output / "summary.json", json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def _statistics(rows: Sequence[_Row], metric: str) -> Statistics:
    values = np.array([row.values[metric] for row in rows if metric in row.values])
    return Statistics(
        mean=float(values.mean()) if len(values) else None,
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        count=len(values),
        failures=len(rows) - len(values),
    )


def _table(rows: Sequence[_Row], metrics: Sequence[str]) -> str:
    lines = ["\t".join(["utt", *metrics, "reason"])]
    for row in rows:
        cells = [
            f"{row.values[name]:.{DECIMALS}f}" if name in row.values else ""
            for name in metrics
        ]
        reason = "; ".join(f"{name}: {why}" for name, why in row.reasons.items())
        lines.append("\t".join([row.utterance, *cells, reason]))
    return "\n".join(lines) + "\n"


def named_audio(path: str | Path) -> dict[str, str | Path]:
    """Read a folder of audio files, or a list of them such as wav.scp.

    Args:
        path: folder or list.

    Returns:
        Utterance -> file.

    Raises:
        UserError: neither the one nor the other, or an empty one.
    """
    path = Path(path)
    return read_scp(path) if path.is_file() else list_audio(path)
