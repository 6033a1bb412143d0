"""Enhancers for tests of what is around them; processes that tests start build them."""

import os
import signal
import time

import numpy as np

from tests.speech import noisy, speechlike


class Neighbours:
    """Enhances nothing, but marks a recording by those that share its batch.

    Args:
        pause: seconds that a batch takes.
        deadly: seconds of a recording that ends the process by SIGKILL.
    """

    longest = 4  # seconds; what is longer is streamed

    def __init__(self, pause: float = 0.0, deadly: float | None = None):
        self.pause, self.deadly = pause, deadly

    def is_long(self, length: int, rate: int) -> bool:
        return length > self.longest * rate

    def plan(self, shapes, rate: int) -> list[list[int]]:
        places = sorted(range(len(shapes)), key=lambda place: -shapes[place][1])
        return [places[start : start + 3] for start in range(0, len(places), 3)]

    def batch(self, waves, rate: int) -> list[np.ndarray]:
        time.sleep(self.pause)
        if self.deadly in [wave.shape[1] / rate for wave in waves]:
            os.kill(os.getpid(), signal.SIGKILL)
        mark = 0.1 + sum(wave.shape[1] for wave in waves) % 97 / 200
        return [mark * wave for wave in waves]

    def stream(self, recording):
        for start in range(0, recording.frames, recording.rate):
            time.sleep(self.pause)
            stop = min(start + recording.rate, recording.frames)
            yield 0.5 * recording.read(start, stop)


def tiny():
    """The real one with a small network, whose windows take 8 s."""
    from espnet2_bspmpnet.inference.enhancer import Enhancer
    from tests.networks import tiny_separator

    return Enhancer(tiny_separator(), window=8)


def slow(model: str, options: dict) -> Neighbours:
    """Stand in for runner.load_enhancer."""
    return Neighbours(pause=0.05)


def transparent(**options):
    """An Enhancer whose network estimates the noisy spectrum itself."""
    import torch

    from espnet2_bspmpnet.inference.enhancer import Enhancer
    from espnet2_bspmpnet.network.bsp_mpnet import Estimate
    from tests.networks import tiny_separator

    separator = tiny_separator(level="rms")
    network = separator.bsp_mpnet

    def noisy_estimate(wave, lengths):
        magnitude, phase = network.spectrum(wave)
        mask = torch.ones(len(wave), magnitude.size(2), dtype=torch.bool)
        return Estimate(network.pcs(magnitude), phase, mask)

    network.forward = noisy_estimate
    return Enhancer(separator, **options)


def speech(seconds=1.0, rate=16000, seed=0) -> np.ndarray:
    """Noisy speech, float32."""
    wave = noisy(speechlike(seconds, rate, seed), snr=5, seed=seed)
    return wave.astype(np.float32)


def decibels(difference, reference) -> float:
    """Power of a difference over that of a reference."""
    return 10 * np.log10(np.mean(difference**2) / np.mean(reference**2))
