"""The ways from a decoder's output to a phase."""

import math

import pytest
import torch

from espnet2_bspmpnet.network.phase import (
    PHASE_READINGS,
    PhaseHead,
    parallel_phase,
    residual_phase,
    rotated_phase,
)
from espnet2_bspmpnet.network.rema import MaskedEstimate, MaskGate
from espnet2_bspmpnet.network.spectrum import wrap_phase


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


@pytest.mark.parametrize("reading", ["residual", "rotation"])
def test_a_fresh_head_starts_near_the_noisy_phase(reading):
    noisy = noisy_phase()
    phase = PhaseHead(reading, 5)(torch.randn(2, 5, 9), noisy)
    assert wrap_phase(phase - noisy).abs().max() < 0.1


@pytest.mark.parametrize("reading", PHASE_READINGS)
def test_a_head_gives_its_reading_one_convolution_for_each_output(reading):
    number, function = PHASE_READINGS[reading]
    head, z_rema, noisy = PhaseHead(reading, 5), torch.randn(2, 5, 9), noisy_phase()
    assert len(head.outputs) == number
    outputs = [conv(z_rema) for conv in head.outputs]
    assert torch.equal(head(z_rema, noisy), function(noisy, *outputs))


def test_residual_turns_the_noisy_phase_by_up_to_half_a_circle():
    noisy, output = noisy_phase(), torch.randn(2, 5, 9)
    phase = residual_phase(noisy, output)
    expected = noisy + math.pi * output.tanh()
    assert torch.allclose(phase.cos(), expected.cos(), atol=1e-5)
    assert phase.abs().max() <= math.pi + 1e-6


def test_atan2_takes_the_angle_of_its_two_outputs():
    real, imaginary = torch.randn(2, 2, 5, 9)
    expected = torch.complex(real, imaginary).angle()
    phase = parallel_phase(noisy_phase(), real, imaginary)
    assert torch.allclose(phase, expected, atol=1e-5)


def test_rotation_multiplies_the_noisy_spectrum_by_a_number_of_length_one():
    noisy, (real, imaginary) = noisy_phase(), torch.randn(2, 2, 5, 9)
    turned = torch.polar(torch.ones_like(noisy), noisy) * torch.complex(
        1 + real, imaginary
    )
    phase = rotated_phase(noisy, real, imaginary)
    assert torch.allclose(phase.cos(), turned.angle().cos(), atol=1e-5)
    assert torch.allclose(phase.sin(), turned.angle().sin(), atol=1e-5)
    assert torch.equal(rotated_phase(noisy, 0 * real, 0 * real), wrap_phase(noisy))
