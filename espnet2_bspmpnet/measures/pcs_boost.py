"""Perceptual contrast stretching of a waveform (Eq. 2), without torch.

The network has its own; scoring starts faster without torch.
"""

import numpy as np

from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.network.pcs_gains import pcs_gains
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

N_FFT, WINDOW, HOP = 512, 400, 100  # samples at that rate, as in network/spectrum.py
HAMMING = np.hamming(WINDOW + 1)[:-1]  # periodic


def boost(wave: np.ndarray, rate: int) -> np.ndarray:
    """Apply PCS to samples [L] in [-1, 1] at their own level.

    PCS makes speech some 7 dB louder, which the boosted output of the network is not
    either: the root mean square is kept.  Other rates than 16 kHz are resampled to it and
    back, so that nothing above 8 kHz is left.  Returns float64 [L].
    """
    at_rate = np.asarray(resample(wave, rate, SAMPLE_RATE), dtype=np.float64)
    spectrum = _analyse(at_rate)
    magnitude = np.abs(spectrum)
    louder = np.expm1(pcs_gains() * np.log1p(magnitude))
    gains = np.divide(louder, magnitude, out=np.ones_like(louder), where=magnitude > 0)
    boosted = _synthesise(gains * spectrum, len(at_rate))
    if rate != SAMPLE_RATE:
        boosted = _to_length(resample(boosted, SAMPLE_RATE, rate), len(wave))
    power = np.mean(np.square(boosted, dtype=np.float64))
    if power == 0.0:
        return boosted
    return boosted * np.sqrt(np.mean(np.square(wave, dtype=np.float64)) / power)


def _to_length(wave: np.ndarray, length: int) -> np.ndarray:
    # There and back again may be a sample off.
    return np.pad(wave[:length], (0, max(0, length - len(wave)))).astype(np.float64)


def _analyse(wave: np.ndarray) -> np.ndarray:
    """Give the centred, zero-padded STFT of [L] as [T, F], up to a linear phase."""
    half = WINDOW // 2
    padded = np.pad(wave, (half, half))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.fft.rfft(frames * HAMMING, N_FFT)


def _synthesise(spectrum: np.ndarray, length: int) -> np.ndarray:
    """Undo `_analyse` by weighted overlap-add: [T, F] to [L]."""
    frames = np.fft.irfft(spectrum, N_FFT)[:, :WINDOW] * HAMMING
    parts = WINDOW // HOP
    total = np.zeros((len(frames) + parts - 1, HOP))
    weight = np.zeros_like(total)
    for part in range(parts):
        span = slice(part * HOP, (part + 1) * HOP)
        total[part : part + len(frames)] += frames[:, span]
        weight[part : part + len(frames)] += HAMMING[span] ** 2
    half = WINDOW // 2
    return (total / weight).ravel()[half : half + length]
