"""Long recordings in windows that overlap, joined by Hann slopes.

Memory grows with the square of a window's length, and not at all with the recording's.
All windows of a recording are enhanced under one level: windows that are normalised each
on its own, or joined hard, are heard as steps.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

OVERLAP = 2  # seconds that two neighbouring windows share
SHORTEST = 2 * OVERLAP  # seconds of a window
LONGEST = 60  # seconds of a window: time, too, grows with the square of its length
MEMORY = 2 * 2**30  # bytes for the attention of a batch
FLOAT_BYTES = 4


def attention_bytes(separator: BSPMPNetSeparator, seconds: float) -> float:
    """Estimate the memory that attention takes for one channel of so many seconds.

    It grows with the square of the length: three matrices of frames by frames for each of
    the SSL model's heads (WavLM's position bias, the same with its gate, the weights).
    Without an SSL model next to none is taken.
    """
    ssl = separator.bsp_mpnet.ssl
    if ssl is None:
        return FLOAT_BYTES
    frames = seconds * SAMPLE_RATE / ssl.stride
    return FLOAT_BYTES * 3 * ssl.architecture["encoder_attention_heads"] * frames**2


def longest_window(separator: BSPMPNetSeparator) -> int:
    """Give the seconds of a window whose attention fits into MEMORY, at most LONGEST."""
    seconds = int((MEMORY / attention_bytes(separator, 1.0)) ** 0.5)
    return min(max(seconds, SHORTEST), LONGEST)


def window_spans(length: int, rate: int, window: int) -> list[tuple[int, int]]:
    """Say where windows begin and end.

    They begin at whole seconds, so that each is as long at any rate.

    Args:
        length: samples of the recording.
        rate: samples per second.
        window: seconds of a window.

    Returns:
        first sample and one past the last of each; the last may be shorter, but is
        longer than the overlap.
    """
    hop = (window - OVERLAP) * rate
    starts = range(0, max(length - OVERLAP * rate, 1), hop)
    return [(start, min(start + window * rate, length)) for start in starts]


def overlap_add(pieces: Iterable[np.ndarray], overlap: int) -> Iterator[np.ndarray]:
    """Join windows, each of which shares ``overlap`` samples with the next one.

    The slopes are the halves of a Hann window, which add up to 1.

    Args:
        pieces: enhanced windows [C, n], n > overlap where there are several.
        overlap: samples.

    Yields:
        finished samples [C, n].
    """
    rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
    tail = None
    for piece in pieces:
        if tail is not None:
            # The first of a pair of windows may have been the longer one's end.
            shared = tail * (1 - rise) + piece[:, :overlap] * rise
            piece = np.concatenate([shared, piece[:, overlap:]], axis=1)
        tail = piece[:, -overlap:]
        yield piece[:, :-overlap]
    if tail is not None:
        yield tail
