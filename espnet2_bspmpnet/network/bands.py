"""The bands decoder: magnitude mask and phase of a spectrum split into frequency bands.

The paper's REMA decoder sees a frame as one flat vector, so that nothing learnt at one
frequency serves another.  This decoder, this project's own, keeps frequency as an axis:
its recurrence over time (the paper's sBi-GRU) has the same weights for every band, its
self-attention (the paper's SA-FN) runs over the bands of a frame.  So its cost grows with
the length of a signal, not with its square, and no frame is seen from afar but through
the recurrence.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.phase import PHASE_READINGS
from espnet2_bspmpnet.network.recurrence import both_ways
from espnet2_bspmpnet.network.rema import FeedForward, LSigmoid

COMPRESSION = 0.3  # exponent of the magnitudes that the network sees
SMALLEST = 1e-4  # magnitude, at a speech level of -26 dB far below any noise
KERNEL, STRIDE = 8, 4  # of the convolutions between bins and channels
FRAMES_AT_ONCE = 64  # more leave a processor's cache, and take twice the time


def compressed_features(magnitude: Tensor, phase: Tensor) -> Tensor:
    """|X|^.3 and the real and imaginary part of X |X|^-.7: phase without wraps.

    Args:
        magnitude: linear magnitude |X| [..., F].
        phase: radians [..., F].

    Returns:
        [..., 3, F].
    """
    compressed = magnitude.clamp(min=SMALLEST) ** COMPRESSION
    parts = compressed, compressed * phase.cos(), compressed * phase.sin()
    return torch.stack(parts, dim=-2)


def mel_bands(num_bands: int, num_inputs: int, nyquist: float = 8000.0) -> Tensor:
    """Triangles spaced by the mel scale, each row's sum 1.

    Args:
        num_bands: K.
        num_inputs: points from 0 Hz to ``nyquist``, two or more, and one at least for
            each band.

    Returns:
        [K, num_inputs].
    """

    def mel(hertz: Tensor) -> Tensor:
        return 2595 * torch.log10(1 + hertz / 700)

    points = mel(torch.linspace(0, nyquist, num_inputs, dtype=torch.float64))
    centres = torch.linspace(0, float(points[-1]), num_bands, dtype=torch.float64)
    # A band is at least as wide as the points around it are apart.
    width = torch.full_like(centres, float(points[-1]) / max(num_bands - 1, 1))
    spacing = torch.diff(points, append=2 * points[-1:] - points[-2:-1])
    nearest = (centres.unsqueeze(1) - points).abs().argmin(1)
    width = torch.maximum(width, spacing[nearest])
    triangles = 1 - (points - centres.unsqueeze(1)).abs() / width.unsqueeze(1)
    triangles = triangles.clamp(min=0)
    return (triangles / triangles.sum(1, keepdim=True)).float()


def by_frame(
    function: Callable[..., Tensor], *inputs: Tensor, training: bool
) -> Tensor:
    """Compute what sees one frame at a time, on a CPU in blocks of frames.

    Args:
        function: of parts of the inputs.
        inputs: frames first [N, ...].
        training: all at once, as batch normalisation then wants its statistics.

    Returns:
        what the function gives of all at once.
    """
    if training or inputs[0].device.type != "cpu" or len(inputs[0]) <= FRAMES_AT_ONCE:
        return function(*inputs)
    parts = zip(*(whole.split(FRAMES_AT_ONCE) for whole in inputs), strict=True)
    return torch.cat([function(*part) for part in parts])


def num_points(num_bins: int) -> int:
    """Points F' that the encoder makes of F bins, and bands share out among themselves."""
    return num_bins // STRIDE + 1


class FrequencyConvolution(nn.Module):
    """x + SiLU(BatchNorm(Conv1d(x))) over the frequencies of single frames [N, C, F'].

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [N, C, F'] along its last axis."""
        return x + nn.functional.silu(self.norm(self.conv(x)))


