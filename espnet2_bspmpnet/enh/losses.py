"""The loss (Eqs. 11-15), and what ESPnet needs to compute it."""

from collections.abc import Iterable
from functools import cache

import torch
from espnet2.enh.loss.criterions.time_domain import TimeDomainLoss
from espnet2.enh.loss.wrappers.abs_wrapper import AbsLossWrapper
from torch import Tensor

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.spectrum import modulus, wrap_phase

POWER = 0.3  # exponent of compressed magnitudes, the field's usual
SMALLEST = 1e-3  # magnitude, some 60 dB below speech: linear below it


def anti_wrap(t: Tensor) -> Tensor:
    """K_AW(t) = abs(t - 2 pi round(t / 2 pi)): a difference of 2 pi is none (Eq. 14)."""
    return wrap_phase(t).abs()


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of [B, F, T] over the real frames, bool [B, T]."""
    real = mask.unsqueeze(1)
    return (error * real).sum() / (real.sum() * error.size(1))


def magnitude_loss(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """L1 distance of the magnitudes [B, F, T] (Eq. 11)."""
    return masked_mean((target - estimate).abs(), mask)


def phase_loss(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """L1 norm of the anti-wrapped difference of the phases [B, F, T] (Eq. 12)."""
    return masked_mean(anti_wrap(target - estimate), mask)


def complex_loss(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the real plus of the imaginary parts (Eq. 13).

    Args:
        target: complex spectrum [B, F, T].
        estimate: complex spectrum [B, F, T].
        mask: real frames, bool [B, T].
    """
    difference = torch.view_as_real(target - estimate)
    return masked_mean(difference.square().sum(-1), mask)


