"""The three ways from Z_rema to a phase."""

import math

import torch

from espnet2_bspmpnet.network.phase import ParallelPhase, ResidualPhase
from espnet2_bspmpnet.network.rema import MaskedEstimate, MaskGate


def noisy_phase():
    torch.manual_seed(0)
    return (torch.rand(2, 5, 9) * 2 - 1) * math.pi


def test_mask_can_only_shrink_the_noisy_phase():
    noisy = noisy_phase()
    head = MaskedEstimate(MaskGate(5))
    z_rema = torch.randn(2, 5, 9)
    phase = head(z_rema, noisy)
    assert torch.allclose(phase, head.mask(z_rema) * noisy)
    assert (phase.abs() < noisy.abs()).all()


def test_residual_starts_at_the_noisy_phase_and_reaches_every_angle():
    noisy = noisy_phase()
    head = ResidualPhase(5)
    assert (head(torch.randn(2, 5, 9), noisy) - noisy).abs().max() < 0.1
    with torch.no_grad():
        head.conv.bias.fill_(1.0)
        head.conv.weight.zero_()
    phase = head(torch.zeros(2, 5, 9), noisy)
    expected = noisy + math.pi * math.tanh(1.0)
    assert torch.allclose(phase.cos(), expected.cos(), atol=1e-5)
    assert phase.abs().max() <= math.pi + 1e-6


def test_atan2_takes_the_angle_of_its_two_outputs():
    head, z_rema = ParallelPhase(5), torch.randn(2, 5, 9)
    expected = torch.complex(head.real(z_rema), head.imaginary(z_rema)).angle()
    assert torch.allclose(head(z_rema, noisy_phase()), expected, atol=1e-5)
