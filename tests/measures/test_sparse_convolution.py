"""Convolutions that skip zeros give what convolutions of all values give."""

import numpy as np
import pytest
from scipy.signal import correlate

from espnet2_bspmpnet.measures import sparse_convolution
from espnet2_bspmpnet.measures.sparse_convolution import convolution, run


@pytest.mark.parametrize("channels, width", [(1, 4), (2, 16), (5, 3)])
def test_a_convolution_of_sparse_values_equals_one_of_all(channels, width):
    generator = np.random.default_rng(0)
    values = generator.standard_normal((7, 9, channels)).astype(np.float32)
    weights = generator.standard_normal((width, channels, 3, 3)).astype(np.float32)
    bias = generator.standard_normal(width).astype(np.float32)
    found = run([convolution(weights, bias, 0.0)], values)
    rectified = np.maximum(values, 0.0).transpose(2, 0, 1)
    for k in range(width):
        parts = [
            correlate(rectified[c], weights[k, c], "same") for c in range(channels)
        ]
        assert found[:, :, k] == pytest.approx(sum(parts) + bias[k], abs=1e-5)


def test_pooling_leaves_odd_rows_and_columns_out():
    values = np.arange(5 * 7, dtype=np.float32).reshape(5, 7, 1)
    assert run([None], values)[:, :, 0].tolist() == [[8, 10, 12], [22, 24, 26]]


def test_it_works_where_compiled_code_cannot_be_kept(monkeypatch):
    import numba

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function '_scatter': no locator available")
        return compile_now(*arguments, **options)

    compile_now = numba.njit
    monkeypatch.setattr(numba, "njit", njit)
    sparse_convolution._compiled.cache_clear()
    step = convolution(np.ones((1, 1, 3, 3), np.float32), np.zeros(1, np.float32), 0.0)
    assert run([step], np.ones((4, 4, 1), np.float32))[1, 1, 0] == 9.0
