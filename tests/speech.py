"""Signals like speech, clean and noisy."""

import numpy as np

from espnet2_bspmpnet.data.speech_level import active_power

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


def measure_snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    """The level of active speech over that of the noise, in dB; 16 kHz."""
    return 10 * np.log10(active_power(clean) / np.mean((noisy - clean) ** 2))
