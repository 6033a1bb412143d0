"""BSP-MPNet as an ESPnet2 separator: waveform in, waveform and ``others`` out."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from espnet2.enh.separator.abs_separator import AbsSeparator
from torch import Tensor, nn

from espnet2_bspmpnet.enh.options import (
    check_bands,
    check_choices,
    check_frames,
    check_input_dim,
    check_sizes,
    check_without_ssl,
)
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.bsp_mpnet import Estimate, build_bsp_mpnet
from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.ssl.models import SSLModel

# -26 dB below full scale: the level of speech in ITU-T P.56 and P.862 material.
LEVEL_RMS = 10 ** (-26 / 20)
SILENCE_RMS = 1e-8


class SpectralEstimate(NamedTuple):
    """What the separator leaves in ``others["bsp_mpnet"]`` for the loss.

    Attributes:
        estimate: magnitude, phase, mask of real frames.
        lengths: samples of each utterance [B].
        target: clean waveform [B, L] -> target magnitude and phase, with the window,
            the level and the PCS of this very estimate.
        resynthesised: () -> complex spectrum [B, F, T] of the estimate's waveform, its
            magnitude compressed as the estimate's.
    """

    estimate: Estimate
    lengths: Tensor
    target: Callable[[Tensor], tuple[Tensor, Tensor]]
    resynthesised: Callable[[], Tensor]

    def spectrum(self) -> Tensor:
        """Estimated magnitude with the estimated phase, complex [B, F, T]."""
        return torch.polar(self.estimate.magnitude, self.estimate.phase)


class BSPMPNetSeparator(AbsSeparator):
    """BSP-MPNet (arXiv 2503.21571); goes with ``encoder: same`` and ``decoder: same``.

    Training sets ``waveform_in_training`` to False where no loss needs the waveform.
    All options are flat, as ESPnet merges the top level
    of ``separator_conf`` only.

    Args:
        input_dim: ESPnet's encoder dimension; 1, as the encoder must be ``same``.
        n_fft: FFT length in samples, even (Section IV-C).
        win_length: window length in samples, at most n_fft.
        hop_length: hop in samples, at most half a window.
        window: "hamming" (ours; the paper is silent), "hann" or "sqrt_hann".
        level: "rms" scales the input to a fixed RMS and undoes it at the output; "none"
            takes it as it is.
        pcs_input: the encoders see X^ instead of X' (Eq. 2).
        pcs_target: mask and loss live in the PCS domain.
        pcs_output: "boosted" gives the estimate with PCS, at the loudness of the
            natural one; "natural" without.  Can be changed at inference.
        coarse_encoder: false is "w/o MP-2DC".
        coarse_channels: feature maps of the coarse encoder.
        upstream: SSL architecture, a name in ssl.architectures.ARCHITECTURES; "none"
            does without, and without their options.
        upstream_conf: options that differ from that architecture.
        checkpoint: file or folder with the SSL model's pretrained weights, "random", or
            None to download the upstream's released ones (once).
        finetune: "partial" (PF), "full" or "none" ("w/o PF").
        layers: the SSL layers to weigh, from 1 (0 is the transformer's input), or None
            for all; those after the last of them are not built.
        gradient_checkpointing: compute SSL layers again in the backward pass: less
            memory, more time.
        ssl_lr_scale: learning rate of the SSL model relative to that of the rest.
        save_ssl: false, with ``finetune: none``, keeps the SSL weights out of the
            model file, which then records the checkpoint that it needs.
        feature_cache: with ``finetune: none``, folder where training keeps the SSL
            features of utterances; not together with random crops.
        fs_ssl: false is "w/o FS-SSL".
        decoder: "flat" is the paper's two REMA decoders; "bands" is this project's own
            (network/bands.py), which has no coarse encoder, REMA or mask gate, hence
            none to switch off.
        decoder_dim: d, channels of the REMA decoders, or of a band.
        num_blocks: REMA blocks of each decoder, or blocks of the bands.
        num_heads: attention heads.
        ffn_expansion: hidden channels of the FFNs as a multiple of d.
        num_bands: K, of the decoder "bands"; at most about an eighth of n_fft.
        dropout: probability in the decoders.
        rema: false is "w/o REMA".
        mask_gate: false is "w/o Mask Gate": a plain sigmoid.
        magnitude_path: false is "w/o Mag.": the noisy magnitude is kept.
        phase_path: "mask" (the paper), "residual", "atan2", "rotation", or "none" ("w/o
            Pha."); the bands have no mask of the phase.

    Raises:
        UserError: for a value that is not allowed, with those that are.
    """

    waveform_in_training = True

    def __init__(
        self,
        input_dim: int,
        *,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 100,
        window: str = "hamming",
        level: str = "none",
        pcs_input: bool = True,
        pcs_target: bool = True,
        pcs_output: str = "boosted",
        coarse_encoder: bool = True,
        coarse_channels: int = 16,
        upstream: str = "wavlm_large",
        upstream_conf: dict | None = None,
        checkpoint: str | None = None,
        finetune: str = "partial",
        layers: list[int] | None = None,
        gradient_checkpointing: bool = False,
        ssl_lr_scale: float = 1.0,
        save_ssl: bool = True,
        feature_cache: str | None = None,
        fs_ssl: bool = True,
        decoder: str = "flat",
        decoder_dim: int = 512,
        num_blocks: int = 2,
        num_heads: int = 8,
        ffn_expansion: int = 4,
        num_bands: int = 32,
        dropout: float = 0.1,
        rema: bool = True,
        mask_gate: bool = True,
        magnitude_path: bool = True,
        phase_path: str = "mask",
    ):
        super().__init__()
        check_input_dim(input_dim)
        check_choices(
            level=level, pcs_output=pcs_output, window=window, decoder=decoder,
            phase_path=phase_path, magnitude_path=magnitude_path,
        )  # fmt: skip
        check_frames(n_fft=n_fft, win_length=win_length, hop_length=hop_length)
        check_sizes(
            decoder_dim=decoder_dim, num_heads=num_heads, num_blocks=num_blocks,
            ffn_expansion=ffn_expansion, coarse_channels=coarse_channels,
            num_bands=num_bands,
        )  # fmt: skip
        if decoder == "bands":
            check_bands(
                n_fft=n_fft, num_bands=num_bands, coarse_encoder=coarse_encoder,
                rema=rema, mask_gate=mask_gate,
            )  # fmt: skip
        if upstream == "none":
            check_without_ssl(
                checkpoint=checkpoint, layers=layers, save_ssl=save_ssl,
                gradient_checkpointing=gradient_checkpointing,
                ssl_lr_scale=ssl_lr_scale, feature_cache=feature_cache,
            )  # fmt: skip
        self.level, self.pcs_output = level, pcs_output
        ssl = None if upstream == "none" else SSLModel(
            upstream, upstream_conf=upstream_conf, checkpoint=checkpoint,
            finetune=finetune, layers=layers, lr_scale=ssl_lr_scale,
            gradient_checkpointing=gradient_checkpointing, save_weights=save_ssl,
            feature_cache=feature_cache,
        )  # fmt: skip
        self.bsp_mpnet = build_bsp_mpnet(
            ssl, n_fft=n_fft, win_length=win_length, hop_length=hop_length,
            window=window, decoder=decoder, num_bands=num_bands,
            pcs_input=pcs_input, pcs_target=pcs_target, fs_ssl=fs_ssl,
            coarse_encoder=coarse_encoder, coarse_channels=coarse_channels,
            decoder_dim=decoder_dim, num_blocks=num_blocks, num_heads=num_heads,
            ffn_expansion=ffn_expansion, dropout=dropout, rema=rema,
            mask_gate=mask_gate, magnitude_path=magnitude_path, phase_path=phase_path,
        )  # fmt: skip

    @property
    def num_spk(self) -> int:
        """One: this is enhancement, not separation of speakers."""
        return 1

    def forward(
        self, input: Tensor, ilens: Tensor, additional: dict | None = None
    ) -> tuple[list[Tensor], Tensor, OrderedDict]:
        """Enhance a batch.

        Args:
            input: noisy waveforms at 16 kHz [B, L].
            ilens: samples of each [B].
            additional: unused; ESPnet passes it to every separator.

        Returns:
            the enhanced waveform [B, L] in a list of one, ``ilens``, and ``others`` with
            a :class:`SpectralEstimate` under "bsp_mpnet".  In training without
            ``waveform_in_training`` the waveform is not synthesised, but NaN.

        Raises:
            UserError: for several channels or a signal without samples.
        """
        _check_input(input, ilens)
        ilens = ilens.to(input.device)  # ESPnet's chunk iterator leaves them on the CPU
        real = frame_mask(ilens, input.size(1))
        wave = input.float() * real
        gain = self.gain_to_level(_rms(wave, ilens))  # [B, 1]
        estimate = self.bsp_mpnet(wave * gain, ilens)

        def target(clean: Tensor) -> tuple[Tensor, Tensor]:
            return self.bsp_mpnet.target(clean[:, : input.size(1)] * real * gain)

        def resynthesised() -> Tensor:
            boosted = self.bsp_mpnet.pcs_target
            own = self.bsp_mpnet.waveform(estimate, ilens, boosted=boosted)
            own = nn.functional.pad(own, (0, input.size(1) - own.size(1)))
            # Its own spectrum, compressed once: PCS is in the estimate already.
            return self.bsp_mpnet.spectrum.compressed(own)

        others = OrderedDict(
            bsp_mpnet=SpectralEstimate(estimate, ilens, target, resynthesised)
        )
        if self.training and not self.waveform_in_training:
            return [input.new_full((1, 1), math.nan).expand_as(input)], ilens, others
        enhanced = self._synthesise(estimate, ilens) / gain
        enhanced = nn.functional.pad(enhanced, (0, input.size(1) - enhanced.size(1)))
        return [enhanced.to(input.dtype)], ilens, others

    def gain_to_level(self, rms: Tensor) -> Tensor:
        """Gain that brings waveforms of these RMS values to the network's level."""
        if self.level == "none":
            return torch.ones_like(rms)
        return torch.where(rms > SILENCE_RMS, LEVEL_RMS / rms, 1.0)

    def _synthesise(self, estimate: Estimate, lengths: Tensor) -> Tensor:
        natural = self.bsp_mpnet.waveform(estimate, lengths, boosted=False)
        if self.pcs_output == "natural":
            return natural
        boosted = self.bsp_mpnet.waveform(estimate, lengths, boosted=True)
        # PCS makes a signal some 7 dB louder; the listener's level is not ours to change.
        return boosted * (_rms(natural, lengths) / _rms(boosted, lengths))


def _rms(wave: Tensor, lengths: Tensor) -> Tensor:
    """Root mean square [B, 1] of waveforms that are zero beyond their lengths.

    That of silence is SILENCE_RMS: the square root has no finite gradient at 0.
    """
    # In double precision, so that the last bit does not depend on the padding.
    energy = wave.double().square().sum(1) / lengths
    return energy.clamp(min=SILENCE_RMS**2).sqrt().to(wave.dtype).unsqueeze(1)


def _check_input(wave: Tensor, lengths: Tensor) -> None:
    if wave.dim() != 2:
        raise UserError(
            f"bsp_mpnet enhances one channel: expected [batch, samples], got a tensor"
            f" of shape {tuple(wave.shape)}; pick or mix the channels first"
        )
    if int(lengths.min()) < 1:
        raise UserError("a signal without samples cannot be enhanced; remove it")
