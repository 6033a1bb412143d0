"""From a decoder's output to the estimated phase: the readings other than the paper's.

The paper multiplies the noisy phase by a mask (rema.MaskedEstimate).  A mask in (0, 1) can
only shrink the wrapped phase towards 0; these reach every angle.
"""

import math

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.spectrum import wrap_phase


def residual_phase(noisy_phase: Tensor, output: Tensor) -> Tensor:
    """Noisy phase + pi . tanh(output), wrapped: zeros leave the noisy phase."""
    return wrap_phase(noisy_phase + math.pi * output.tanh())


def parallel_phase(noisy_phase: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """atan2(i, r) of two outputs (MP-SENet); the noisy phase is unused."""
    return torch.atan2(imaginary, real)


def rotated_phase(noisy_phase: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """Noisy phase turned by the angle of (1 + r) + i . j, wrapped.

    Zeros leave the noisy phase, and no wrap stands in the way of an angle.
    """
    return wrap_phase(noisy_phase + torch.atan2(imaginary, 1 + real))


# Outputs that each reading takes, all [B, F, T], and the function of them.
PHASE_READINGS = {
    "residual": (1, residual_phase),
    "atan2": (2, parallel_phase),
    "rotation": (2, rotated_phase),
}


class PhaseHead(nn.Module):
    """Z_rema -> one convolution for each output of a reading -> estimated phase.

    Args:
        reading: a name in PHASE_READINGS.
        num_bins: F.
        kernel_size: in frames.
    """

    def __init__(self, reading: str, num_bins: int, kernel_size: int = 3):
        super().__init__()
        outputs, self.phase = PHASE_READINGS[reading]
        self.outputs = nn.ModuleList(
            nn.Conv1d(num_bins, num_bins, kernel_size, padding="same")
            for _ in range(outputs)
        )
        if reading == "atan2":
            return
        for conv in self.outputs:  # a fresh network starts near the noisy phase
            nn.init.normal_(conv.weight, std=1e-3)
            nn.init.zeros_(conv.bias)

    def forward(self, z_rema: Tensor, noisy_phase: Tensor) -> Tensor:
        """Z_rema and noisy phase [B, F, T] -> phase in radians [B, F, T]."""
        return self.phase(noisy_phase, *(conv(z_rema).float() for conv in self.outputs))
