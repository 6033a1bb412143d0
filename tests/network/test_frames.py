"""The mask of frames: true for those that are an utterance's own, false for padding."""

import torch

from espnet2_bspmpnet.network.frames import frame_mask


def test_the_first_frames_of_each_row_are_real():
    expected = [[True, False, False], [True, True, True]]
    assert frame_mask(torch.tensor([1, 3]), 3).tolist() == expected


def test_no_frame_and_more_than_there_are_have_no_special_case():
    expected = [[False, False], [True, True]]
    assert frame_mask(torch.tensor([0, 5]), 2).tolist() == expected
