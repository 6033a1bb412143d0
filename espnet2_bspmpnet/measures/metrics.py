"""The measures of speech quality; one that has no value says why.

Everywhere ``reference`` are the clean samples [L] and ``estimate`` those to judge [L].
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.measures import composite, dnsmos
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

PESQ_MODES = {8000: "nb", 16000: "wb"}
STOI_RATE = 10000
STOI_FRAMES = 30  # which it correlates over
STOI_SAMPLES = (STOI_FRAMES - 1) * 128 + 256
STOI_CLIPPING = 1.0 + 10.0 ** (15.0 / 20.0)
SDR_FILTER = 512
EXACT_DECIBELS = 140.0  # beyond the precision of float32 samples
EPS = np.finfo(np.float64).eps


class Undefined(Exception):
    """A measure has no value for this pair; the message is the reason."""


def pesq(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """PESQ (ITU-T P.862.2 wideband at 16 kHz, P.862.1 narrowband at 8 kHz).

    It is `Undefined` for what is too short, or where no utterance is detected.
    """
    import pesq as package

    try:
        return package.pesq(rate, reference, estimate, PESQ_MODES[rate])
    except package.NoUtterancesError as error:
        raise Undefined("no utterance detected") from error
    except package.BufferTooShortError as error:
        raise Undefined("shorter than 0.25 s") from error
    except ValueError as error:
        # What the package raises where its delay estimate divides by zero.
        raise Undefined("its time alignment fails") from error


def si_snr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-noise ratio in dB, of signals without their means.

    It is `Undefined` where the estimate is the reference, or has nothing of it.
    """
    reference = reference - reference.mean()
    estimate = estimate - estimate.mean()
    target = (estimate @ reference) / (reference @ reference) * reference
    return _decibels(target, estimate - target)


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio in dB (BSS Eval v3: any filter of 512 taps is free).

    The same value as ci_sdr's and mir_eval's, which take several times as long.
    It is `Undefined` below the filter's length, or where the estimate is the reference.
    """
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.linalg import LinAlgError, cho_factor, cho_solve, toeplitz

    if len(reference) <= SDR_FILTER:
        raise Undefined(f"no longer than the filter of {SDR_FILTER} samples")
    filtered_length = len(reference) + SDR_FILTER - 1
    size = next_fast_len(filtered_length, real=True)
    ours, theirs = rfft(reference, size), rfft(estimate, size)
    covariance = toeplitz(irfft(np.abs(ours) ** 2, size)[:SDR_FILTER])
    correlation = irfft(ours.conj() * theirs, size)[:SDR_FILTER]
    try:
        taps = cho_solve(cho_factor(covariance), correlation)
    except LinAlgError:
        # A reference of few frequencies: many filters do, and the shortest is taken.
        taps = np.linalg.lstsq(covariance, correlation)[0]
    target = irfft(ours * rfft(taps, size), size)[:filtered_length]
    return _decibels(target, np.pad(estimate, (0, SDR_FILTER - 1)) - target)


def _decibels(target: np.ndarray, noise: np.ndarray) -> float:
    signal_energy, noise_energy = float(target @ target), float(noise @ noise)
    limit = 10.0 ** (EXACT_DECIBELS / 10.0)
    if signal_energy >= limit * noise_energy:
        raise Undefined("no difference from the reference to measure")
    if noise_energy >= limit * signal_energy:
        raise Undefined("nothing of the reference in the estimate")
    return 10.0 * float(np.log10(signal_energy / noise_energy))


def cosine(reference: np.ndarray, estimate: np.ndarray) -> float:
    """The paper's "Cosine": <x, y> / (||x|| ||y||); 1 for clean against clean."""
    norms = np.linalg.norm(reference) * np.linalg.norm(estimate)
    return float(reference @ estimate / norms)


def stoi_segments(
    reference: np.ndarray, estimate: np.ndarray, rate: int
) -> list[np.ndarray]:
    """Cut the envelopes of 15 bands into segments [J, 15, 30], without pauses.

    STOI and ESTOI compare these; pystoi, most of whose time it takes, would cut them for
    each of the two.  They are `Undefined` for less than 0.4 s of speech.
    """
    from pystoi import utils
    from pystoi.stoi import DYN_RANGE, N_FRAME, NFFT, OBM

    too_short = Undefined("less than 0.4 s of speech")
    if len(reference) * STOI_RATE < STOI_SAMPLES * rate:
        raise too_short
    if rate != STOI_RATE:
        reference = utils.resample_oct(reference, STOI_RATE, rate)
        estimate = utils.resample_oct(estimate, STOI_RATE, rate)
    spoken = utils.remove_silent_frames(
        reference, estimate, DYN_RANGE, N_FRAME, N_FRAME // 2
    )
    segments = []
    for wave in spoken:
        spectra = utils.stft(wave, N_FRAME, NFFT, overlap=2)  # [T, 257]
        if len(spectra) < STOI_FRAMES:
            raise too_short
        bands = np.sqrt(np.abs(spectra) ** 2 @ OBM.T)  # [T, 15]
        segments.append(np.lib.stride_tricks.sliding_window_view(bands, STOI_FRAMES, 0))
    return segments


def stoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """STOI in percent (Taal et al. 2011) of `stoi_segments` [J, 15, 30]."""
    norms = [np.linalg.norm(x, axis=2, keepdims=True) for x in (reference, estimate)]
    levelled = estimate * (norms[0] / (norms[1] + EPS))
    clipped = np.minimum(levelled, reference * STOI_CLIPPING)
    products = _normalised(reference, axis=2) * _normalised(clipped, axis=2)
    return 100.0 * float(products.sum(axis=2).mean())


