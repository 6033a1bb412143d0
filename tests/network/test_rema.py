"""REMA: SA-FN, sBi-GRU, TFA-FN, mask gate with LSigmoid (Eqs. 6-10, Fig. 3)."""

import math

import pytest
import torch

from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.rema import (
    REMA,
    FeedForward,
    LSigmoid,
    MaskedEstimate,
    MaskGate,
    REMABlock,
    SelfAttention,
    SmallBiGRU,
    TimeFrequencyAttention,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_lsigmoid_is_equation_10():
    t = torch.linspace(-5, 5, 7).repeat(1, 3, 1)
    lsigmoid = LSigmoid(3)
    assert torch.allclose(lsigmoid(t), 1 / (1 + torch.exp(1 - t)))
    with torch.no_grad():
        lsigmoid.alpha.copy_(torch.tensor([[0.5], [1.0], [2.0]]))
    for f, alpha in enumerate([0.5, 1.0, 2.0]):
        expected = 1 / (1 + torch.exp(1 - alpha * t[0, f]))
        assert torch.allclose(lsigmoid(t)[0, f], expected)


def test_mask_gate_of_values_computed_by_hand():
    """ReLU, a convolution that passes the middle frame on, 1 / (1 + exp(1 - t))."""
    gate = MaskGate(1)
    with torch.no_grad():
        gate.conv.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
        gate.conv.bias.zero_()
    mask = gate(torch.tensor([[[-3.0, 0.0, 1.0, 3.0]]]))
    expected = [1 / (1 + math.e), 1 / (1 + math.e), 0.5, 1 / (1 + math.exp(-2))]
    assert torch.allclose(mask, torch.tensor([[expected]]))


def test_mask_gate_sees_three_frames_of_all_bins():
    gate, z_rema = MaskGate(2), torch.rand(1, 2, 9)
    spoilt = z_rema.clone()
    spoilt[0, 0, 4] += 1.0
    changed = (gate(spoilt) != gate(z_rema)).any(0)
    assert changed.any(0).nonzero().flatten().tolist() == [3, 4, 5]
    assert changed[:, 3:6].all()


def test_masked_estimate_is_mask_times_noisy():
    z_rema, noisy = torch.randn(2, 5, 9), torch.randn(2, 5, 9)
    estimate = MaskedEstimate(torch.nn.Threshold(100, 0.25))(z_rema, noisy)
    assert torch.equal(estimate, 0.25 * noisy)


def test_tfa_is_the_input_times_an_outer_product():
    tfa, x = TimeFrequencyAttention(8), torch.randn(2, 6, 8)
    mask = torch.ones(2, 6, dtype=torch.bool)
    ratio = tfa(x, mask) / x
    time, channel = tfa.time_attention(x, mask), tfa.channel_attention(x, mask)
    assert time.shape == (2, 6, 1) and channel.shape == (2, 1, 8)
    assert torch.allclose(ratio, time @ channel, atol=1e-5)
    assert ratio.min() > 0 and ratio.max() < 1


def passing_on(module, channel):
    """Make a layer pass one of its inputs on to its first output, unchanged."""
    with torch.no_grad():
        module.weight.zero_()
        module.bias.zero_()
        module.weight[(0, channel, *(n // 2 for n in module.weight.shape[2:]))] = 1.0


@pytest.mark.parametrize("channel, pooled", [(0, [3.0, 2.0]), (1, [1.5, 0.5])])
def test_time_attention_pools_maximum_then_mean_over_channels(channel, pooled):
    tfa = TimeFrequencyAttention(4)
    passing_on(tfa.time_in, channel)
    passing_on(tfa.time_out, 0)
    x = torch.tensor([[[3.0, 1.0, 1.0, 1.0], [2.0, 0.0, 0.0, 0.0]]])
    weights = tfa.time_attention(x, torch.ones(1, 2, dtype=torch.bool))
    expected = torch.tensor(pooled).sigmoid()
    assert torch.allclose(weights.flatten(), expected)


def test_channel_attention_adds_maximum_and_mean_over_real_frames():
    tfa = TimeFrequencyAttention(4)
    passing_on(tfa.channel_in, 2)
    passing_on(tfa.channel_out, 0)
    x = torch.zeros(1, 3, 4)
    x[0, :, 2] = torch.tensor([1.0, 2.0, 50.0])  # the last frame is padding
    weights = tfa.channel_attention(x, torch.tensor([[True, True, False]]))
    assert weights[0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-3.5)))
    assert weights[0, 0, 1].item() == 0.5


def test_gru_has_a_quarter_of_the_width_a_direction():
    gru = SmallBiGRU(32)
    assert gru.gru.hidden_size == 8 and gru.gru.bidirectional
    assert gru.project.weight.shape == (32, 16)


def silenced(block):
    """Let all five sub-layers give zeros."""
    with torch.no_grad():
        for layer in (
            block.self_attention.attention.out_proj,
            block.self_attention_ffn[3],
            block.gru.project,
            block.tfa_ffn[3],
        ):
            layer.weight.zero_()
            layer.bias.zero_()
        block.tfa.time_out.bias.fill_(-100.0)  # its weights are sigmoids
    return block


def test_block_without_its_sublayers_is_a_layer_norm():
    """Residuals around each sub-layer, and the norm after the sum."""
    block = silenced(REMABlock(8, num_heads=2, ffn_expansion=4, dropout=0.0))
    x, mask = 5 + 3 * torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    centred = x - x.mean(2, keepdim=True)
    expected = centred / x.std(2, correction=0, keepdim=True)
    assert torch.allclose(block(x, mask), expected, atol=1e-3)


def test_sublayers_run_in_the_order_of_equations_6_to_8_each_before_its_own_norm():
    block = REMABlock(8, num_heads=2, ffn_expansion=4, dropout=0.0)
    order = []
    for name, module in block.named_children():
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    block(torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool))
    parts = ["self_attention", "self_attention_ffn", "gru", "tfa", "tfa_ffn"]
    assert order == [name for part in parts for name in (part, f"{part}_norm")]
    assert block.tfa_ffn[0].out_features == 4 * 8


def test_each_norm_has_weights_of_its_own():
    x, mask = torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    block = REMABlock(8, num_heads=2, ffn_expansion=4, dropout=0.0)
    before = block(x, mask)
    norms = [m for m in block.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 5
    for norm in norms:
        with torch.no_grad():
            norm.weight[0] += 1.0
        assert not torch.allclose(block(x, mask), before)
        with torch.no_grad():
            norm.weight[0] -= 1.0


def test_attention_is_softmax_of_products_scaled_by_the_root_of_the_heads_width():
    """Two frames, channels of one head: values and weights computed by hand."""
    attention = SelfAttention(4, num_heads=1, dropout=0.0)
    inner = attention.attention
    with torch.no_grad():
        inner.in_proj_weight.copy_(torch.eye(4).repeat(3, 1))
        inner.in_proj_bias.zero_()
        inner.out_proj.weight.copy_(torch.eye(4))
        inner.out_proj.bias.zero_()
    x = torch.tensor([[[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    y = attention(x, torch.ones(1, 2, dtype=torch.bool))
    own = 1 / (1 + math.exp(-2 * 2 / 2))  # 4 / sqrt(4) against 0
    assert y[0, 0, 0].item() == pytest.approx(2 * own)
    assert y[0, 1, 0].item() == pytest.approx(1.0)  # both weigh the same


def test_attention_has_no_positions():
    attention, x = SelfAttention(8, num_heads=2, dropout=0.0), torch.randn(1, 5, 8)
    mask, shuffled = torch.ones(1, 5, dtype=torch.bool), torch.tensor([3, 0, 4, 1, 2])
    expected = attention(x, mask)[:, shuffled]
    assert torch.allclose(attention(x[:, shuffled], mask), expected, atol=1e-6)


@pytest.mark.parametrize("length", [1, 4, 9])
def test_padding_is_invisible(length):
    rema = REMA(input_dim=12, dim=8, num_bins=5, num_blocks=2, num_heads=2).eval()
    mask = frame_mask(torch.tensor([10, length]), 10)
    x = torch.randn(2, 10, 12).masked_fill(~mask.unsqueeze(2), 7.0)
    together = rema(x, mask)
    alone = rema(x[1:, :length], mask[1:, :length])
    assert torch.allclose(together[1, :, :length], alone[0], atol=1e-5)
    assert not together[1, :, length:].any()


def test_ffn_of_one_channel_computed_by_hand():
    """-2 + relu(3 x + 1) * 5, with a second hidden channel that is left out."""
    ffn = FeedForward(1, expansion=2, dropout=0.0)
    with torch.no_grad():
        ffn[0].weight.copy_(torch.tensor([[3.0], [7.0]]))
        ffn[0].bias.copy_(torch.tensor([1.0, 7.0]))
        ffn[3].weight.copy_(torch.tensor([[5.0, 0.0]]))
        ffn[3].bias.fill_(-2.0)
    assert ffn(torch.tensor([[-1.0], [0.0], [1.0]])).flatten().tolist() == [-2, 3, 18]


def test_tfa_has_two_kernels_of_7_frames_and_a_reduction_of_4():
    tfa = TimeFrequencyAttention(8)
    assert tfa.time_in.weight.shape == (8, 2, 7)
    assert tfa.time_out.weight.shape == (1, 8, 7)
    assert tfa.channel_in.weight.shape == (2, 8)


def test_every_block_is_run_once_and_changes_the_output():
    rema = REMA(input_dim=12, dim=8, num_bins=5, num_blocks=3, num_heads=2).eval()
    x, mask = torch.randn(2, 6, 12), torch.ones(2, 6, dtype=torch.bool)
    runs = []
    for number, block in enumerate(rema.blocks):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    before = rema(x, mask)
    assert runs == [0, 1, 2] and before.shape == (2, 5, 6)
    for block in rema.blocks:
        with torch.no_grad():
            block.gru.project.bias[0] += 1.0
        after = rema(x, mask)
        assert not torch.allclose(after, before)
        before = after


def test_dropout_acts_in_attention_weights_its_output_and_both_ffns_in_training_only():
    block = REMABlock(8, num_heads=2, ffn_expansion=4, dropout=0.3)
    assert block.self_attention.attention.dropout == 0.3
    dropouts = [n for n, m in block.named_modules() if isinstance(m, torch.nn.Dropout)]
    assert len(dropouts) == 5
    x, mask = torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    for part in (block.self_attention_ffn, block.tfa_ffn):
        assert not torch.equal(part(x), part(x))
    attention = block.self_attention
    attention.attention.dropout = 0.0
    dropped = (attention(x, mask) == 0).float().mean()
    assert 0.1 < dropped < 0.5
    block.eval()
    assert torch.equal(block(x, mask), block(x, mask))


def test_without_rema_input_projection_and_linear_layer_stay():
    rema = REMA(input_dim=12, dim=8, num_bins=5, num_blocks=0)
    names = {name.split(".")[0] for name, _ in rema.named_parameters()}
    assert names == {"project_in", "project_out"}
