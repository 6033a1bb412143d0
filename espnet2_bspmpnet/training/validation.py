"""Measures to watch a training by, and to choose the best model by."""

import numpy as np
import torch
from espnet2.enh.loss.criterions.time_domain import TimeDomainLoss
from espnet2.enh.loss.wrappers.abs_wrapper import AbsLossWrapper
from torch import Tensor

from espnet2_bspmpnet.errors import UserError
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
    criterion of ESPnet or by ``pesq``.  Any separator that gives one waveform will do.
    """

    weight = 0.0

    def __init__(self, criterion: TimeDomainLoss):
        super().__init__()
        # Training steps are not to pay for it, whatever the criterion's default.
        criterion._only_for_test = True
        self.criterion = criterion

    @torch.no_grad()
    def forward(self, ref, inf, others=None):
        """Measure the waveforms ``inf[0]`` against ``ref[0]``, both [B, L].

        Raises:
            UserError: the separator gives several waveforms.
        """
        if len(inf) > 1 or not isinstance(inf[0], Tensor):
            raise UserError(
                "wrapper validation: works with separators of one waveform only; give"
                " the criterion a wrapper of ESPnet's, such as pit"
            )
        lengths = lengths_of(ref[0], others)
        # In mixed precision the products of ESPnet's SI-SNR would have 8 bits.
        with torch.autocast(ref[0].device.type, enabled=False):
            values = [
                self.criterion(ref[0][b : b + 1, :length], inf[0][b : b + 1, :length])
                for b, length in enumerate(lengths)
            ]
        mean = torch.cat([value.reshape(-1) for value in values]).nanmean()
        return ref[0].new_zeros(()), {self.criterion.name: mean}, {}


def lengths_of(ref: Tensor, others: dict | None) -> list[int]:
    """Find how many samples of each padded reference [B, L] are its utterance's.

    The separator bsp_mpnet says so in its ``others``.  For others ESPnet tells nobody,
    but pads with zeros: an utterance ends with its last sample that is not zero.
    """
    if others and "bsp_mpnet" in others:
        return others["bsp_mpnet"].lengths.tolist()
    return [int(row.nonzero().max()) + 1 if row.any() else 0 for row in ref]
