"""Magnitude-phase 2D coarse encoder, MP-2DC (Section III-A)."""

from torch import Tensor, nn


class CoarseEncoder(nn.Module):
    """Gate a spectrum with what two 2D convolutions see around each bin.

    One instance encodes the magnitude, another the phase; they share nothing.

    Args:
        channels: feature maps between the up and the down convolution.
    """

    def __init__(self, channels: int = 16):
        super().__init__()
        self.up = nn.Conv2d(1, channels, kernel_size=3, padding="same")
        self.norm = nn.BatchNorm2d(channels)
        self.activation = nn.PReLU()
        self.down = nn.Conv2d(channels, 1, kernel_size=3, padding="same")

    def forward(self, spectrum: Tensor, mask: Tensor) -> Tensor:
        """Encode: input times a gate in (0, 1).

        Args:
            spectrum: magnitude or phase [B, F, T].
            mask: true for real frames, bool [B, T].

        Returns:
            coarse features [B, F, T], zero in padded frames.
        """
        real = mask[:, None, None, :]
        x = self.up(spectrum.unsqueeze(1) * real)  # [B, C, F, T]
        x = self.activation(self._normalise(x, mask))
        gate = self.down(x * real).sigmoid().squeeze(1)  # [B, F, T]
        return spectrum * gate * mask.unsqueeze(1)

    def _normalise(self, x: Tensor, mask: Tensor) -> Tensor:
        """Batch-normalise; in training the statistics see real frames only."""
        if not self.training or bool(mask.all()):
            return self.norm(x)
        frames = x.permute(0, 3, 1, 2)  # [B, T, C, F]
        normalised = self.norm(frames[mask].unsqueeze(-1)).squeeze(-1)  # [N, C, F]
        frames = frames.masked_scatter(mask[:, :, None, None], normalised)
        return frames.permute(0, 2, 3, 1)
