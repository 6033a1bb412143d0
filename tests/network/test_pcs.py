"""Eq. 2: X^ = W(f) . X', with the published gains."""

import numpy as np
import torch

from espnet2_bspmpnet.network.pcs import PCS
from espnet2_bspmpnet.network.pcs_gains import pcs_gains


def test_the_weights_are_the_gains_of_the_table_in_single_precision():
    assert PCS().weights.dtype == torch.float32
    assert np.allclose(PCS(129).weights[:, 0], pcs_gains(129))


def test_undo_is_the_inverse_of_boost():
    pcs, magnitude = PCS(), torch.rand(2, 257, 5)
    assert torch.allclose(pcs.undo(pcs(magnitude)), magnitude)


def test_boost_multiplies_each_bin_by_its_gain():
    boosted = PCS()(torch.ones(1, 257, 3))
    gains = torch.from_numpy(pcs_gains()).float()
    assert torch.equal(boosted[0], gains.unsqueeze(1).expand(257, 3))


def test_the_gains_are_no_part_of_a_saved_model():
    assert not PCS().state_dict()
