"""Means over utterances, and how far they may be trusted."""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
CHUNK = 2**22  # drawn at a time, to bound the memory


def mean_intervals(values: np.ndarray) -> np.ndarray:
    """Percentile bootstrap of means over utterances.

    Whole utterances are drawn, so that the columns of a draw belong together.  The seed
    is fixed: the same values have the same intervals.

    Args:
        values: one row an utterance, NaN where a value is missing [N, M].

    Returns:
        Lower and upper end of the 95 % interval of each column's mean [M, 2]; NaN for
        a column with fewer than two values.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    means = []
    for draws in _draws(len(values)):
        count = draws @ known
        total = draws @ filled
        none = np.full_like(total, np.nan)
        means.append(np.divide(total, count, out=none, where=count > 0))
    intervals = np.full((values.shape[1], 2), np.nan)
    enough = known.sum(axis=0) > 1
    if enough.any():
        tail = (1.0 - CONFIDENCE) / 2.0
        drawn = np.concatenate(means)[:, enough]
        intervals[enough] = np.nanquantile(drawn, (tail, 1.0 - tail), axis=0).T
    return intervals


def _draws(count: int) -> Iterator[np.ndarray]:
    """Yield how often each utterance is drawn, some rows of [draws, count] a time."""
    generator = np.random.default_rng(SEED)
    rows = max(1, CHUNK // max(1, count))
    for start in range(0, RESAMPLES, rows):
        number = min(rows, RESAMPLES - start)
        drawn = generator.integers(count, size=(number, count))
        drawn += count * np.arange(number)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=number * count)
        yield counts.reshape(number, count).astype(np.float64)
