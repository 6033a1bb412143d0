"""The bands decoder: its filters, its blocks, its two heads."""

import math

import pytest
import torch

from espnet2_bspmpnet.network.bands import (
    FRAMES_AT_ONCE,
    BandBlock,
    Bands,
    FrequencyConvolution,
    by_frame,
    compressed_features,
    mel_bands,
)
from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.phase import PHASE_READINGS

FEATURES = {"magnitude": 6, "phase": 6}


def small_bands(**changes):
    torch.manual_seed(0)
    options = dict(
        num_bins=33, dim=8, num_bands=6, num_blocks=1, num_heads=2, ffn_expansion=2,
        dropout=0.0, ssl_widths={},
    )  # fmt: skip
    return Bands(**{**options, **changes})


def noisy(frames=9, rows=2, bins=33):
    torch.manual_seed(1)
    magnitude = torch.rand(rows, bins, frames) * 2
    phase = (torch.rand(rows, bins, frames) * 2 - 1) * math.pi
    return magnitude, phase


def everywhere(magnitude):
    return torch.ones(len(magnitude), magnitude.size(2), dtype=torch.bool)


def test_features_are_the_compressed_magnitude_and_the_parts_of_the_spectrum():
    spectrum = torch.tensor([[3 + 4j, -1j, 2 + 0j]])
    features = compressed_features(spectrum.abs(), spectrum.angle())
    compressed = spectrum * spectrum.abs() ** -0.7
    expected = [spectrum.abs() ** 0.3, compressed.real, compressed.imag]
    assert torch.allclose(features, torch.stack(expected, dim=1), atol=1e-6)


def test_features_of_silence_are_finite_and_have_finite_gradients():
    magnitude = torch.zeros(1, 4, requires_grad=True)
    features = compressed_features(magnitude, torch.zeros(1, 4))
    features.sum().backward()
    assert features.isfinite().all() and magnitude.grad.isfinite().all()


@pytest.mark.parametrize("bands, points", [(32, 65), (24, 65), (8, 51), (4, 9)])
def test_bands_are_narrow_below_and_wide_above_and_leave_no_point_out(bands, points):
    filters = mel_bands(bands, points)
    assert filters.shape == (bands, points)
    assert torch.allclose(filters.sum(1), torch.ones(bands))
    assert (filters >= 0).all() and (filters.sum(0) > 0).all()
    widths, peaks = (filters > 0).sum(1), filters.argmax(1)
    assert peaks.tolist() == sorted(peaks.tolist())
    assert widths[1] < widths[-2]


def test_a_frequency_convolution_sees_three_points_of_one_frame():
    layer, x = FrequencyConvolution(4).eval(), torch.randn(2, 4, 9)
    spoilt = x.clone()
    spoilt[0, 0, 4] += 1.0
    changed = (layer(spoilt) != layer(x)).any(1)
    assert changed[0].nonzero().flatten().tolist() == [3, 4, 5] and not changed[1].any()


def test_over_time_has_the_same_weights_for_every_band():
    block, x = BandBlock(8, 2, 2, 0.0), torch.randn(5, 2, 6, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)
    order = torch.randperm(6)
    expected = block.over_time(x, mask)[:, :, order]
    assert torch.allclose(block.over_time(x[:, :, order], mask), expected, atol=1e-6)


def test_over_time_keeps_bands_apart_and_over_bands_frames():
    block, x = BandBlock(8, 2, 2, 0.0), torch.randn(5, 2, 6, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)
    spoilt = x.clone()
    spoilt[2, 1, 3] += 1.0  # frame 2, row 1, band 3
    changed = (block.over_time(spoilt, mask) != block.over_time(x, mask)).any(3)
    assert changed[:, 1, 3].all() and changed.sum() == 5
    frames, spoilt = x.flatten(0, 1), spoilt.flatten(0, 1)
    changed = (block.over_bands(spoilt) != block.over_bands(frames)).any(2)
    assert changed[2 * 2 + 1].all() and changed.sum() == 6


def test_over_bands_is_multi_head_attention():
    block, frames = BandBlock(8, 2, 2, 0.0), torch.randn(10, 6, 8)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    attention.in_proj_weight.data = block.attention_in.weight.data
    attention.in_proj_bias.data = block.attention_in.bias.data
    attention.out_proj.load_state_dict(block.attention_out.state_dict())
    expected, _ = attention(frames, frames, frames)
    assert torch.allclose(block.over_bands(frames), expected, atol=1e-6)


@pytest.mark.parametrize("number", [1, FRAMES_AT_ONCE, FRAMES_AT_ONCE + 1])
def test_blocks_of_frames_give_what_all_at_once_give(number):
    sizes = []

    def added(x, y):
        sizes.append(len(x))
        return x + y

    x, y = torch.randn(2, number, 3)
    assert torch.equal(by_frame(added, x, y, training=False), x + y)
    assert max(sizes) <= FRAMES_AT_ONCE and sum(sizes) == number
    sizes.clear()
    assert torch.equal(by_frame(added, x, y, training=True), x + y)
    assert sizes == [number]


