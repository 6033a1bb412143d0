"""REMA: SA-FN, sBi-GRU, TFA-FN, mask gate with LSigmoid (Eqs. 6-10, Fig. 3)."""

import math

import pytest
import torch

from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.rema import (
    REMA,
    FeedForward,
    LSigmoid,
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


def test_mask_gate_is_lsigmoid_of_convolution_of_relu():
    gate, z_rema = MaskGate(5), torch.randn(2, 5, 9)
    conv = torch.conv1d(z_rema.relu(), gate.conv.weight, gate.conv.bias, padding=1)
    mask = gate(z_rema)
    assert torch.allclose(mask, 1 / (1 + torch.exp(1 - conv)), atol=1e-6)
    assert mask.min() > 0 and mask.max() < 1


def test_tfa_is_the_input_times_an_outer_product():
    tfa, x = TimeFrequencyAttention(8), torch.randn(2, 6, 8)
    mask = torch.ones(2, 6, dtype=torch.bool)
    ratio = tfa(x, mask) / x
    time, channel = tfa.time_attention(x, mask), tfa.channel_attention(x, mask)
    assert time.shape == (2, 6, 1) and channel.shape == (2, 1, 8)
    assert torch.allclose(ratio, time @ channel, atol=1e-5)
    assert ratio.min() > 0 and ratio.max() < 1


def test_tfa_pools_maximum_and_mean():
    tfa, x = TimeFrequencyAttention(8), torch.randn(1, 6, 8)
    mask = torch.ones(1, 6, dtype=torch.bool)
    pooled = torch.stack([x.max(2).values, x.mean(2)], 1)
    time = tfa.time_out(tfa.time_in(pooled).relu()).sigmoid()
    assert torch.allclose(tfa.time_attention(x, mask), time.transpose(1, 2))
    pooled = x.max(1).values + x.mean(1)
    channel = tfa.channel_out(tfa.channel_in(pooled).relu()).sigmoid()
    assert torch.allclose(tfa.channel_attention(x, mask)[:, 0], channel)


def test_gru_has_a_quarter_of_the_width_a_direction():
    gru = SmallBiGRU(32)
    assert gru.gru.hidden_size == 8 and gru.gru.bidirectional
    assert gru.project.weight.shape == (32, 16)


def test_block_is_post_norm_with_residuals():
    block = REMABlock(8, num_heads=2, ffn_expansion=4, dropout=0.0)
    x, mask = torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    y = block.norms[0](x + block.self_attention(x, mask))
    y = block.norms[1](y + block.self_attention_ffn(y))
    y = block.norms[2](y + block.gru(y, mask))
    y = block.norms[3](y + block.tfa(y, mask))
    y = block.norms[4](y + block.tfa_ffn(y))
    assert torch.allclose(block(x, mask), y)
    assert block.tfa_ffn[0].out_features == 4 * 8


def test_attention_is_softmax_of_scaled_products():
    attention, x = SelfAttention(4, num_heads=1, dropout=0.0), torch.randn(1, 5, 4)
    inner = attention.attention
    query, key, value = (
        x[0] @ weight.T + bias
        for weight, bias in zip(
            inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3)
        )
    )
    weights = torch.softmax(query @ key.T / math.sqrt(4), dim=-1)
    expected = inner.out_proj(weights @ value)
    mask = torch.ones(1, 5, dtype=torch.bool)
    assert torch.allclose(attention(x, mask)[0], expected, atol=1e-6)


@pytest.mark.parametrize("length", [1, 4, 9])
def test_padding_is_invisible(length):
    rema = REMA(12, dim=8, num_bins=5, num_blocks=2, num_heads=2).eval()
    mask = frame_mask(torch.tensor([10, length]), 10)
    x = torch.randn(2, 10, 12).masked_fill(~mask.unsqueeze(2), 7.0)
    together = rema(x, mask)
    alone = rema(x[1:, :length], mask[1:, :length])
    assert torch.allclose(together[1, :, :length], alone[0], atol=1e-5)
    assert not together[1, :, length:].any()


def test_ffn_is_linear_relu_linear():
    ffn, x = FeedForward(8, expansion=4, dropout=0.0), torch.randn(2, 6, 8)
    hidden = torch.relu(x @ ffn[0].weight.T + ffn[0].bias)
    assert torch.allclose(ffn(x), hidden @ ffn[3].weight.T + ffn[3].bias, atol=1e-6)


def test_tfa_has_two_kernels_of_7_frames_and_a_reduction_of_4():
    tfa = TimeFrequencyAttention(8)
    assert tfa.time_in.weight.shape == (8, 2, 7)
    assert tfa.time_out.weight.shape == (1, 8, 7)
    assert tfa.channel_in.weight.shape == (2, 8)


def test_all_blocks_run_one_after_the_other():
    rema = REMA(12, dim=8, num_bins=5, num_blocks=3, num_heads=2).eval()
    x, mask = torch.randn(2, 6, 12), torch.ones(2, 6, dtype=torch.bool)
    y = rema.project_in(x)
    assert len(rema.blocks) == 3
    for block in rema.blocks:
        y = block(y, mask)
    assert torch.allclose(rema(x, mask), rema.project_out(y).transpose(1, 2), atol=1e-6)


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
    rema = REMA(12, dim=8, num_bins=5, num_blocks=0)
    names = {name.split(".")[0] for name, _ in rema.named_parameters()}
    assert names == {"project_in", "project_out"}
