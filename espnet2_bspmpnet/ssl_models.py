"""Self-supervised speech models behind one interface; the only file that knows s3prl.

An :class:`SSLModel` takes waveforms and lengths and gives the outputs of all its
transformer layers and their lengths.  It also tells its width, number of layers, stride
and receptive field, so that nothing after it needs to know which model it is.

The modules are s3prl's (its fork espnet-s3prl beside torchaudio >= 2.9); the loop over
them is ours, so that a padded batch gives what each utterance gives alone.
"""

import logging
import math
import re
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.spectrum import frame_mask

FINETUNE_MODES = ("partial", "full", "none")
RANDOM = "random"

_WAVLM_BASE = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
    "conv_bias": False,
    "normalize": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
}
ARCHITECTURES = {
    "wavlm_base": _WAVLM_BASE,
    "wavlm_base_plus": _WAVLM_BASE,
    "wavlm_large": {
        **_WAVLM_BASE,
        "extractor_mode": "layer_norm",
        "normalize": True,
        "encoder_layers": 24,
        "encoder_embed_dim": 1024,
        "encoder_ffn_embed_dim": 4096,
        "encoder_attention_heads": 16,
        "layer_norm_first": True,
    },
}


class SSLModel(nn.Module):
    """WavLM as a source of layer-wise features.

    Args:
        architecture: s3prl's WavLM options, as in :data:`ARCHITECTURES`.
        checkpoint: file with pretrained weights in the released format
            ({"cfg", "model"}), or "random".  The file is read when the model is first
            used, and not at all if a trained model's weights were loaded before:
            inference never looks for it.
        finetune: "partial" trains all but the convolutions, "full" all, "none" nothing.
        include_layer0: also offer the transformer's input as a layer.

    Raises:
        UserError: for an unknown mode or option, or an unusable checkpoint.
    """

    def __init__(
        self,
        architecture: dict,
        checkpoint: str,
        finetune: str = "partial",
        include_layer0: bool = False,
    ):
        super().__init__()
        if finetune not in FINETUNE_MODES:
            raise UserError(f"finetune: {finetune!r} is not one of {FINETUNE_MODES}")
        self.finetune = finetune
        self.include_layer0 = include_layer0
        self.convolutions = _read_convolutions(architecture["conv_feature_layers"])
        self.normalize = bool(architecture["normalize"])
        self.model = _build_wavlm(architecture)
        self.width = self.model.encoder.embedding_dim
        self.num_layers = len(self.model.encoder.layers) + include_layer0
        self._choose_trainable()
        self._pending_checkpoint = None if checkpoint == RANDOM else checkpoint
        self.register_load_state_dict_post_hook(_forget_checkpoint)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        stride = 1
        for _, _, step in self.convolutions:
            stride *= step
        return stride

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        field, stride = 1, 1
        for _, kernel, step in self.convolutions:
            field += (kernel - 1) * stride
            stride *= step
        return field

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Frames of signals of ``lengths`` samples [B]; at least one."""
        seen = lengths.clamp(min=self.receptive_field)
        return (seen - self.receptive_field) // self.stride + 1

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Compute all layers' outputs.

        A signal shorter than one frame is extended by zeros to one frame.

        Args:
            wave: 16 kHz waveforms, zero beyond their lengths [B, L].
            lengths: samples of each [B].

        Returns:
            the layers' outputs z_i, each [B, S, D], and the real frames of each [B].
        """
        if self._pending_checkpoint is not None:
            load_checkpoint(self, self._pending_checkpoint)
        wave = nn.functional.pad(wave, (0, max(0, self.receptive_field - wave.size(1))))
        if self.normalize:
            wave = _normalise(wave, lengths)
        frames = self.num_frames(lengths)
        with torch.no_grad() if self.finetune == "none" else nullcontext():
            x = self._encode_frames(wave, lengths)
            return self._transform(x, frames), frames

    def train(self, mode: bool = True) -> "SSLModel":
        """Set training mode; what is wholly frozen stays in evaluation mode."""
        return super().train(mode and self.finetune != "none")

    def _choose_trainable(self) -> None:
        self.requires_grad_(self.finetune != "none")
        self.model.mask_emb.requires_grad_(False)  # of pretraining only
        if self.finetune == "partial":
            self.model.feature_extractor.requires_grad_(False)

    def _encode_frames(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Convolutions, layer norm and projection: [B, L] -> [B, S, D]."""
        frozen = self.finetune != "full"
        with torch.no_grad() if frozen else nullcontext():
            x = self._convolve(wave.unsqueeze(1), lengths).transpose(1, 2)
        x = self.model.layer_norm(x)
        if self.model.post_extract_proj is not None:
            x = self.model.post_extract_proj(x)
        return self.model.dropout_input(x)

    def _convolve(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the convolutions [B, 1, L] -> [B, C, S].

        They do not pad, so a real frame sees real samples only; but in base models the
        first one's group norm runs over time, and must not see the padding.
        """
        real = lengths.clamp(min=self.receptive_field)
        for layer, (_, kernel, step) in zip(
            self.model.feature_extractor.conv_layers, self.convolutions
        ):
            real = (real - kernel) // step + 1
            for module in layer:
                if isinstance(module, nn.GroupNorm):
                    x = _group_norm_over_real(module, x, real)
                else:
                    x = module(x)
        return x

    def _transform(self, x: Tensor, frames: Tensor) -> list[Tensor]:
        """Run the transformer over [B, S, D] and keep every layer's output."""
        encoder = self.model.encoder
        mask = frame_mask(frames, x.size(1))
        padding = None
        if not bool(mask.all()):  # -inf, of the type of the relative position's bias
            padding = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -math.inf)
        x = x * mask.unsqueeze(2)
        x = x + encoder.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not encoder.layer_norm_first:
            x = encoder.layer_norm(x)
        x = nn.functional.dropout(x, encoder.dropout, self.training)
        outputs = [x] if self.include_layer0 else []
        x, bias = x.transpose(0, 1), None  # [S, B, D]
        for layer in encoder.layers:
            x, _, bias = layer(x, self_attn_padding_mask=padding, pos_bias=bias)
            outputs.append(x.transpose(0, 1))
        if encoder.layer_norm_first:
            outputs[-1] = encoder.layer_norm(outputs[-1])
        return outputs


