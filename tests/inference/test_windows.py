"""Windows cover a recording, overlap, and are joined without a trace."""

import numpy as np
import pytest

from espnet2_bspmpnet.inference.windows import (
    LONGEST,
    OVERLAP,
    SHORTEST,
    attention_bytes,
    longest_window,
    overlap_add,
    window_spans,
)
from tests.networks import tiny_separator


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.001, 1.9, 10, 10.5, 18, 61.3])
def test_windows_begin_at_whole_seconds_and_cover_everything(seconds, rate):
    length = round(seconds * rate)
    spans = window_spans(length, rate, 10)
    assert spans[0][0] == 0 and spans[-1][1] == length
    for (_, stop), (start, last) in zip(spans, spans[1:]):
        assert start % rate == 0 and stop - start == OVERLAP * rate < last - start
    assert all(stop - start <= 10 * rate for start, stop in spans)


@pytest.mark.parametrize("length", [1, 500, 1000, 1001, 2600, 9999])
def test_unchanged_windows_give_the_recording_back(length):
    wave = np.random.default_rng(0).standard_normal((2, length))
    spans = window_spans(length, 100, 10)
    pieces = (wave[:, start:stop] for start, stop in spans)
    joined = list(overlap_add(pieces, OVERLAP * 100))
    assert np.allclose(np.concatenate(joined, axis=1), wave, atol=1e-12)


def test_slopes_are_halves_of_a_hann_window():
    """From a window of ones to one of zeros, with a slope that is flat at both ends."""
    joined = list(overlap_add([np.ones((1, 8)), np.zeros((1, 8))], 4))
    slope = np.concatenate(joined, axis=1)[0, 4:8]
    expected = np.cos(np.pi / 2 * np.array([1, 3, 5, 7]) / 8) ** 2
    assert np.allclose(slope, expected)


def test_memory_of_attention_grows_with_the_square_of_the_length():
    separator = tiny_separator()
    assert attention_bytes(separator, 20) == 4 * attention_bytes(separator, 10)
    assert SHORTEST <= longest_window(separator) <= LONGEST


def test_without_an_ssl_model_windows_are_as_long_as_they_may_be():
    separator = tiny_separator(upstream="none")
    assert longest_window(separator) == LONGEST
