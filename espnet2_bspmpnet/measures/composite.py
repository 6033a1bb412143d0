"""CSIG, CBAK and COVL, and the distances that they combine with PESQ.

Y. Hu and P. Loizou, "Evaluation of objective quality measures for speech enhancement"
(IEEE TASLP 16(1), 2008); frames, bands and constants are those of their composite.m.
"""

from typing import NamedTuple

import numpy as np

FRAME_SECONDS = 0.03
FRAMES_EACH = 4  # frames overlap by three quarters
KEPT = 0.95  # of the frames, the best ones: LLR and WSS leave out the worst
LPC_ORDER = 16
NARROWBAND_LPC_ORDER = 10  # below 10 kHz
SNR_RANGE = (-10.0, 35.0)  # dB of each frame
RATING_RANGE = (1.0, 5.0)
INT16 = 32768.0
ROUNDING = 1.0 / 12.0 / 2.0**8  # mean square of the errors of rounding to 20 bits
EPS = np.finfo(np.float64).eps

# Critical bands of WSS: centre frequency, bandwidth (Hz).
BANDS = (
    (50.0, 70.0), (120.0, 70.0), (190.0, 70.0), (260.0, 70.0),
    (330.0, 70.0), (400.0, 70.0), (470.0, 70.0), (540.0, 77.3724),
    (617.372, 86.0056), (703.378, 95.3398), (798.717, 105.411), (904.128, 116.256),
    (1020.38, 127.914), (1148.30, 140.423), (1288.72, 153.823), (1442.54, 168.154),
    (1610.70, 183.457), (1794.16, 199.776), (1993.93, 217.153), (2211.08, 235.631),
    (2446.71, 255.255), (2701.97, 276.072), (2978.04, 298.126), (3276.17, 321.465),
    (3597.63, 346.136),
)  # fmt: skip
BAND_FLOOR = np.exp(-30.0 / (2.0 * 2.303))  # -30 dB: weights below it are zero
ENERGY_FLOOR = 1e-10
LOUDEST_WEIGHT = 20.0  # of slopes below the loudest band
PEAK_WEIGHT = 1.0  # of slopes below the nearest peak


def _window(length: int) -> np.ndarray:
    return np.hanning(length + 2)[1:-1]


def _frame_and_hop(rate: int) -> tuple[int, int]:
    length = round(FRAME_SECONDS * rate)
    return length, length // FRAMES_EACH


def _frames(wave: np.ndarray, rate: int) -> np.ndarray:
    # Windowed frames [N, length]; the original leaves the last whole frame out.
    length, hop = _frame_and_hop(rate)
    count = int(len(wave) / hop - length / hop)
    frames = np.lib.stride_tricks.sliding_window_view(wave, length)[::hop][:count]
    return frames * _window(length)


def _power(frames: np.ndarray) -> np.ndarray:
    from scipy.fft import rfft

    size = 2 ** int(np.ceil(np.log2(2 * frames.shape[1])))
    spectrum = rfft(frames, size)
    return spectrum.real**2 + spectrum.imag**2


def _autocorrelation(power: np.ndarray, order: int) -> np.ndarray:
    # The inverse transform's first lags only [N, order + 1]; the power spectrum is
    # of twice the frame's length, so that they do not wrap.
    bins = power.shape[1]
    phase = np.pi / (bins - 1) * np.outer(np.arange(bins), np.arange(order + 1))
    twice = np.where((np.arange(bins) == 0) | (np.arange(bins) == bins - 1), 1.0, 2.0)
    return power @ (twice[:, None] * np.cos(phase)) / (2.0 * (bins - 1))


def _predictors(autocorrelation: np.ndarray) -> np.ndarray:
    # Levinson and Durbin's recursion over all frames [N, order + 1] at once.
    predictors = np.zeros_like(autocorrelation)
    predictors[:, 0] = 1.0
    error = autocorrelation[:, 0].copy()
    for order in range(1, autocorrelation.shape[1]):
        before = predictors[:, :order]
        ahead = autocorrelation[:, order:0:-1]
        reflection = -(before * ahead).sum(axis=1) / error
        predictors[:, 1 : order + 1] += (
            reflection[:, None] * predictors[:, order - 1 :: -1][:, :order]
        )
        error *= 1.0 - reflection**2
    return predictors


def _llr(reference: np.ndarray, estimate: np.ndarray, rate: int) -> np.ndarray:
    # log of the reference's energy behind the estimate's predictor, over the same
    # behind its own; from power spectra [N, bins].
    order = LPC_ORDER if rate >= 10000 else NARROWBAND_LPC_ORDER
    ours, theirs = (_autocorrelation(power, order) for power in (reference, estimate))
    # Where there is digital silence, or what can be predicted without an error, the
    # ratio would be one of float64's rounding errors: those of 20 bits, less than any
    # recording's noise, take their place.
    window = _window(_frame_and_hop(rate)[0])
    for autocorrelation in (ours, theirs):
        autocorrelation[:, 0] += ROUNDING * (window @ window)
    lags = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    covariance = ours[:, lags]  # [N, order + 1, order + 1]
    behind_theirs, behind_ours = (
        ((a[:, None] @ covariance)[:, 0] * a).sum(axis=1)
        for a in (_predictors(theirs), _predictors(ours))
    )
    return np.log(behind_theirs / behind_ours)


