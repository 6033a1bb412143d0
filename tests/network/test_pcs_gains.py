"""W(f) of Eq. 2 is the published table, at any FFT size."""

import pytest

from espnet2_bspmpnet.network.pcs_gains import pcs_gains


def test_257_bins_give_the_published_table():
    gains = pcs_gains(257)
    published = {
        0: 1.0, 2: 1.0, 3: 1.070175439, 6: 1.182456140, 9: 1.287719298, 11: 1.287719298,
        12: 1.4, 137: 1.4, 138: 1.322807018, 166: 1.238596491, 199: 1.238596491,
        200: 1.161403509, 240: 1.161403509, 241: 1.077192982, 255: 1.077192982, 256: 1.0,
    }  # fmt: skip
    assert gains.shape == (257,)
    for bin_, gain in published.items():
        assert gains[bin_] == pytest.approx(gain), bin_


@pytest.mark.parametrize("num_bins", [129, 201, 513])
def test_other_fft_sizes_have_the_same_gain_at_the_same_frequency(num_bins):
    gains = pcs_gains(num_bins)
    for hertz, gain in [
        (0, 1.0),
        (2000, 1.4),
        (4750, 1.322807018),
        (7000, 1.161403509),
    ]:
        assert gains[round(hertz / 8000 * (num_bins - 1))] == pytest.approx(gain)


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="two frequency bins"):
        pcs_gains(1)
