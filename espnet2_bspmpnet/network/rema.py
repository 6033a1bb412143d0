"""RNN-enhanced multi-attention decoder, REMA, and the mask gate (Eqs. 6-10).

Everything takes a mask of the real frames, so that what a padded batch gives is what
each utterance gives alone.
"""

import math

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.recurrence import both_ways


class FeedForward(nn.Sequential):
    """FFN of the SA-FN and TFA-FN blocks: Linear, ReLU, Linear.

    Args:
        dim: channels in and out.
        expansion: hidden channels as a multiple of ``dim``.
        dropout: probability after either layer.
    """

    def __init__(self, dim: int, expansion: int, dropout: float):
        super().__init__(
            nn.Linear(dim, expansion * dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * dim, dim),
            nn.Dropout(dropout),
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention, MHSA.

    Args:
        dim: channels.
        num_heads: heads.
        dropout: probability in the attention weights and after the output.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(
            dim, num_heads, dropout=dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend [B, T, C] to the frames where ``mask`` [B, T] is true."""
        # Without padding no mask at all: the attention kernels are faster then.
        padded = not bool(mask.all())
        if self.training:
            padding = ~mask if padded else None
            y, _ = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)
            return self.dropout(y)
        # The module's own way keeps matrices of T x T; this one none.
        module = self.attention
        packed = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias)
        packed = packed.unflatten(2, (3, module.num_heads, -1))  # [B, T, 3, H, C / H]
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each [B, H, T, C / H]
        y = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None] if padded else None
        )
        return module.out_proj(y.transpose(1, 2).flatten(2))


class SmallBiGRU(nn.Module):
    """sBi-GRU (Eq. 7): a bidirectional GRU of a quarter of the width, projected back.

    Args:
        dim: channels in and out; each direction has dim / 4.
    """

    def __init__(self, dim: int):
        super().__init__()
        hidden = max(dim // 4, 1)
        self.gru = nn.GRU(dim, hidden, bidirectional=True)
        self.project = nn.Linear(2 * hidden, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Run over [B, T, C]; the backward direction starts at the last real frame."""
        return self.project(
            both_ways(self.gru, x.transpose(0, 1), mask).transpose(0, 1)
        )


class TimeFrequencyAttention(nn.Module):
    """TFA (Fig. 3): weights over time times weights over channels.

    Args:
        dim: channels.
        reduction: channel attention has dim / reduction hidden units.
        kernel_size: of the two convolutions of the time attention, in frames.
    """

    def __init__(self, dim: int, reduction: int = 4, kernel_size: int = 7):
        super().__init__()
        hidden = max(dim // reduction, 1)
        self.time_in = nn.Conv1d(2, 8, kernel_size, padding="same")
        self.time_out = nn.Conv1d(8, 1, kernel_size, padding="same")
        self.channel_in = nn.Linear(dim, hidden)
        self.channel_out = nn.Linear(hidden, dim)

    def time_attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weights F_ta [B, T, 1] from the channels' maximum and mean."""
        pooled = torch.stack([x.amax(2), x.mean(2)], dim=1)  # [B, 2, T]
        real = mask.unsqueeze(1)
        y = self.time_in(pooled * real).relu()
        return self.time_out(y * real).sigmoid().transpose(1, 2)

    def channel_attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weights F_fa [B, 1, C] from the maximum and mean over the real frames."""
        real = mask.unsqueeze(2)
        mean = (x * real).sum(1) / real.sum(1)
        pooled = x.masked_fill(~real, -math.inf).amax(1) + mean  # [B, C]
        y = self.channel_out(self.channel_in(pooled).relu())
        return y.sigmoid().unsqueeze(1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weigh [B, T, C] by F_ta . F_fa."""
        return x * self.time_attention(x, mask) * self.channel_attention(x, mask)


class REMABlock(nn.Module):
    """SA-FN, sBi-GRU, TFA-FN with residuals and post layer norm (Eqs. 6-8).

    Args:
        dim: channels.
        num_heads: attention heads.
        ffn_expansion: hidden channels of the FFNs as a multiple of ``dim``.
        dropout: probability.
    """

    def __init__(self, dim: int, num_heads: int, ffn_expansion: int, dropout: float):
        super().__init__()
        self.self_attention = SelfAttention(dim, num_heads, dropout)
        self.self_attention_ffn = FeedForward(dim, ffn_expansion, dropout)
        self.gru = SmallBiGRU(dim)
        self.tfa = TimeFrequencyAttention(dim)
        self.tfa_ffn = FeedForward(dim, ffn_expansion, dropout)
        self.self_attention_norm = nn.LayerNorm(dim)
        self.self_attention_ffn_norm = nn.LayerNorm(dim)
        self.gru_norm = nn.LayerNorm(dim)
        self.tfa_norm = nn.LayerNorm(dim)
        self.tfa_ffn_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Decode [B, T, C] given the real frames, bool [B, T]."""
        x = self.self_attention_norm(x + self.self_attention(x, mask))
        x = self.self_attention_ffn_norm(x + self.self_attention_ffn(x))  # Z_sa
        x = self.gru_norm(x + self.gru(x, mask))  # Z_gru
        x = self.tfa_norm(x + self.tfa(x, mask))
        return self.tfa_ffn_norm(x + self.tfa_ffn(x))  # Z_tfa


class REMA(nn.Module):
    """REMA decoder: cross-domain features to one value a bin.

    Args:
        input_dim: D + F, channels of Z_cross.
        dim: d, channels inside.
        num_bins: F.
        num_blocks: REMA blocks; 0 is the paper's "w/o REMA".
        num_heads: attention heads.
        ffn_expansion: see :class:`REMABlock`.
        dropout: probability.
    """

    def __init__(
        self,
        *,
        input_dim: int,
        dim: int = 512,
        num_bins: int = 257,
        num_blocks: int = 2,
        num_heads: int = 8,
        ffn_expansion: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.project_in = nn.Linear(input_dim, dim)
        self.blocks = nn.ModuleList(
            REMABlock(dim, num_heads, ffn_expansion, dropout) for _ in range(num_blocks)
        )
        self.project_out = nn.Linear(dim, num_bins)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Decode Z_cross [B, T, D + F] to Z_rema [B, F, T], zero in padded frames."""
        x = self.project_in(x)
        for block in self.blocks:
            x = block(x, mask)
        return (self.project_out(x) * mask.unsqueeze(2)).transpose(1, 2)


class LSigmoid(nn.Module):
    """LSigmoid(t) = beta / (1 + exp(1 - alpha_f . t)) (Eq. 10).

    Args:
        num_bins: F; alpha is trainable for each bin and starts at 1.
        beta: the largest value.
    """

    def __init__(self, num_bins: int, beta: float = 1.0):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(num_bins, 1))
        self.beta = beta

    def forward(self, t: Tensor) -> Tensor:
        """Map [B, F, T] into (0, beta)."""
        return self.beta * torch.sigmoid(self.alpha * t - 1)


class MaskGate(nn.Module):
    """Z_mask = LSigmoid(Conv1D(ReLU(Z_rema))) (Eq. 9).

    Args:
        num_bins: F.
        kernel_size: in frames.
    """

    def __init__(self, num_bins: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv1d(num_bins, num_bins, kernel_size, padding="same")
        self.lsigmoid = LSigmoid(num_bins)

    def forward(self, z_rema: Tensor) -> Tensor:
        """Turn Z_rema [B, F, T], zero in padded frames, into a mask in (0, 1)."""
        return self.lsigmoid(self.conv(z_rema.relu()))


class MaskedEstimate(nn.Module):
    """Estimate = mask . noisy: the paper's clean magnitude and its clean phase.

    Args:
        mask: module from Z_rema to a mask in (0, 1), such as :class:`MaskGate`.
    """

    def __init__(self, mask: nn.Module):
        super().__init__()
        self.mask = mask

    def forward(self, z_rema: Tensor, noisy: Tensor) -> Tensor:
        """Z_rema and noisy magnitude or phase [B, F, T] -> estimate [B, F, T]."""
        return self.mask(z_rema) * noisy