def test_a_block_is_three_residuals_each_with_a_norm_before_it():
    block, x = BandBlock(8, 2, 2, 0.0), 5 + 3 * torch.randn(5, 2, 6, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)
    order = []
    for name, module in block.named_children():
        if name.endswith("norm"):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    block(x, mask)
    assert order == ["recurrence_norm", "attention_norm", "ffn_norm"]
    for layer in (block.recurrence_out, block.attention_out, block.ffn[3]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert torch.equal(block(x, mask), x)


@pytest.mark.parametrize("bins", [33, 34, 35, 36, 201, 257])
def test_every_number_of_bins_comes_back(bins):
    magnitude, phase = noisy(bins=bins)
    outputs = small_bands(num_bins=bins)(
        magnitude, magnitude, phase, {}, everywhere(magnitude)
    )
    assert all(output.shape == magnitude.shape for output in outputs)


@pytest.mark.parametrize("reading", [*PHASE_READINGS, "none"])
def test_the_mask_multiplies_the_linear_magnitude_by_up_to_two(reading):
    magnitude, phase = noisy()
    bands = small_bands(phase_path=reading)
    estimate, _ = bands(magnitude, magnitude, phase, {}, everywhere(magnitude))
    mask = torch.expm1(estimate) / torch.expm1(magnitude)
    assert mask.min() > 0 and mask.max() < 2
    bands.bias.data[0] = 100.0
    estimate, _ = bands(magnitude, magnitude, phase, {}, everywhere(magnitude))
    assert torch.allclose(torch.expm1(estimate), 2 * torch.expm1(magnitude), atol=1e-4)


def test_a_bin_has_a_bias_of_its_own():
    magnitude, phase = noisy()
    bands = small_bands()
    bands.bias.data[0, 0] = -100.0
    estimate, _ = bands(magnitude, magnitude, phase, {}, everywhere(magnitude))
    assert (estimate[:, 0] < 1e-6).all() and (estimate[:, 1:] > 1e-3).any(2).all()


def test_heads_of_zeros_rotate_nothing():
    magnitude, phase = noisy()
    bands = small_bands(phase_path="rotation")
    bands.decode.weight.data.zero_()
    _, estimate = bands(magnitude, magnitude, phase, {}, everywhere(magnitude))
    assert torch.allclose(estimate, phase, atol=1e-6)


def test_without_a_path_what_is_noisy_is_kept():
    magnitude, phase = noisy()
    mask = everywhere(magnitude)
    kept, _ = small_bands(magnitude_path=False)(magnitude, magnitude, phase, {}, mask)
    assert torch.equal(kept, magnitude)
    _, kept = small_bands(phase_path="none")(magnitude, magnitude, phase, {}, mask)
    assert torch.equal(kept, phase)


def test_the_encoder_sees_one_magnitude_and_the_mask_multiplies_another():
    magnitude, phase = noisy()
    mask, bands = everywhere(magnitude), small_bands()
    once, _ = bands(magnitude, magnitude, phase, {}, mask)
    twice, _ = bands(magnitude, magnitude.expm1().mul(2).log1p(), phase, {}, mask)
    assert torch.allclose(twice.expm1(), 2 * once.expm1(), atol=1e-5)
    other, _ = bands(0.5 * magnitude, magnitude, phase, {}, mask)
    assert not torch.allclose(other, once, atol=1e-4)


def test_ssl_features_of_both_paths_join_at_the_bands():
    magnitude, phase = noisy()
    mask, bands = everywhere(magnitude), small_bands(ssl_widths=FEATURES)
    features = {path: torch.randn(2, 9, 6) for path in FEATURES}
    before = bands(magnitude, magnitude, phase, features, mask)
    for path in FEATURES:
        other = {**features, path: torch.randn(2, 9, 6)}
        after = bands(magnitude, magnitude, phase, other, mask)
        assert not torch.allclose(before[0], after[0], atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_padded_frames_change_nothing(training):
    """In training, too: batch normalisation sees the real frames alone."""
    magnitude, phase = noisy(frames=9)
    features = {path: torch.randn(2, 9, 6) for path in FEATURES}
    mask = frame_mask(torch.tensor([9, 4]), 9)
    outputs = []
    for padding in (0.0, 3.0):
        bands = small_bands(ssl_widths=FEATURES).train(training)
        real = mask.unsqueeze(1)
        filled = torch.where(real, magnitude, torch.tensor(padding))
        turned = torch.where(real, phase, torch.tensor(padding))
        spectrum = torch.stack(bands(filled, filled, turned, features, mask))
        outputs.append(spectrum * real)
    assert torch.equal(*outputs)
