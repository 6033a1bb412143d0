"""Fig. 2: what the two paths see, and what their estimates are made of."""

import pytest
import torch

from espnet2_bspmpnet.network.pcs import PCS
from tests.networks import speech_like, tiny_separator


def test_masks_lie_between_0_and_1():
    separator = tiny_separator().eval()
    wave, lengths = speech_like(8000)
    estimate = separator.bsp_mpnet(wave, lengths)
    noisy, phase = separator.bsp_mpnet.spectrum(wave)
    ratio = estimate.magnitude / separator.bsp_mpnet.pcs(noisy).clamp(min=1e-6)
    assert ratio.min() >= 0 and ratio.max() < 1
    assert (estimate.phase.abs() <= phase.abs() + 1e-6).all()


@pytest.mark.parametrize("pcs_target", [True, False])
def test_without_magnitude_path_the_noisy_magnitude_is_kept(pcs_target):
    wave, lengths = speech_like(4000)
    separator = tiny_separator(magnitude_path=False, pcs_target=pcs_target).eval()
    estimate = separator.bsp_mpnet(wave, lengths)
    expected, _ = separator.bsp_mpnet.spectrum(wave)
    if pcs_target:
        expected = separator.bsp_mpnet.pcs(expected)
    assert torch.equal(estimate.magnitude, expected)


@pytest.mark.parametrize("pcs_target", [True, False])
def test_the_magnitude_mask_multiplies_the_noisy_magnitude_in_the_targets_domain(
    pcs_target,
):
    wave, lengths = speech_like(4000)
    separator = tiny_separator(pcs_target=pcs_target).eval()
    network = separator.bsp_mpnet
    masks = []
    network.magnitude_path.head.mask.register_forward_hook(
        lambda *call: masks.append(call[2])
    )
    estimate = network(wave, lengths)
    noisy, _ = network.spectrum(wave)
    noisy = network.pcs(noisy) if pcs_target else noisy
    assert torch.allclose(estimate.magnitude, masks[0] * noisy)


def test_without_phase_path_the_noisy_phase_is_kept():
    wave, lengths = speech_like(4000)
    separator = tiny_separator(phase_path="none").eval()
    _, phase = separator.bsp_mpnet.spectrum(wave)
    assert torch.equal(separator.bsp_mpnet(wave, lengths).phase, phase)


def test_pcs_input_changes_what_the_encoder_sees_and_pcs_target_the_estimate():
    wave, lengths = speech_like(4000)
    seen = {}
    for pcs_input in (True, False):
        separator = tiny_separator(pcs_input=pcs_input).eval()
        separator.bsp_mpnet.magnitude_path.coarse_encoder.register_forward_pre_hook(
            lambda module, inputs, key=pcs_input: seen.__setitem__(key, inputs[0])
        )
        separator(wave, lengths)
    weights = PCS().weights
    assert torch.allclose(seen[True], weights * seen[False], atol=1e-6)
    with_pcs = tiny_separator().bsp_mpnet.target(wave)[0]
    without = tiny_separator(pcs_target=False).bsp_mpnet.target(wave)[0]
    assert torch.allclose(with_pcs, weights * without, atol=1e-6)
