"""Eq. 2: X^ = W(f) . X', with the published gains."""

import pytest
import torch

from espnet2_bspmpnet.network.pcs import PCS, pcs_weights


def test_257_bins_give_the_published_table():
    weights = pcs_weights(257)
    published = {
        0: 1.0, 2: 1.0, 3: 1.070175439, 6: 1.182456140, 9: 1.287719298, 11: 1.287719298,
        12: 1.4, 137: 1.4, 138: 1.322807018, 166: 1.238596491, 199: 1.238596491,
        200: 1.161403509, 240: 1.161403509, 241: 1.077192982, 255: 1.077192982, 256: 1.0,
    }  # fmt: skip
    assert weights.shape == (257,)
    for bin_, gain in published.items():
        assert weights[bin_].item() == pytest.approx(gain), bin_


@pytest.mark.parametrize("num_bins", [129, 201, 513])
def test_other_fft_sizes_have_the_same_gain_at_the_same_frequency(num_bins):
    weights = pcs_weights(num_bins)
    for hertz, gain in [
        (0, 1.0),
        (2000, 1.4),
        (4750, 1.322807018),
        (7000, 1.161403509),
    ]:
        assert weights[round(hertz / 8000 * (num_bins - 1))].item() == pytest.approx(
            gain
        )


def test_undo_is_the_inverse_of_boost():
    pcs, magnitude = PCS(), torch.rand(2, 257, 5)
    assert torch.allclose(pcs.undo(pcs(magnitude)), magnitude)


def test_boost_multiplies_each_bin_by_its_gain():
    boosted = PCS()(torch.ones(1, 257, 3))
    assert torch.equal(boosted[0], pcs_weights().unsqueeze(1).expand(257, 3))


def test_the_gains_are_no_part_of_a_saved_model():
    assert not PCS().state_dict()


def test_one_bin_is_refused():
    with pytest.raises(ValueError, match="two frequency bins"):
        pcs_weights(1)
