"""From the phase decoder's output Z_rema to the estimated phase: two other readings.

The paper multiplies the noisy phase by a mask (rema.MaskedEstimate).  A mask in (0, 1) can
only shrink the wrapped phase towards 0; these two reach every angle.
"""

import math

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.spectrum import wrap_phase


class ResidualPhase(nn.Module):
    """Estimated phase = noisy phase + pi . tanh(output), wrapped.

    The output layer starts near zero, so that a fresh network starts near the noisy
    phase.

    Args:
        num_bins: F.
        kernel_size: in frames.
    """

    def __init__(self, num_bins: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv1d(num_bins, num_bins, kernel_size, padding="same")
        nn.init.normal_(self.conv.weight, std=1e-3)
        nn.init.zeros_(self.conv.bias)

    def forward(self, z_rema: Tensor, noisy_phase: Tensor) -> Tensor:
        """Z_rema and noisy phase [B, F, T] -> phase in radians [B, F, T]."""
        return wrap_phase(noisy_phase + math.pi * self.conv(z_rema).float().tanh())


class ParallelPhase(nn.Module):
    """Estimated phase = atan2(i, r) of two parallel outputs (MP-SENet).

    Args:
        num_bins: F.
        kernel_size: in frames.
    """

    def __init__(self, num_bins: int, kernel_size: int = 3):
        super().__init__()
        self.real = nn.Conv1d(num_bins, num_bins, kernel_size, padding="same")
        self.imaginary = nn.Conv1d(num_bins, num_bins, kernel_size, padding="same")

    def forward(self, z_rema: Tensor, noisy_phase: Tensor) -> Tensor:
        """Z_rema [B, F, T] -> phase in radians [B, F, T]; the noisy phase is unused."""
        return torch.atan2(self.imaginary(z_rema).float(), self.real(z_rema).float())