def build_ssl(
    upstream: str,
    upstream_conf: dict | None = None,
    checkpoint: str | None = None,
    finetune: str = "partial",
    include_layer0: bool = False,
) -> SSLModel:
    """Build an SSL model from an architecture's name.

    Args:
        upstream: a name in :data:`ARCHITECTURES`.
        upstream_conf: options that differ from that architecture.
        checkpoint: see :class:`SSLModel`; must be given.
        finetune: see :class:`SSLModel`.
        include_layer0: see :class:`SSLModel`.

    Raises:
        UserError: for an unknown name or option, or no checkpoint.
    """
    if upstream not in ARCHITECTURES:
        raise UserError(f"upstream: {upstream!r} is not one of {list(ARCHITECTURES)}")
    if not checkpoint:
        raise UserError(
            f"checkpoint: name the file with the weights of {upstream}, or say"
            f" '{RANDOM}' to train it from random weights"
        )
    architecture = {**ARCHITECTURES[upstream], **(upstream_conf or {})}
    return SSLModel(architecture, checkpoint, finetune, include_layer0)


def load_checkpoint(ssl: SSLModel, path: str) -> None:
    """Load pretrained WavLM weights, all of them or none.

    Args:
        ssl: the model to fill.
        path: file in the released format, {"cfg": ..., "model": ...}.

    Raises:
        UserError: for a missing or unreadable file, or tensors that do not match.
    """
    if not Path(path).is_file():
        raise UserError(
            f"checkpoint: {path} does not exist; give the file of the pretrained"
            f" weights, or '{RANDOM}'"
        )
    try:
        states = torch.load(path, map_location="cpu", weights_only=True)
        weights = states["model"]
    except (RuntimeError, EOFError, UnpicklingError, KeyError, TypeError) as error:
        raise UserError(
            f"checkpoint: {path} is damaged or no WavLM release: {error}"
        ) from None
    expected = ssl.model.state_dict()
    wrong = [
        name
        for name in sorted(expected.keys() | weights.keys())
        if name not in weights
        or name not in expected
        or weights[name].shape != expected[name].shape
    ]
    if wrong:
        raise UserError(
            f"checkpoint: {path} does not fit the architecture; {len(wrong)} tensors"
            f" are missing, unexpected or of another shape: {', '.join(wrong[:10])}"
        )
    ssl.model.load_state_dict(weights)
    ssl._pending_checkpoint = None


def _forget_checkpoint(module: SSLModel, incompatible_keys) -> None:
    """After a trained model's weights were loaded the checkpoint is not needed."""
    if not any(".model." in f".{key}" for key in incompatible_keys.missing_keys):
        module._pending_checkpoint = None


def _build_wavlm(architecture: dict) -> nn.Module:
    # s3prl's package imports take seconds each: only this one module is needed.
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    known = vars(WavLMConfig())
    unknown = sorted(set(architecture) - set(known))
    if unknown:
        raise UserError(f"upstream_conf: unknown {unknown}; known are {sorted(known)}")
    convolutions = _read_convolutions(architecture["conv_feature_layers"])
    config = WavLMConfig({**architecture, "conv_feature_layers": str(convolutions)})
    # Its whole configuration on screen, and torch's word on weight_norm, help nobody.
    logging.getLogger(WavLM.__module__).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return WavLM(config)


def _read_convolutions(text: str | Sequence) -> list[tuple[int, int, int]]:
    """Read (channels, kernel, stride) triples from a list or fairseq's expression."""
    if not isinstance(text, str):
        return [tuple(int(number) for number in triple) for triple in text]
    convolutions = []
    term = r"\[([^\]]+)\](?:\s*\*\s*(\d+))?"
    for triples, times in re.findall(term, text):
        numbers = [int(number) for number in re.findall(r"\d+", triples)]
        group = list(zip(numbers[::3], numbers[1::3], numbers[2::3]))
        convolutions += group * int(times or 1)
    if not convolutions:
        raise UserError(f"conv_feature_layers: cannot read {text!r}")
    return convolutions


def _normalise(wave: Tensor, lengths: Tensor) -> Tensor:
    """Give each waveform zero mean and unit variance over its real samples."""
    real = frame_mask(lengths, wave.size(1))
    count = lengths.unsqueeze(1)
    mean = (wave * real).sum(1, keepdim=True) / count
    centred = (wave - mean) * real
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-5)


def _group_norm_over_real(norm: nn.GroupNorm, x: Tensor, real: Tensor) -> Tensor:
    """Group norm with one channel a group [B, C, S], over the real frames [B] only."""
    if bool((real == x.size(2)).all()):
        return norm(x)
    mask = frame_mask(real, x.size(2)).unsqueeze(1)
    count = real[:, None, None]
    y = x.float() * mask
    mean = y.sum(2, keepdim=True) / count
    variance = ((y - mean) * mask).square().sum(2, keepdim=True) / count
    y = (y - mean) * torch.rsqrt(variance + norm.eps)
    y = y * norm.weight[:, None].float() + norm.bias[:, None].float()
    return y.type_as(x)
