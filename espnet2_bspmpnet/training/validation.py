"""Measures to watch a training by, and to choose the best model by."""

import numpy as np
import torch
from espnet2.enh.loss.criterions.time_domain import TimeDomainLoss
from espnet2.enh.loss.wrappers.abs_wrapper import AbsLossWrapper
from torch import Tensor

from espnet2_bspmpnet.enh.losses import estimate_of
from espnet2_bspmpnet.measures.metrics import Undefined, pesq
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE


class PESQScore(TimeDomainLoss):
    """Wideband PESQ at 16 kHz as a criterion, to choose the best model by.

    It has no gradient: it goes with the wrapper ``validation``.
    """

    def __init__(self):
        super().__init__("pesq", only_for_test=True)

    def forward(self, ref: Tensor, inf: Tensor) -> Tensor:
        """PESQ of each estimate [B, L] to its reference [B, L]; NaN where undefined.

        ESPnet's report leaves NaN out of its means.
        """
        scores = []
        for reference, estimate in zip(ref.cpu().numpy(), inf.cpu().numpy()):
            try:
                scores.append(pesq(reference, estimate, rate=SAMPLE_RATE))
            except Undefined:
                scores.append(np.nan)
        return ref.new_tensor(scores)


class ValidationSolver(AbsLossWrapper):
    """Loss wrapper for measures that only watch: no part in the loss.

    Each utterance is measured over its own length, and alone, by any time-domain
    criterion of ESPnet or by ``pesq``.
    """

    weight = 0.0

    def __init__(self, criterion: TimeDomainLoss):
        super().__init__()
        # Training steps are not to pay for it, whatever the criterion's default.
        criterion._only_for_test = True
        self.criterion = criterion

    @torch.no_grad()
    def forward(self, ref, inf, others=None):
        """Measure the waveforms ``inf[0]`` against ``ref[0]``, both [B, L]."""
        lengths = estimate_of(others, "validation").lengths.tolist()
        # In mixed precision the products of ESPnet's SI-SNR would have 8 bits.
        with torch.autocast(ref[0].device.type, enabled=False):
            values = [
                self.criterion(ref[0][b : b + 1, :length], inf[0][b : b + 1, :length])
                for b, length in enumerate(lengths)
            ]
        mean = torch.cat([value.reshape(-1) for value in values]).nanmean()
        return ref[0].new_zeros(()), {self.criterion.name: mean}, {}
