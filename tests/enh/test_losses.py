"""Eqs. 11-15 on cases small enough to compute by hand, and ESPnet's side of them."""

import math

import pytest
import torch

from espnet2_bspmpnet.enh.losses import (
    BSPMPNetLoss,
    BSPMPNetSolver,
    anti_wrap,
    complex_loss,
    group_delay_loss,
    instantaneous_frequency_loss,
    magnitude_loss,
    need_waveform,
    phase_loss,
    power_law,
)
from espnet2_bspmpnet.enh.separator import SpectralEstimate
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.bsp_mpnet import Estimate
from tests.networks import speech_like, tiny_separator

ALL = torch.ones(1, 1, dtype=torch.bool)


def bins(*values):
    """Three bins of one frame."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1)


def test_anti_wrap_is_equation_14():
    t = torch.tensor([0.0, 1.0, -1.0, math.pi, 2 * math.pi, 3 * math.pi, 7.0])
    expected = [0.0, 1.0, 1.0, math.pi, 0.0, math.pi, 7.0 - 2 * math.pi]
    assert torch.allclose(anti_wrap(t), torch.tensor(expected), atol=1e-5)


def test_magnitude_loss_of_three_bins():
    loss = magnitude_loss(bins(1, 2, 3), bins(2, 2, 0), ALL)
    assert loss.item() == pytest.approx((1 + 0 + 3) / 3)


def test_phase_loss_of_three_bins():
    loss = phase_loss(bins(3, 0, 1), bins(-3, 0.5, 1), ALL)
    assert loss.item() == pytest.approx((2 * math.pi - 6 + 0.5 + 0) / 3, rel=1e-5)


def test_a_phase_error_of_two_pi_costs_nothing():
    phase = bins(0.3, -1.0, 2.0)
    assert phase_loss(phase, phase + 2 * math.pi, ALL).item() < 1e-6


def test_complex_loss_adds_real_and_imaginary_squares():
    target = torch.complex(bins(1, 0, 2), bins(0, 1, 0))
    estimate = torch.complex(bins(0, 0, 2), bins(0, 3, 1))
    loss = complex_loss(target, estimate, ALL)
    assert loss.item() == pytest.approx((1 + 4 + 1) / 3)


def test_slopes_of_the_phase():
    target = torch.tensor([[[0.0, 1.0], [0.5, 2.0]]])  # two bins, two frames
    flat = torch.zeros(1, 2, 2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    delay = group_delay_loss(target, flat, mask)
    frequency = instantaneous_frequency_loss(target, flat, mask)
    assert delay.item() == pytest.approx((0.5 + 1.0) / 2)
    assert frequency.item() == pytest.approx((1.0 + 1.5) / 2)
    assert group_delay_loss(target, target + 1, mask).item() < 1e-6
    assert instantaneous_frequency_loss(target, target + 1, mask).item() < 1e-6
    one_frame = instantaneous_frequency_loss(target[..., :1], flat[..., :1], ALL)
    assert one_frame.item() == 0
    one_real = torch.tensor([[True, False]])
    assert instantaneous_frequency_loss(target, flat, one_real).item() == 0


@pytest.mark.parametrize(
    "part",
    [magnitude_loss, phase_loss, group_delay_loss, instantaneous_frequency_loss],
)
def test_only_real_frames_count(part):
    mask = torch.tensor([[True, True, False]])
    target, estimate = torch.rand(1, 3, 3), torch.rand(1, 3, 3)
    spoilt = estimate.clone()
    spoilt[..., 2] = 50
    assert part(target, estimate, mask) == part(target, spoilt, mask)
    short = part(target[..., :2], estimate[..., :2], mask[:, :2])
    assert part(target, estimate, mask).item() == pytest.approx(short.item())


def test_only_real_frames_count_in_the_complex_loss():
    mask = torch.tensor([[True, True, False]])
    target, estimate = torch.randn(2, 1, 3, 3, dtype=torch.complex64)
    loss = complex_loss(target, estimate, mask)
    short = complex_loss(target[..., :2], estimate[..., :2], mask[:, :2])
    assert loss.item() == pytest.approx(short.item())


def hand_made_estimate(magnitude, phase):
    estimate = Estimate(magnitude, phase, ALL)
    return SpectralEstimate(
        estimate,
        torch.tensor([1]),
        target=lambda clean: (bins(1, 2, 3), bins(0, 0, 0)),
        resynthesised=lambda: torch.polar(magnitude, phase),
    )


def test_the_loss_weighs_its_parts_by_1_half_and_a_tenth():
    inf = hand_made_estimate(bins(2, 2, 3), bins(0, math.pi / 2, 0))
    others = {"bsp_mpnet": inf}
    loss, stats, _ = BSPMPNetSolver(BSPMPNetLoss())([torch.zeros(1, 1)], [], others)
    magnitude, phase = 1 / 3, math.pi / 2 / 3
    complex_ = (1 + (4 + 4) + 0) / 3
    assert stats["magnitude_loss"].item() == pytest.approx(magnitude)
    assert stats["phase_loss"].item() == pytest.approx(phase)
    assert stats["complex_loss"].item() == pytest.approx(complex_)
    total = magnitude + 0.5 * phase + 0.1 * complex_
    assert loss.item() == stats["bsp_mpnet_loss"].item() == pytest.approx(total)
    assert set(stats) == {
        "magnitude_loss", "phase_loss", "complex_loss", "bsp_mpnet_loss"
    }  # fmt: skip


def test_optional_parts_are_logged_when_they_are_weighed():
    wave, lengths = speech_like(3000, 2000)
    _, _, others = tiny_separator()(wave, lengths)
    criterion = BSPMPNetLoss(
        group_delay_weight=0.1, instantaneous_frequency_weight=0.1, consistency_weight=1
    )
    loss, stats, _ = BSPMPNetSolver(criterion)([wave * 0.5], [], others)
    assert loss.requires_grad and torch.isfinite(loss)
    named = {"group_delay_loss", "instantaneous_frequency_loss", "consistency_loss"}
    assert named <= set(stats)


def test_power_law_takes_magnitudes_from_log_to_the_power_of_three_tenths():
    linear = bins(0.5, 4.0, 0.0)
    phase = bins(1.0, -2.0, 0.0)
    compressed = power_law(torch.polar(linear.log1p(), phase))
    assert torch.allclose(compressed, torch.polar(linear**0.3, phase), atol=1e-5)


def test_the_power_law_of_silence_has_finite_gradients():
    silence = torch.zeros(1, 3, 1, dtype=torch.complex64, requires_grad=True)
    power_law(silence).abs().square().sum().backward()
    assert silence.grad.isfinite().all()


def test_power_law_losses_compare_the_estimates_own_waveform():
    """Its spectrum, not the estimate: what an inverse STFT cannot give is not heard."""
    heard = torch.polar(bins(1.0, 2.0, 0.5), bins(0.0, 1.0, 2.0))
    inf = hand_made_estimate(bins(9, 9, 9), bins(9, 9, 9))
    inf = inf._replace(resynthesised=lambda: heard)
    target = torch.polar(bins(1, 2, 3), bins(0, 0, 0))  # see hand_made_estimate
    criterion = BSPMPNetLoss(
        0, 0, 0, power_law_magnitude_weight=0.7, power_law_complex_weight=0.3
    )
    loss, stats, _ = BSPMPNetSolver(criterion)([None], [], {"bsp_mpnet": inf})
    difference = power_law(heard) - power_law(target)
    magnitudes = power_law(heard).abs() - power_law(target).abs()
    expected = [magnitudes.square().mean(), difference.abs().square().mean()]
    parts = [stats["power_law_magnitude_loss"], stats["power_law_complex_loss"]]
    assert torch.allclose(torch.stack(parts), torch.stack(expected))
    assert loss.item() == pytest.approx((0.7 * parts[0] + 0.3 * parts[1]).item())


def test_losses_of_the_own_waveform_do_not_depend_on_how_far_a_batch_is_padded():
    """DataParallel may give a device none but short utterances of a long batch."""
    wave, lengths = speech_like(3000, 2000)
    separator = tiny_separator(upstream="none").eval()
    criterion = BSPMPNetLoss(0, 0, 0, 0, 0, 1, 0.7, 0.3)
    losses = []
    for padding in (0, 1234):
        padded = torch.nn.functional.pad(wave, (0, padding))
        _, _, others = separator(padded, lengths)
        losses.append(BSPMPNetSolver(criterion)([padded * 0.5], [], others)[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("level", [1e-18, 1e-24, 1e-40])
def test_a_tail_that_nearly_died_away_has_finite_gradients_in_all_losses(level):
    """As equalisers leave it before speech begins: its square is no float any more."""
    wave, lengths = speech_like(4000)
    wave[0, :3000] = level * torch.randn(3000)
    separator = tiny_separator(
        upstream="none", decoder="bands", phase_path="rotation", num_bands=8
    )
    _, _, others = separator(wave, lengths)
    criterion = BSPMPNetLoss(1, 1, 1, 1, 1, 1, 1, 1)
    BSPMPNetSolver(criterion)([wave * 0.5], [], others)[0].backward()
    for name, parameter in separator.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_a_consistent_spectrum_has_no_consistency_loss():
    """With a mask of 1 and the noisy phase the estimate is a real STFT."""
    wave, lengths = speech_like(3000)
    separator = tiny_separator(pcs_target=False)
    magnitude, phase = separator.bsp_mpnet.spectrum(wave)
    mask = torch.ones(1, magnitude.size(2), dtype=torch.bool)
    separator.bsp_mpnet.forward = lambda wave, lengths: Estimate(magnitude, phase, mask)
    _, _, others = separator(wave, lengths)
    criterion = BSPMPNetLoss(0, 0, 0, consistency_weight=1)
    loss, _, _ = BSPMPNetSolver(criterion)([wave], [], others)
    assert loss.item() < 1e-8


@pytest.mark.parametrize("pcs_target", [True, False])
def test_consistency_loss_is_the_distance_to_the_spectrum_of_its_own_waveform(
    pcs_target,
):
    wave, lengths = speech_like(3000)
    separator = tiny_separator(pcs_target=pcs_target)
    _, _, others = separator(wave, lengths)
    criterion = BSPMPNetLoss(0, 0, 0, consistency_weight=1)
    loss, _, _ = BSPMPNetSolver(criterion)([wave], [], others)
    magnitude, phase, mask = others["bsp_mpnet"].estimate
    spectrum = separator.bsp_mpnet.spectrum
    own = torch.polar(*spectrum(spectrum.inverse(magnitude, phase, lengths)))
    expected = complex_loss(own, torch.polar(magnitude, phase), mask)
    assert loss.item() == pytest.approx(expected.item()) and loss.item() > 1e-6


@pytest.mark.parametrize("weights", [dict(phase_weight=-1), dict.fromkeys(
    ["magnitude_weight", "phase_weight", "complex_weight"], 0)])  # fmt: skip
def test_senseless_weights_are_refused(weights):
    with pytest.raises(UserError, match="loss weights"):
        BSPMPNetLoss(**weights)


def test_only_trained_losses_of_the_waveform_need_it():
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss
    from espnet2.enh.loss.wrappers.fixed_order import FixedOrderSolver

    ours = BSPMPNetSolver(BSPMPNetLoss())
    watched = FixedOrderSolver(SISNRLoss(only_for_test=True))
    assert not need_waveform([ours, watched])
    assert need_waveform([ours, FixedOrderSolver(SISNRLoss())])


def test_wrapper_and_separator_must_belong_together():
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss

    with pytest.raises(UserError, match="separator bsp_mpnet only"):
        BSPMPNetSolver(BSPMPNetLoss())([torch.zeros(1, 1)], [], {})
    with pytest.raises(UserError, match="fixed_order"):
        BSPMPNetSolver(SISNRLoss())