def estoi(reference: np.ndarray, estimate: np.ndarray) -> float:
    """ESTOI in percent (Jensen and Taal 2016) of `stoi_segments` [J, 15, 30]."""
    segments = (_normalised(x, axis=2) for x in (reference, estimate))
    ours, theirs = (_normalised(x, axis=1) for x in segments)
    return 100.0 * float((ours * theirs).sum(axis=1).mean())


def _normalised(values: np.ndarray, axis: int) -> np.ndarray:
    values = values - values.mean(axis=axis, keepdims=True)
    return values / (np.linalg.norm(values, axis=axis, keepdims=True) + EPS)


class Pair:
    """A reference and an estimate, with what several measures need computed once.

    Any attribute raises `Undefined` where a signal is silent or too short for it.
    """

    def __init__(self, reference: np.ndarray, estimate: np.ndarray, rate: int):
        assert reference.shape == estimate.shape, (reference.shape, estimate.shape)
        self.reference = reference.astype(np.float64)
        self.estimate = estimate.astype(np.float64)
        self.rate = rate

    @cached_property
    def audible(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as they are [L], and neither silent."""
        reference = _audible(self.reference, "reference")
        return reference, _audible(self.estimate, "estimate")

    @cached_property
    def levelled(self) -> list[np.ndarray]:
        """Both with a peak of one [L], for measures that no gain changes."""
        return [_unit_peak(wave) for wave in self.audible]

    @cached_property
    def telephone(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Both, and the rate of 8 or 16 kHz that PESQ and the distances want."""
        if self.rate in PESQ_MODES:
            return *self.audible, self.rate
        return *(resample(x, self.rate, SAMPLE_RATE) for x in self.audible), SAMPLE_RATE

    @cached_property
    def pesq(self) -> float:
        """PESQ."""
        reference, estimate, rate = self.telephone
        return pesq(_unit_peak(reference), _unit_peak(estimate), rate)

    @cached_property
    def distances(self) -> composite.Distances:
        """LLR, WSS and segmental SNR, which depends on the true levels."""
        reference, estimate, rate = self.telephone
        if len(reference) < composite.shortest(rate):
            raise Undefined("shorter than 0.04 s")
        return composite.distances(reference, estimate, rate)

    @cached_property
    def segments(self) -> list[np.ndarray]:
        """What STOI and ESTOI compare [J, 15, 30]."""
        return stoi_segments(*self.levelled, self.rate)

    @cached_property
    def ratings(self) -> dnsmos.Ratings:
        """DNSMOS of the estimate at its own level, which listeners hear, too."""
        estimate = _audible(self.estimate, "estimate")
        if np.abs(estimate).max() > 1.0:
            raise Undefined("louder than full scale")
        estimate = resample(estimate, self.rate, SAMPLE_RATE)
        return dnsmos.rate_speech(np.clip(estimate, -1.0, 1.0))


def _audible(wave: np.ndarray, which: str) -> np.ndarray:
    # A constant is as silent as zeros are.
    if len(wave) == 0 or np.ptp(wave) == 0.0:
        raise Undefined(f"the {which} is silent")
    return wave


def _unit_peak(wave: np.ndarray) -> np.ndarray:
    return wave / np.abs(wave).max()


# In the order of the tables' columns.
METRICS: Mapping[str, Callable[[Pair], float]] = {
    "PESQ": lambda pair: pair.pesq,
    "CSIG": lambda pair: composite.csig(pair.pesq, pair.distances),
    "CBAK": lambda pair: composite.cbak(pair.pesq, pair.distances),
    "COVL": lambda pair: composite.covl(pair.pesq, pair.distances),
    "SSNR": lambda pair: pair.distances.ssnr,
    "LLR": lambda pair: pair.distances.llr,
    "WSS": lambda pair: pair.distances.wss,
    "STOI": lambda pair: stoi(*pair.segments),
    "ESTOI": lambda pair: estoi(*pair.segments),
    "SI_SNR": lambda pair: si_snr(*pair.levelled),
    "SDR": lambda pair: sdr(*pair.levelled),
    "COSINE": lambda pair: cosine(*pair.levelled),
    "DNSMOS_OVRL": lambda pair: pair.ratings.ovrl,
    "DNSMOS_SIG": lambda pair: pair.ratings.sig,
    "DNSMOS_BAK": lambda pair: pair.ratings.bak,
    "DNSMOS_P808": lambda pair: pair.ratings.p808,
}
# Those that judge the estimate alone.
REFERENCE_FREE = frozenset(name for name in METRICS if name.startswith("DNSMOS"))


def check_metrics(names: Sequence[str]) -> None:
    """Raise a UserError for an unknown metric, or none at all."""
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
    """Measure one estimate; one measure's failure leaves the others as they are.

    A gain of both signals changes nothing but DNSMOS, which judges the level, too.  A
    gain of the estimate alone changes SSNR and, a little, CBAK besides: these compare
    the signals sample by sample.

    Returns:
        Metric (names out of METRICS) -> value, and for those without one -> reason.

    Raises:
        MachineError: DNSMOS is asked for, but not installed.
    """
    pair = Pair(reference, estimate, rate)
    values, reasons = {}, {}
    for name in metrics:
        try:
            value = METRICS[name](pair)
            if not np.isfinite(value):
                raise Undefined("not a finite number")
            values[name] = value
        except Undefined as undefined:
            reasons[name] = str(undefined)
    return values, reasons