class BandBlock(nn.Module):
    """Recurrence over time, attention over bands, feed-forward: pre-normed residuals.

    Args:
        dim: C, channels of a band.
        num_heads: attention heads.
        ffn_expansion: hidden channels of the feed-forward layer as a multiple of C.
        dropout: probability in it.
    """

    def __init__(self, dim: int, num_heads: int, ffn_expansion: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.recurrence_norm = nn.LayerNorm(dim)
        self.recurrence = nn.LSTM(dim, dim // 2, bidirectional=True)
        self.recurrence_out = nn.Linear(dim // 2 * 2, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention_in = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = FeedForward(dim, ffn_expansion, dropout)

    def over_time(self, x: Tensor, mask: Tensor) -> Tensor:
        """Run over the frames of each band [T, B, K, C], bool [B, T]."""
        bands = x.size(2)
        y = both_ways(
            self.recurrence, x.flatten(1, 2), mask.repeat_interleave(bands, 0)
        )
        return self.recurrence_out(y).unflatten(1, (-1, bands))

    def over_bands(self, x: Tensor) -> Tensor:
        """Attend to the bands of each frame [N, K, C]."""
        packed = self.attention_in(x)
        packed = packed.unflatten(2, (3, self.num_heads, -1))  # [N, K, 3, H, C / H]
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # each [N, H, K, C / H]
        y = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.attention_out(y.transpose(1, 2).flatten(2))

    def within_frames(self, x: Tensor) -> Tensor:
        """Attention and feed-forward layer of frames [N, K, C]."""
        x = x + self.over_bands(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Decode bands [T, B, K, C] given the real frames, bool [B, T]."""
        x = x + self.over_time(self.recurrence_norm(x), mask)
        frames = x.flatten(0, 1)
        return by_frame(self.within_frames, frames, training=self.training).view_as(x)


class Bands(nn.Module):
    """Noisy magnitude and phase -> the estimated ones.

    Args:
        num_bins: F.
        dim: C, channels of a band.
        num_bands: K, from 2 to :func:`num_points`.
        num_blocks: :class:`BandBlock`.
        num_heads: see there.
        ffn_expansion: see there.
        dropout: see there.
        ssl_widths: channels of the SSL features that each path offers, if any.
        magnitude_path: false keeps the noisy magnitude.
        phase_path: a name in phase.PHASE_READINGS, or "none".
    """

    def __init__(
        self,
        *,
        num_bins: int,
        dim: int,
        num_bands: int,
        num_blocks: int,
        num_heads: int,
        ffn_expansion: int,
        dropout: float,
        ssl_widths: dict[str, int],
        magnitude_path: bool = True,
        phase_path: str = "rotation",
    ):
        super().__init__()
        self.encode = nn.Conv1d(3, dim, KERNEL, STRIDE, padding=KERNEL // 2)
        self.encoder = nn.Sequential(*(FrequencyConvolution(dim) for _ in range(2)))
        split, merge = _filters(num_bands, num_points(num_bins))
        self.split = nn.Parameter(split)
        self.band_embedding = nn.Parameter(torch.zeros(num_bands, dim))
        self.ssl_projections = nn.ModuleDict(
            {
                path: nn.Linear(width, num_bands * dim)
                for path, width in ssl_widths.items()
            }
        )
        self.blocks = nn.ModuleList(
            BandBlock(dim, num_heads, ffn_expansion, dropout) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(dim)
        self.merge = nn.Parameter(merge)
        self.decoder = nn.Sequential(*(FrequencyConvolution(dim) for _ in range(2)))
        self.mask = LSigmoid(num_bins, beta=2.0) if magnitude_path else None
        outputs, self.phase = PHASE_READINGS.get(phase_path, (0, None))
        self.decode = nn.ConvTranspose1d(
            dim,
            magnitude_path + outputs,
            KERNEL,
            STRIDE,
            padding=KERNEL // 2,
            output_padding=num_bins % STRIDE,
            bias=False,
        )
        # Of each bin: some, such as those below all voices, hold nothing but noise.
        self.bias = nn.Parameter(torch.zeros(magnitude_path + outputs, num_bins))

    def forward(
        self,
        seen: Tensor,
        magnitude: Tensor,
        phase: Tensor,
        ssl_features: dict[str, Tensor],
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Estimate the clean magnitude and phase.

        Args:
            seen: compressed magnitude log(1 + |X|) that the encoder sees [B, F, T].
            magnitude: the one that the mask multiplies [B, F, T].
            phase: noisy phase [B, F, T].
            ssl_features: of each path [B, T, D].
            mask: true for real frames, bool [B, T].

        Returns:
            magnitude, compressed by log(1 + |X|), and phase, each [B, F, T] in float32.
        """
        frames = mask.T  # [T, B]
        spectra = [part.permute(2, 0, 1)[frames] for part in (seen, phase)]
        # Of the N real frames alone [N, C, F'].
        points = by_frame(self._encode, *spectra, training=self.training)
        x = torch.einsum("kf,ncf->nkc", self.split, points) + self.band_embedding
        x = _scattered(x, frames)  # [T, B, K, C]
        for path, project in self.ssl_projections.items():
            x = x + project(ssl_features[path]).transpose(0, 1).view_as(x)
        for block in self.blocks:
            x = block(x, mask)
        x = by_frame(self._decode, x[frames], points, training=self.training)
        with torch.autocast(x.device.type, enabled=False):
            heads = _scattered(x.float(), frames).permute(2, 1, 3, 0)  # [., B, F, T]
            return self._estimate(list(heads), magnitude, phase)

    def _encode(self, seen: Tensor, phase: Tensor) -> Tensor:
        """Encode frames [N, F] to [N, C, F']."""
        with torch.autocast(seen.device.type, enabled=False):
            features = compressed_features(torch.expm1(seen), phase)
        return self.encoder(self.encode(features.to(self.encode.weight.dtype)))

    def _decode(self, x: Tensor, points: Tensor) -> Tensor:
        """Decode frames [N, K, C] and what was encoded to the heads' outputs [N, ., F]."""
        x = torch.einsum("fk,nkc->ncf", self.merge, self.norm(x))
        return self.decode(self.decoder(x + points)) + self.bias

    def _estimate(
        self, heads: list[Tensor], magnitude: Tensor, phase: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.mask is not None:
            magnitude = torch.log1p(self.mask(heads.pop(0)) * torch.expm1(magnitude))
        if self.phase is not None:
            phase = self.phase(phase, *heads)
        return magnitude, phase


def _filters(num_bands: int, num_inputs: int) -> tuple[Tensor, Tensor]:
    """Give the bands' shares in points [K, F'], and the points' in bands [F', K]."""
    split, merge = (
        torch.empty(num_bands, num_inputs),
        torch.empty(num_inputs, num_bands),
    )
    if split.is_meta:  # shapes alone are wanted, and no memory is to be taken
        return split, merge
    split = mel_bands(num_bands, num_inputs)
    # Each point takes from the bands around it.
    return split, (split / split.sum(0).clamp(min=1e-3)).T


def _scattered(x: Tensor, frames: Tensor) -> Tensor:
    """Put real frames [N, ...] to their places [T, B, ...]; padded ones are zero."""
    if len(x) == frames.numel():
        return x.unflatten(0, frames.shape)
    placed = x.new_zeros(*frames.shape, *x.shape[1:])
    placed[frames] = x
    return placed
