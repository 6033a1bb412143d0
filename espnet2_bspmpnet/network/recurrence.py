"""Bidirectional recurrences over padded batches."""

import torch
from torch import Tensor, nn


def both_ways(rnn: nn.RNNBase, x: Tensor, mask: Tensor) -> Tensor:
    """Run a one-layer bidirectional GRU or LSTM; backward from each last real frame.

    Much faster than packed sequences: each row's real frames are turned round.

    Args:
        rnn: not batch_first.
        x: frames first [T, B, C].
        mask: the real frames of each row, bool [B, T]; they come first.

    Returns:
        [T, B, 2 H]; padded frames hold values without meaning.
    """
    if bool(mask.all()):
        return rnn(x)[0]
    frame = torch.arange(len(x), device=x.device).unsqueeze(1)  # [T, 1]
    last = mask.sum(1) - 1  # [B]
    turned = torch.where(frame <= last, last - frame, frame).unsqueeze(2)  # [T, B, 1]
    half = len(rnn._flat_weights) // 2
    forward = _one_way(rnn, x, rnn._flat_weights[:half])
    backward = x.gather(0, turned.expand_as(x))
    backward = _one_way(rnn, backward, rnn._flat_weights[half:])
    return torch.cat([forward, backward.gather(0, turned.expand_as(backward))], dim=2)


def _one_way(rnn: nn.RNNBase, x: Tensor, weights: list[Tensor]) -> Tensor:
    start = x.new_zeros(1, x.size(1), rnn.hidden_size)
    options = True, 1, 0.0, rnn.training, False, False
    if isinstance(rnn, nn.LSTM):
        return torch.lstm(x, (start, start), weights, *options)[0]
    return torch.gru(x, start, weights, *options)[0]
