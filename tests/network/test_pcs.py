"""Eq. 2: X^ = W(f) . X', with the published gains."""

import numpy as np
import torch

from espnet2_bspmpnet.network.pcs import PCS, pcs_weights
from espnet2_bspmpnet.network.pcs_gains import pcs_gains


def test_the_weights_are_the_gains_of_the_table_in_single_precision():
    assert pcs_weights().dtype == torch.float32
    assert np.allclose(pcs_weights(129), pcs_gains(129))


def test_undo_is_the_inverse_of_boost():
    pcs, magnitude = PCS(), torch.rand(2, 257, 5)
    assert torch.allclose(pcs.undo(pcs(magnitude)), magnitude)


def test_boost_multiplies_each_bin_by_its_gain():
    boosted = PCS()(torch.ones(1, 257, 3))
    assert torch.equal(boosted[0], pcs_weights().unsqueeze(1).expand(257, 3))


def test_the_gains_are_no_part_of_a_saved_model():
    assert not PCS().state_dict()
