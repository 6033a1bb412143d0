"""BSP-MPNet: the paper's Fig. 2 as one forward over ready-made blocks."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.spectrum import Spectrum


class Estimate(NamedTuple):
    """What the two decoders give, before the inverse STFT.

    Attributes:
        magnitude: estimated compressed magnitude in the domain of the target [B, F, T].
        phase: estimated phase in radians [B, F, T].
        mask: true for real frames, bool [B, T].
    """

    magnitude: Tensor
    phase: Tensor
    mask: Tensor


class Path(nn.Module):
    """One of the two parallel paths: coarse encoder, fusion, REMA decoder, head.

    Args:
        coarse_encoder: MP-2DC, or None for the paper's "w/o MP-2DC".
        rema: cross-domain features -> Z_rema.
        head: what turns Z_rema into a mask (magnitude) or an estimate (phase).
    """

    def __init__(self, coarse_encoder: nn.Module | None, rema: nn.Module, head):
        super().__init__()
        self.coarse_encoder = coarse_encoder
        self.rema = rema
        self.head = head

    def forward(self, spectrum: Tensor, ssl_features: Tensor, mask: Tensor) -> Tensor:
        """Spectrum [B, F, T] and SSL features [B, T, D] -> Z_rema [B, F, T]."""
        coarse = spectrum
        if self.coarse_encoder is not None:
            coarse = self.coarse_encoder(spectrum, mask)
        cross = torch.cat([ssl_features, coarse.transpose(1, 2)], dim=2)  # Z_cross
        return self.rema(cross, mask)


class BSPMPNet(nn.Module):
    """Estimate clean magnitude and phase from a noisy waveform.

    Args:
        spectrum: waveform <-> magnitude and phase (Eq. 1).
        pcs: perceptual contrast stretching (Eq. 2).
        ssl: waveform and lengths -> layers and frames (see ssl/models.py).
        fs_ssl: layers -> magnitude- and phase-related features (Eqs. 3-5).
        magnitude_path: its head gives the mask; None keeps the noisy magnitude.
        phase_path: its head gives the phase; None keeps the noisy phase.
        pcs_input: the encoder sees the boosted magnitude.
        pcs_target: mask and estimate live in the PCS domain.
    """

    def __init__(
        self,
        spectrum: Spectrum,
        pcs: nn.Module,
        ssl: nn.Module,
        fs_ssl: nn.Module,
        magnitude_path: Path | None,
        phase_path: Path | None,
        pcs_input: bool = True,
        pcs_target: bool = True,
    ):
        super().__init__()
        self.spectrum = spectrum
        self.pcs = pcs
        self.ssl = ssl
        self.fs_ssl = fs_ssl
        self.magnitude_path = magnitude_path
        self.phase_path = phase_path
        self.pcs_input = pcs_input
        self.pcs_target = pcs_target

    def forward(self, wave: Tensor, lengths: Tensor) -> Estimate:
        """Estimate from the noisy waveform [B, L], zero beyond ``lengths`` [B]."""
        magnitude, phase = self.spectrum(wave)  # X', Xp [B, F, T]
        boosted = self.pcs(magnitude)  # X^
        mask = frame_mask(self.spectrum.num_frames(lengths), magnitude.size(2))
        dtype = next(self.parameters()).dtype  # not float32 in reduced precision
        layers, ssl_frames = self.ssl(wave.to(dtype), lengths)
        features = self.fs_ssl(layers, ssl_frames, magnitude.size(2))

        estimate = boosted if self.pcs_target else magnitude
        if self.magnitude_path is not None:
            seen = boosted if self.pcs_input else magnitude
            z_rema = self.magnitude_path(seen.to(dtype), features["magnitude"], mask)
            estimate = _in_full(self.magnitude_path.head, z_rema.to(dtype)) * estimate
        if self.phase_path is not None:
            z_rema = self.phase_path(phase.to(dtype), features["phase"], mask)
            phase = _in_full(self.phase_path.head, z_rema.to(dtype), phase)
        return Estimate(estimate, phase, mask)

    def target(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitude and phase [B, F, T] that the estimate of ``clean`` [B, L] is to be.

        The loss takes its target from here: network and loss cannot disagree on
        window or PCS.
        """
        magnitude, phase = self.spectrum(clean)
        return (self.pcs(magnitude) if self.pcs_target else magnitude), phase

    def waveform(self, estimate: Estimate, lengths: Tensor, boosted: bool) -> Tensor:
        """Synthesise an estimate, boosted by PCS or natural, to [B, max(lengths)]."""
        magnitude = estimate.magnitude
        if self.pcs_target and not boosted:
            magnitude = self.pcs.undo(magnitude)
        if boosted and not self.pcs_target:
            magnitude = self.pcs(magnitude)
        return self.spectrum.inverse(magnitude, estimate.phase, lengths)


def _in_full(head: nn.Module, z_rema: Tensor, *rest: Tensor) -> Tensor:
    """Run a head outside mixed precision: a mask or phase of 8 bits would be audible."""
    with torch.autocast(z_rema.device.type, enabled=False):
        return head(z_rema, *rest).float()
