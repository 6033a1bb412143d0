"""MP-2DC: the input times a gate in (0, 1) that two 2D convolutions compute."""

import pytest
import torch
from torch import nn

from espnet2_bspmpnet.network.coarse_encoder import CoarseEncoder
from espnet2_bspmpnet.network.frames import frame_mask


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return CoarseEncoder(channels=4)


def all_frames(x):
    return torch.ones(len(x), x.size(2), dtype=torch.bool)


def test_it_is_up_convolution_norm_prelu_down_convolution_sigmoid_times_input(encoder):
    x = torch.randn(2, 9, 6)
    encoder.eval()
    layers = nn.Sequential(encoder.up, encoder.norm, encoder.activation, encoder.down)
    expected = x * torch.sigmoid(layers(x.unsqueeze(1))).squeeze(1)
    assert torch.allclose(encoder(x, all_frames(x)), expected, atol=1e-6)


def test_the_gate_lies_between_0_and_1(encoder):
    x = torch.randn(2, 9, 6)
    gate = encoder(x, all_frames(x)) / x
    assert gate.min() > 0 and gate.max() < 1


def test_the_default_has_16_feature_maps_of_3_by_3():
    encoder = CoarseEncoder()
    assert encoder.up.weight.shape == (16, 1, 3, 3)
    assert encoder.down.weight.shape == (1, 16, 3, 3)


@pytest.mark.parametrize("training", [False, True])
def test_padding_is_invisible(encoder, training):
    encoder.train(training)
    frames = torch.tensor([6, 4])
    mask = frame_mask(frames, 6)
    x = torch.randn(2, 9, 6)
    loud = x.masked_fill(~mask.unsqueeze(1), 100.0)
    quiet = x.masked_fill(~mask.unsqueeze(1), 0.0)
    out = encoder(loud, mask)
    assert not out[1, :, 4:].any()
    encoder.norm.reset_running_stats()
    assert torch.allclose(out, encoder(quiet, mask), atol=1e-5)
    if not training:
        assert torch.allclose(out[1:, :, :4], encoder(x[1:, :, :4], mask[1:, :4]))


def test_batch_statistics_in_training_come_from_real_frames(encoder):
    encoder.train()
    mask = frame_mask(torch.tensor([6, 2]), 6)
    x = torch.randn(2, 9, 6) * mask.unsqueeze(1)
    encoder(x, mask)
    features = encoder.up(x.unsqueeze(1)).permute(0, 3, 1, 2)[mask]  # [N, C, F]
    mean = features.mean((0, 2))
    assert torch.allclose(encoder.norm.running_mean, 0.1 * mean, atol=1e-5)
