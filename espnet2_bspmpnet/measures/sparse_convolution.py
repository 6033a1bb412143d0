"""Convolutions of 3 x 3 over values most of which are zero, on one core of a CPU.

After rectification nine of ten activations of the DNSMOS networks are zero.  Each of the
others is added to the nine places around it; the zeros cost nothing.  See docs/dnsmos.md.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

CACHE_LINE = 64  # bytes


class Convolution(NamedTuple):
    """A convolution of 3 x 3 and the rectification of its input.

    Args:
        weights: [3, channels, 3 * width]: for the output row above, the same and the one
            below, and each input channel, what a value adds to the output columns left
            of it, its own and right of it.
        bias: [width].
        threshold: inputs that are no more than this count as zero; 0 rectifies them.
    """

    weights: np.ndarray
    bias: np.ndarray
    threshold: float


def convolution(weights: np.ndarray, bias: np.ndarray, threshold: float) -> Convolution:
    """Prepare weights [width, channels, 3, 3], as ONNX and torch have them, and a bias."""
    # Flipped: from where a value is added to, instead of where values are taken from.
    flipped = weights[:, :, ::-1, ::-1].transpose(2, 1, 3, 0)
    packed = _aligned((*flipped.shape[:2], 3 * len(bias)))
    packed[:] = flipped.reshape(packed.shape)
    return Convolution(packed, np.array(bias), threshold)  # one that is writable


def run(steps: Sequence[Convolution | None], values: np.ndarray) -> np.ndarray:
    """Run convolutions and poolings on float32 [rows, columns, channels].

    Convolutions are padded with zeros; None is a maximum over 2 x 2, which leaves an odd
    last row or column out.  The last step's output is not rectified.
    """
    # Between the steps values have a border of one, whose content means nothing.
    values = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    for step in steps:
        values = _pool(values) if step is None else _convolve(values, step)
    return values[1:-1, 1:-1]


def _convolve(values: np.ndarray, step: Convolution) -> np.ndarray:
    output = _aligned((*values.shape[:2], len(step.bias)))
    _compiled()(values, *step, output)
    return output


def _pool(values: np.ndarray) -> np.ndarray:
    rows, columns = (size // 2 for size in (values.shape[0] - 2, values.shape[1] - 2))
    inner = values[1 : 1 + 2 * rows, 1 : 1 + 2 * columns]
    pooled = np.empty((rows + 2, columns + 2, values.shape[2]), np.float32)
    tall = np.maximum(inner[::2], inner[1::2])
    np.maximum(tall[:, ::2], tall[:, 1::2], out=pooled[1:-1, 1:-1])
    return pooled


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    # The processor's vectors are a fifth faster where they start at a cache line.
    size = 4 * int(np.prod(shape))
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(np.float32).reshape(shape)


def _scatter(values, weights, bias, threshold, output):
    # Writes to output [rows, columns, width] what values [rows, columns, channels] inside
    # the border contribute, two channels at a time: half as many additions to memory.
    rows, columns, channels = values.shape
    width = len(bias)
    flat = output.reshape(rows * columns * width)
    for place in range(2 * columns):
        for i in range(width):
            flat[place * width + i] = bias[i]
    active = np.empty(channels + 1, np.int64)
    for row in range(1, rows - 1):
        # Just before it is added to: it stays in the cache.
        for column in range(columns):
            for i in range(width):
                output[row + 1, column, i] = bias[i]
        for column in range(1, columns - 1):
            here = values[row, column]
            count = 0
            for channel in range(channels):
                active[count] = channel
                count += here[channel] > threshold
            active[count] = channels - 1  # pairs with an odd last one, times zero
            for pair in range(0, count, 2):
                one, two = active[pair], active[pair + 1]
                first, second = here[one], here[two]
                if pair + 1 == count:
                    second = np.float32(0.0)
                for line in range(3):
                    start = ((row + line - 1) * columns + column - 1) * width
                    around = flat[start : start + 3 * width]
                    ours, theirs = weights[line, one], weights[line, two]
                    for i in range(len(ours)):
                        around[i] += first * ours[i] + second * theirs[i]


@cache
def _compiled():
    import numba

    array, vector = numba.float32[:, :, ::1], numba.float32[::1]
    signature = numba.void(array, array, vector, numba.float64, array)
    try:
        return numba.njit(signature, fastmath={"contract"}, cache=True)(_scatter)
    except RuntimeError:
        # No folder to keep the compiled code in: each process compiles it again.
        return numba.njit(signature, fastmath={"contract"})(_scatter)
