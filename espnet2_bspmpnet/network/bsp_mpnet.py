"""BSP-MPNet: the paper's Fig. 2 as one forward over ready-made blocks."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.network.bands import Bands
from espnet2_bspmpnet.network.coarse_encoder import CoarseEncoder
from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.network.fs_ssl import FSSSL, FrameAlignment
from espnet2_bspmpnet.network.old_names import rename_tensors
from espnet2_bspmpnet.network.pcs import PCS
from espnet2_bspmpnet.network.phase import PHASE_READINGS, PhaseHead
from espnet2_bspmpnet.network.rema import REMA, MaskedEstimate, MaskGate
from espnet2_bspmpnet.network.spectrum import Spectrum

DECODERS = ("flat", "bands")
PHASE_PATHS = ("mask", *PHASE_READINGS, "none")


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


class DecoderPath(nn.Module):
    """One of the two parallel paths: coarse encoder, fusion, REMA decoder, head.

    Args:
        coarse_encoder: MP-2DC, or None for the paper's "w/o MP-2DC".
        rema: cross-domain features -> Z_rema.
        head: Z_rema and the noisy magnitude or phase -> the estimated one.
    """

    def __init__(
        self, coarse_encoder: CoarseEncoder | None, rema: REMA, head: nn.Module
    ):
        super().__init__()
        self.coarse_encoder = coarse_encoder
        self.rema = rema
        self.head = head

    def forward(
        self, seen: Tensor, noisy: Tensor, ssl_features: Tensor, mask: Tensor
    ) -> Tensor:
        """Estimate the clean magnitude or phase.

        Args:
            seen: what the coarse encoder sees [B, F, T].
            noisy: what the head starts from [B, F, T].
            ssl_features: F'_m or F'_p [B, T, D].
            mask: true for real frames, bool [B, T].

        Returns:
            [B, F, T] in float32.
        """
        dtype = self.rema.project_in.weight.dtype
        coarse = seen.to(dtype)
        if self.coarse_encoder is not None:
            coarse = self.coarse_encoder(coarse, mask)
        cross = torch.cat([ssl_features, coarse.transpose(1, 2)], dim=2)  # Z_cross
        z_rema = self.rema(cross, mask)
        # Outside mixed precision: a mask or phase of 8 bits would be audible.
        with torch.autocast(z_rema.device.type, enabled=False):
            return self.head(z_rema.to(dtype), noisy).float()


class BSPMPNet(nn.Module):
    """Estimate clean magnitude and phase from a noisy waveform.

    Args:
        spectrum: waveform <-> magnitude and phase (Eq. 1).
        pcs: perceptual contrast stretching (Eq. 2).
        ssl: waveform and lengths -> layers and frames (an SSLModel); None does without.
        fs_ssl: layers -> magnitude- and phase-related features (Eqs. 3-5).
        magnitude_path: None keeps the noisy magnitude.
        phase_path: None keeps the noisy phase.
        bands: the decoder of both in place of the two paths.
        pcs_input: the encoder sees the boosted magnitude.
        pcs_target: mask and estimate live in the PCS domain.
    """

    def __init__(
        self,
        *,
        spectrum: Spectrum,
        pcs: PCS,
        ssl: nn.Module | None = None,
        fs_ssl: FSSSL | None = None,
        magnitude_path: DecoderPath | None = None,
        phase_path: DecoderPath | None = None,
        bands: Bands | None = None,
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
        self.bands = bands
        self.pcs_input = pcs_input
        self.pcs_target = pcs_target
        self.register_load_state_dict_pre_hook(rename_tensors)

    def forward(self, wave: Tensor, lengths: Tensor) -> Estimate:
        """Estimate from the noisy waveform [B, L], zero beyond ``lengths`` [B]."""
        noisy, phase = self.spectrum(wave)  # X', Xp [B, F, T]
        boosted = self.pcs(noisy)  # X^
        mask = frame_mask(self.spectrum.num_frames(lengths), noisy.size(2))
        features = self._ssl_features(wave, lengths, noisy.size(2))  # F'_m, F'_p
        seen = boosted if self.pcs_input else noisy
        magnitude = boosted if self.pcs_target else noisy
        if self.bands is not None:
            return Estimate(*self.bands(seen, magnitude, phase, features, mask), mask)
        if self.magnitude_path is not None:
            magnitude = self.magnitude_path(
                seen, magnitude, features["magnitude"], mask
            )
        if self.phase_path is not None:
            phase = self.phase_path(phase, phase, features["phase"], mask)
        return Estimate(magnitude, phase, mask)

    def _ssl_features(
        self, wave: Tensor, lengths: Tensor, num_frames: int
    ) -> dict[str, Tensor]:
        """Features [B, T, D] of each path; without an SSL model D is 0."""
        if self.ssl is None:
            empty = wave.new_zeros(len(wave), num_frames, 0)
            return {"magnitude": empty, "phase": empty}
        return self.fs_ssl(*self.ssl(wave, lengths), num_frames)

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


def build_bsp_mpnet(
    ssl: nn.Module | None,
    *,
    n_fft: int,
    win_length: int,
    hop_length: int,
    window: str,
    pcs_input: bool,
    pcs_target: bool,
    fs_ssl: bool,
    decoder: str,
    magnitude_path: bool,
    phase_path: str,
    **sizes,
) -> BSPMPNet:
    """Build the network of plain numbers and switches.

    Args:
        ssl: an SSLModel, or None; the others are explained in enh/separator.py.
        sizes: of the decoder, see :func:`_flat_decoder` and :func:`_bands_decoder`.
    """
    spectrum = Spectrum(n_fft, win_length, hop_length, window)
    readings = {"magnitude": "mask"} if magnitude_path else {}
    if phase_path != "none":
        readings["phase"] = phase_path
    build = _bands_decoder if decoder == "bands" else _flat_decoder
    ssl_width = 0 if ssl is None else ssl.width
    decoders = build(spectrum.num_bins, ssl_width, readings, **sizes)
    features = None
    if ssl is not None:
        alignment = FrameAlignment(hop_length, ssl.stride, ssl.receptive_field)
        features = FSSSL(ssl.num_layers, ssl.width, alignment, tuple(readings), fs_ssl)
    return BSPMPNet(
        spectrum=spectrum,
        pcs=PCS(spectrum.num_bins),
        ssl=ssl,
        fs_ssl=features,
        pcs_input=pcs_input,
        pcs_target=pcs_target,
        **decoders,
    )


def _flat_decoder(
    num_bins: int,
    ssl_width: int,
    readings: dict[str, str],
    *,
    coarse_encoder: bool,
    coarse_channels: int,
    decoder_dim: int,
    num_blocks: int,
    num_heads: int,
    ffn_expansion: int,
    dropout: float,
    rema: bool,
    mask_gate: bool,
    **_,
) -> dict[str, DecoderPath]:
    """Build the paper's paths, each with a REMA of its own, of those with a reading."""

    def head(reading: str) -> nn.Module:
        if reading == "mask":
            return MaskedEstimate(MaskGate(num_bins) if mask_gate else nn.Sigmoid())
        return PhaseHead(reading, num_bins)

    def decoder_path(reading: str) -> DecoderPath:
        estimate = head(reading)  # first: the order decides on the random weights
        encoder = CoarseEncoder(coarse_channels) if coarse_encoder else None
        decoder = REMA(
            input_dim=ssl_width + num_bins,
            dim=decoder_dim,
            num_bins=num_bins,
            num_blocks=num_blocks if rema else 0,
            num_heads=num_heads,
            ffn_expansion=ffn_expansion,
            dropout=dropout,
        )
        return DecoderPath(encoder, decoder, estimate)

    return {f"{path}_path": decoder_path(readings[path]) for path in readings}


def _bands_decoder(
    num_bins: int,
    ssl_width: int,
    readings: dict[str, str],
    *,
    decoder_dim: int,
    num_bands: int,
    num_blocks: int,
    num_heads: int,
    ffn_expansion: int,
    dropout: float,
    **_,
) -> dict[str, Bands]:
    """Build this project's decoder of both magnitude and phase."""
    bands = Bands(
        num_bins=num_bins,
        dim=decoder_dim,
        num_bands=num_bands,
        num_blocks=num_blocks,
        num_heads=num_heads,
        ffn_expansion=ffn_expansion,
        dropout=dropout,
        ssl_widths=dict.fromkeys(readings, ssl_width) if ssl_width else {},
        magnitude_path="magnitude" in readings,
        phase_path=readings.get("phase", "none"),
    )
    return {"bands": bands}
