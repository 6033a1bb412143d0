"""What the tests share: one thread for each, the repository's folders, small pairs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Before anything imports torch or numpy; the processes that tests start inherit it.
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture
def make_pairs(tmp_path) -> Callable[..., tuple[Path, Path]]:
    """Return a function that writes pairs of noisy and clean files to two folders."""
    import numpy as np
    import soundfile

    def make(count: int, seconds: float = 1.0, rate: int = 16000) -> tuple[Path, Path]:
        """Write ``count`` files to tmp_path/noisy and tmp_path/clean."""
        noisy, clean = tmp_path / "noisy", tmp_path / "clean"
        noisy.mkdir()
        clean.mkdir()
        time = np.arange(int(seconds * rate)) / rate
        random = np.random.default_rng(0)
        for number in range(count):
            pitch = 110 + 15 * number
            voiced = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 20))
            speech = 0.1 * voiced * np.clip(np.sin(2 * np.pi * 3 * time + number), 0, 1)
            noise = 0.03 * random.standard_normal(len(time))
            name = f"s{number % 3}_{number:03d}.wav"
            soundfile.write(clean / name, speech, rate)
            soundfile.write(noisy / name, speech + noise, rate)
        return noisy, clean

    return make
