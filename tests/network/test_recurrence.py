"""A recurrence both ways sees of a padded batch what it sees of each row alone."""

import pytest
import torch
from torch import nn

from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.recurrence import both_ways


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_each_row_of_a_padded_batch_gives_what_it_gives_alone(kind):
    torch.manual_seed(0)
    rnn, lengths = kind(3, 4, bidirectional=True), [7, 4, 1]
    x = torch.randn(7, 3, 3)
    together = both_ways(rnn, x, frame_mask(torch.tensor(lengths), 7))
    assert together.shape == (7, 3, 8)
    for row, length in enumerate(lengths):
        alone, _ = rnn(x[:length, row : row + 1])
        assert torch.allclose(together[:length, row], alone[:, 0], atol=1e-6)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_padding_has_no_part_in_the_gradients(kind):
    torch.manual_seed(0)
    rnn, x = kind(3, 4, bidirectional=True), torch.randn(6, 2, 3)
    mask = frame_mask(torch.tensor([6, 3]), 6)
    gradients = []
    for padding in (0.0, 9.0):
        rnn.zero_grad()
        filled = torch.where(mask.T.unsqueeze(2), x, torch.tensor(padding))
        output = both_ways(rnn, filled, mask)[mask.T]
        output.square().sum().backward()
        gradients.append([p.grad.clone() for p in rnn.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
