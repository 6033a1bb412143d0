"""s3prl's transformer layer, computed over [B, S, C] in little memory.

The weights are those of s3prl's modules, and so are the results.  What differs is what
is kept for the backward pass: neither the attention's [B, H, S, S] matrices nor the
activations of the feed-forward network, which are wide but cheap to compute again.
"""

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


def transformer_layer(
    layer: nn.Module, x: Tensor, real: Tensor | None, position_bias: Tensor | None
) -> Tensor:
    """Compute one layer of the encoder.

    Args:
        layer: s3prl's TransformerSentenceEncoderLayer, of WavLM or wav2vec 2.0.
        x: its input [B, S, C].
        real: true for real frames, bool [B, S]; None if all are.
        position_bias: relative position's bias [H, S, S] (WavLM), or None.

    Returns:
        its output [B, S, C].
    """
    if layer.layer_norm_first:
        y = layer.self_attn_layer_norm(x)
        y = attention(layer.self_attn, y, real, position_bias)
        x = x + _dropout(layer.dropout1, y)
        y = _feed_forward(layer, layer.final_layer_norm(x))
        return x + _dropout(layer.dropout3, y)
    y = attention(layer.self_attn, x, real, position_bias)
    x = layer.self_attn_layer_norm(x + _dropout(layer.dropout1, y))
    y = _feed_forward(layer, x)
    return layer.final_layer_norm(x + _dropout(layer.dropout3, y))


def attention(
    module: nn.Module, x: Tensor, real: Tensor | None, position_bias: Tensor | None
) -> Tensor:
    """Multi-head self-attention [B, S, C] -> [B, S, C], with WavLM's gated bias.

    Args:
        module: s3prl's MultiheadAttention.
        x: queries, keys and values.
        real: as in :func:`transformer_layer`.
        position_bias: as in :func:`transformer_layer`.
    """

    def heads(features: Tensor) -> Tensor:  # [B, S, H, C / H]
        return features.unflatten(2, (module.num_heads, -1))

    projections = (module.q_proj, module.k_proj, module.v_proj)
    query, key, value = (heads(project(x)).transpose(1, 2) for project in projections)
    gate = None
    if position_bias is not None and module.gru_rel_pos:
        gate = _position_gate(module, heads(x))
    dropout = module.dropout_module.p if module.training else 0.0
    inputs = (query, key, value, gate, position_bias, real, dropout)
    if torch.is_grad_enabled():
        mixed = checkpoint(_attend, *inputs, use_reentrant=False)
    else:
        mixed = _attend(*inputs)
    return module.out_proj(mixed.transpose(1, 2).flatten(2))


def _position_gate(module: nn.Module, x: Tensor) -> Tensor:
    """WavLM's gate on the relative position's bias [B, H, S, 1], from [B, S, H, C / H]."""
    logits = module.grep_linear(x).unflatten(3, (2, 4)).sum(4).transpose(1, 2)
    update, reset = logits.sigmoid().chunk(2, dim=3)
    return update * (reset * module.grep_a - 1.0) + 2.0


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None,
    position_bias: Tensor | None,
    real: Tensor | None,
    dropout: float,
) -> Tensor:
    mask = None if real is None else real[:, None, None]  # [B, 1, 1, S]
    if position_bias is not None:
        bias = position_bias if gate is None else gate * position_bias  # [B, H, S, S]
        mask = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
        mask = mask.to(query.dtype)
    return nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout
    )


def _feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    """Two linear layers and an activation, of which only the input is kept."""
    hidden = layer.fc1(x)
    active = layer.activation_fn(hidden)
    kept, address = hidden.detach(), active.data_ptr()

    def pack(saved: Tensor):
        is_active = saved.data_ptr() == address and saved.numel() == kept.numel()
        return saved.shape if is_active else saved

    def unpack(packed) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        return layer.activation_fn(kept).view(packed)

    with saved_tensors_hooks(pack, unpack):
        return layer.fc2(layer.dropout2(active))


def _dropout(module: nn.Dropout, x: Tensor) -> Tensor:
    """Dropout whose mask is kept in bytes, on the CPU, too."""
    if not module.training or module.p == 0.0:
        return x
    return torch.native_dropout(x, module.p, True)[0]
