"""What the network, which works at 16 kHz, cannot see: the band above 8 kHz."""

import numpy as np

HIGH_BANDS = ("follow", "keep", "drop")
N_FFT, HOP = 512, 128  # samples at 16 kHz: 32 ms and 8 ms
HIGHEST_OCTAVE = slice(N_FFT // 4, None)  # bins from 4 to 8 kHz
SMOOTH = 5  # frames over which energies are averaged


def octave_gains(noisy: np.ndarray, enhanced: np.ndarray) -> np.ndarray:
    """Give the gain that the network applied to the octave from 4 to 8 kHz.

    Args:
        noisy: what the network was given, at 16 kHz [C, L].
        enhanced: what it made of it [C, L].

    Returns:
        root of the ratio of energies, at most 1, one value every HOP samples [C, T].
    """
    before, after = _octave_energy(noisy), _octave_energy(enhanced)
    ratio = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    return np.sqrt(np.clip(ratio, 0.0, 1.0))


def at_samples(
    gains: np.ndarray, length: int, rate: int, network_rate: int
) -> np.ndarray:
    """Interpolate gains [C, T], one every HOP samples at 16 kHz, to samples [C, length].

    Args:
        gains: see `octave_gains`.
        length: samples wanted.
        rate: samples per second wanted.
        network_rate: samples per second that HOP counts.
    """
    position = np.arange(length) * (network_rate / rate / HOP)
    frames = np.arange(gains.shape[1])
    return np.stack([np.interp(position, frames, row) for row in gains])


def _octave_energy(wave: np.ndarray) -> np.ndarray:
    """Energy from 4 to 8 kHz around every HOP-th sample [C, T], averaged over SMOOTH."""
    padded = np.pad(wave, ((0, 0), (N_FFT // 2, N_FFT // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(N_FFT).astype(wave.dtype), axis=2)
    energy = np.square(np.abs(spectrum[..., HIGHEST_OCTAVE])).sum(axis=2)
    window = np.ones(SMOOTH) / SMOOTH
    half = SMOOTH // 2
    edged = np.pad(energy, ((0, 0), (half, half)), mode="edge")
    return np.stack([np.convolve(row, window, mode="valid") for row in edged])