def group_delay_loss(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """Anti-wrapped error of the phase's slope over frequency (MP-SENet)."""
    error = torch.diff(target, dim=1) - torch.diff(estimate, dim=1)
    return masked_mean(anti_wrap(error), mask)


def instantaneous_frequency_loss(
    target: Tensor, estimate: Tensor, mask: Tensor
) -> Tensor:
    """Anti-wrapped error of the phase's slope over time (MP-SENet)."""
    if target.size(2) < 2:
        return estimate.sum() * 0
    error = torch.diff(target, dim=2) - torch.diff(estimate, dim=2)
    pairs = mask[:, 1:]  # a pair is real where its later frame is
    return masked_mean(anti_wrap(error), pairs) if pairs.any() else error.sum() * 0


def power_law(spectrum: Tensor) -> Tensor:
    """Compress a spectrum's magnitudes further, from log(1 + |X|) to |X|^.3.

    Args:
        spectrum: complex spectrum whose magnitudes are log(1 + |X|).
    """
    magnitude = modulus(spectrum, SMALLEST)
    return spectrum * (torch.expm1(magnitude) ** POWER / magnitude)


def power_law_magnitude_loss(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """Squared error of magnitudes |X|^.3, of complex spectra [B, F, T]."""
    return masked_mean((modulus(target) - modulus(estimate)).square(), mask)


class BSPMPNetLoss(TimeDomainLoss):
    """L = l1 L_Mag + l2 L_Pha + l3 L_Com over the decoders' outputs (Eq. 15).

    A TimeDomainLoss for ESPnet's sake only: that is the kind of criterion for which
    ESPnet computes nothing beforehand.

    Args:
        magnitude_weight: l1.
        phase_weight: l2.
        complex_weight: l3.
        group_delay_weight: of an optional phase term of MP-SENet.
        instantaneous_frequency_weight: of an optional phase term of MP-SENet.
        consistency_weight: of the squared error between the estimate and the spectrum
            of its own waveform, optional.
        power_law_magnitude_weight: of the squared error of magnitudes |X|^.3 of the
            estimate's waveform, optional.
        power_law_complex_weight: of the squared error of the complex spectra with those
            magnitudes, optional.

    Raises:
        UserError: for a negative weight or none at all.
    """

    def __init__(
        self,
        magnitude_weight: float = 1.0,
        phase_weight: float = 0.5,
        complex_weight: float = 0.1,
        group_delay_weight: float = 0.0,
        instantaneous_frequency_weight: float = 0.0,
        consistency_weight: float = 0.0,
        power_law_magnitude_weight: float = 0.0,
        power_law_complex_weight: float = 0.0,
    ):
        super().__init__("bsp_mpnet_loss")
        weights = {
            "magnitude": magnitude_weight,
            "phase": phase_weight,
            "complex": complex_weight,
            "group_delay": group_delay_weight,
            "instantaneous_frequency": instantaneous_frequency_weight,
            "consistency": consistency_weight,
            "power_law_magnitude": power_law_magnitude_weight,
            "power_law_complex": power_law_complex_weight,
        }
        if min(weights.values()) < 0 or not any(weights.values()):
            raise UserError(
                f"loss weights must be 0 or more and not all 0, not {weights}"
            )
        self.weights = {name: weight for name, weight in weights.items() if weight}

    def forward(self, ref, inf) -> dict[str, Tensor]:
        """Compute the parts, each unweighted under its own name.

        Args:
            ref: target magnitude and phase, each [B, F, T].
            inf: SpectralEstimate of the separator.
        """
        magnitude, phase = (part.float() for part in ref)
        estimate, mask = inf.estimate, inf.estimate.mask
        target = cache(lambda: torch.polar(magnitude, phase))
        resynthesised = cache(inf.resynthesised)
        compressed = cache(lambda: (power_law(target()), power_law(resynthesised())))
        parts = {
            "magnitude": lambda: magnitude_loss(magnitude, estimate.magnitude, mask),
            "phase": lambda: phase_loss(phase, estimate.phase, mask),
            "complex": lambda: complex_loss(target(), inf.spectrum(), mask),
            "group_delay": lambda: group_delay_loss(phase, estimate.phase, mask),
            "instantaneous_frequency": lambda: instantaneous_frequency_loss(
                phase, estimate.phase, mask
            ),
            "consistency": lambda: complex_loss(resynthesised(), inf.spectrum(), mask),
            "power_law_magnitude": lambda: power_law_magnitude_loss(
                *compressed(), mask
            ),
            "power_law_complex": lambda: complex_loss(*compressed(), mask),
        }
        return {name: parts[name]() for name in self.weights}

    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """Weigh and add the parts (Eq. 15)."""
        return sum(self.weights[name] * part for name, part in parts.items())


class BSPMPNetSolver(AbsLossWrapper):
    """Loss wrapper that reads the decoders' outputs from the separator's ``others``.

    Args:
        criterion: BSPMPNetLoss.
        weight: of this loss among all of ESPnet's.
    """

    def __init__(self, criterion: BSPMPNetLoss, weight: float = 1.0):
        super().__init__()
        if not isinstance(criterion, BSPMPNetLoss):
            raise UserError(
                "wrapper bsp_mpnet: goes with criterion bsp_mpnet only, not"
                f" {criterion.name!r}; give that one the wrapper fixed_order"
            )
        self.criterion = criterion
        self.weight = weight

    def forward(self, ref, inf, others=None):
        """Give the loss, and every part under its own name, for ESPnet's report.

        Args:
            ref: the clean waveform, one tensor [B, L] in a list.
            inf: unused; the estimate before synthesis stands in ``others``.
            others: the separator's, with its SpectralEstimate under "bsp_mpnet".
        """
        estimate = estimate_of(others)
        parts = self.criterion(estimate.target(ref[0]), estimate)
        loss = self.criterion.total(parts)
        stats = {f"{name}_loss": part.detach() for name, part in parts.items()}
        stats[self.criterion.name] = loss.detach()
        return loss, stats, {}


def need_waveform(wrappers: Iterable[AbsLossWrapper]) -> bool:
    """Say whether a training step with these losses needs the enhanced waveform."""
    return any(
        not isinstance(wrapper, BSPMPNetSolver)
        and not getattr(wrapper.criterion, "only_for_test", False)
        for wrapper in wrappers
    )


def estimate_of(others: dict | None):
    """Give the SpectralEstimate of what the separator gave beside the waveform.

    Raises:
        UserError: another separator than bsp_mpnet gave it.
    """
    if not others or "bsp_mpnet" not in others:
        raise UserError("wrapper bsp_mpnet: works with the separator bsp_mpnet only")
    return others["bsp_mpnet"]
