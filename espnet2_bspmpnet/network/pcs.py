"""Perceptual contrast stretching (Eq. 2): a fixed gain for each frequency."""

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.pcs_gains import pcs_gains


class PCS(nn.Module):
    """X^ = W(f) . X' and back.

    Args:
        num_bins: F.
    """

    def __init__(self, num_bins: int = 257):
        super().__init__()
        weights = torch.from_numpy(pcs_gains(num_bins)).float().unsqueeze(1)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Boost a compressed magnitude [B, F, T]."""
        return self.weights * magnitude

    def undo(self, boosted: Tensor) -> Tensor:
        """Give back the compressed magnitude of a boosted one [B, F, T]."""
        return boosted / self.weights