def _band_weights(bins: int, rate: int) -> np.ndarray:
    centre, width = 2.0 * bins / rate * np.array(BANDS).T  # in bins
    distance = (np.arange(bins)[:, None] - np.floor(centre)) / width
    weights = np.exp(-11.0 * distance**2) * (BANDS[0][1] / np.array(BANDS)[:, 1])
    return np.where(weights > BAND_FLOOR, weights, 0.0)


def _nearest_peak(energy: np.ndarray, slope: np.ndarray) -> np.ndarray:
    # Energy of the peak that each slope leads to; uphill, the original stops one
    # band before the top, and the ratings are fitted to that.
    uphill, downhill = energy[:, :-1].copy(), energy[:, :-1].copy()  # [N, 24]
    for band in range(slope.shape[1] - 2, -1, -1):
        climbs = slope[:, band + 1] > 0
        uphill[climbs, band] = uphill[climbs, band + 1]
    for band in range(1, slope.shape[1]):
        falls = slope[:, band - 1] <= 0
        downhill[falls, band] = downhill[falls, band - 1]
    return np.where(slope > 0, uphill, downhill)


def _wss(reference: np.ndarray, estimate: np.ndarray, rate: int) -> np.ndarray:
    bands = _band_weights(reference.shape[1] - 1, rate)  # [bins, 25]
    slopes, weights = [], []
    for power in (reference, estimate):
        energy = 10.0 * np.log10(np.maximum(power[:, :-1] @ bands, ENERGY_FLOOR))
        slope = np.diff(energy)  # [N, 24]
        below_loudest = energy.max(axis=1, keepdims=True) - energy[:, :-1]
        below_peak = _nearest_peak(energy, slope) - energy[:, :-1]
        slopes.append(slope)
        loudest = LOUDEST_WEIGHT / (LOUDEST_WEIGHT + below_loudest)
        weights.append(loudest * PEAK_WEIGHT / (PEAK_WEIGHT + below_peak))
    weight = (weights[0] + weights[1]) / 2.0
    return (weight * (slopes[0] - slopes[1]) ** 2).sum(axis=1) / weight.sum(axis=1)


def _snr(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    signal = (reference**2).sum(axis=1)
    noise = ((reference - estimate) ** 2).sum(axis=1)
    return np.clip(10.0 * np.log10(signal / (noise + EPS) + EPS), *SNR_RANGE)


def _mean_of_best(values: np.ndarray) -> float:
    count = int(KEPT * len(values) + 0.5)
    return float(np.sort(values)[:count].mean())


class Distances(NamedTuple):
    """How far an estimate is from its reference, over frames of 30 ms.

    LLR is log(a' R a'^T / a R a^T) of the linear predictors a of the reference and a' of
    the estimate, R being the reference's autocorrelation.
    """

    llr: float  # log-likelihood ratio, mean of the best 95 % of frames; 0 if equal
    wss: float  # weighted spectral slope distance, of the same share; 0 if equal
    ssnr: float  # segmental SNR in dB, each frame's within [-10, 35]; 35 if equal


def shortest(rate: int) -> int:
    """Count the samples that `distances` needs: those of two frames."""
    return sum(_frame_and_hop(rate))


def distances(reference: np.ndarray, estimate: np.ndarray, rate: int) -> Distances:
    """Measure LLR, WSS and segmental SNR of [L] samples over the same frames.

    Args:
        estimate: samples to judge, at their true level beside the reference.
        rate: samples per second, 8000 or more; L must be `shortest` or more.
    """
    assert len(reference) >= shortest(rate), (len(reference), rate)
    # The small constants below mean samples of 16 bits. Scaled by the reference's peak,
    # the pair meets them in the same way at any level.
    scale = INT16 / np.abs(reference).max()
    waves = [scale * wave.astype(np.float64) for wave in (reference, estimate)]
    frames = [_frames(wave, rate) for wave in waves]  # [N, length]
    powers = [_power(own) for own in frames]  # [N, bins]
    return Distances(
        llr=_mean_of_best(_llr(*powers, rate)),
        wss=_mean_of_best(_wss(*powers, rate)),
        ssnr=float(_snr(*frames).mean()),
    )


def _rating(value: float) -> float:
    return float(np.clip(value, *RATING_RANGE))


def csig(pesq: float, found: Distances) -> float:
    """Predict the rating (1 to 5) of the speech's distortion."""
    return _rating(3.093 - 1.029 * found.llr + 0.603 * pesq - 0.009 * found.wss)


def cbak(pesq: float, found: Distances) -> float:
    """Predict the rating (1 to 5) of the background's intrusiveness."""
    return _rating(1.634 + 0.478 * pesq - 0.007 * found.wss + 0.063 * found.ssnr)


def covl(pesq: float, found: Distances) -> float:
    """Predict the rating (1 to 5) of the overall quality."""
    return _rating(1.594 + 0.805 * pesq - 0.512 * found.llr - 0.007 * found.wss)
