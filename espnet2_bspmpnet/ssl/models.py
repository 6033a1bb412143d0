"""Self-supervised speech models behind one interface.

Nothing after an :class:`SSLModel` needs to know which model it is.  The modules are
s3prl's; the loop over them is ours, so that a padded batch gives what each utterance
gives alone, and no layer is computed or kept that nobody uses.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint as recomputed

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.frames import frame_mask
from espnet2_bspmpnet.ssl.architectures import (
    architecture,
    build_network,
    read_convolutions,
)
from espnet2_bspmpnet.ssl.layers import transformer_layer
from espnet2_bspmpnet.ssl.weights import (
    checkpoint_sha256,
    find_checkpoint,
    read_weights,
)

FINETUNE_MODES = ("partial", "full", "none")
RANDOM = "random"


class SSLModel(nn.Module):
    """A speech model of :data:`architectures.ARCHITECTURES` as a source of features.

    Args:
        upstream: its name there.
        upstream_conf: options that differ from that architecture.
        checkpoint: pretrained weights: a file or folder (see weights.py), the
            upstream's name to download the released ones, or "random"; None means the
            upstream's name.  :meth:`load_pretrained` reads them before a training;
            a trained model has its own weights and never looks for them.
        finetune: "partial" trains all but the convolutions, "full" all, "none" nothing.
        layers: the layers offered, counted from 1; 0 is the transformer's input.  What
            comes after the last of them is not even built.  None offers 1 ... N.
        gradient_checkpointing: compute each layer again in the backward pass.
        lr_scale: the learning rate relative to the rest of the network's.
        save_weights: false, with ``finetune: none``, leaves the weights out of the
            trained model; only the checkpoint's SHA-256 is kept there.
        feature_cache: folder for the features of fixed utterances, with ``finetune:
            none``; training uses it.

    Raises:
        UserError: for an unknown name, mode or option, or options that exclude each
            other.
    """

    def __init__(
        self,
        upstream: str,
        *,
        upstream_conf: dict | None = None,
        checkpoint: str | None = None,
        finetune: str = "partial",
        layers: Sequence[int] | None = None,
        gradient_checkpointing: bool = False,
        lr_scale: float = 1.0,
        save_weights: bool = True,
        feature_cache: str | None = None,
    ):
        super().__init__()
        if finetune not in FINETUNE_MODES:
            raise UserError(f"finetune: {finetune!r} is not one of {FINETUNE_MODES}")
        checkpoint = checkpoint or upstream
        if finetune != "none" and not (save_weights and feature_cache is None):
            option = "save_ssl: false" if feature_cache is None else "feature_cache"
            raise UserError(f"{option} goes with finetune: none only")
        if not save_weights and checkpoint == RANDOM:
            raise UserError("save_ssl: false: random weights cannot be read again")
        if not lr_scale > 0:
            raise UserError(f"ssl_lr_scale: {lr_scale} must be greater than 0")
        self.upstream = upstream
        self.checkpoint = checkpoint
        self.finetune = finetune
        self.gradient_checkpointing = gradient_checkpointing
        self.lr_scale = lr_scale
        self.feature_cache = feature_cache
        self.cache = None  # training sets one, see feature_cache.py
        self.architecture = architecture(upstream, upstream_conf)
        self.layers = _check_layers(layers, self.architecture["encoder_layers"])
        self.model = build_network(
            upstream, {**self.architecture, "encoder_layers": max(self.layers)}
        )
        if self._is_cut and self.architecture["layer_norm_first"]:
            self.model.encoder.layer_norm = nn.Identity()  # followed the last layer
        self.requires_grad_(finetune != "none")
        if finetune == "partial":
            self.model.feature_extractor.requires_grad_(False)

        self.has_weights = checkpoint == RANDOM
        self.save_weights = save_weights
        if not save_weights:
            # One number a byte: floats survive ESPnet's averaging of models.
            self.register_buffer("checkpoint_sha256", torch.zeros(32))
            self.register_state_dict_post_hook(_leave_out_weights)
            self.register_load_state_dict_post_hook(_after_loading)
        self.register_load_state_dict_pre_hook(_before_loading)
        self.train()

    @property
    def width(self) -> int:
        """Channels D of each layer's output."""
        return self.architecture["encoder_embed_dim"]

    @property
    def num_layers(self) -> int:
        """Layers offered."""
        return len(self.layers)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(step for *_, step in self.architecture["conv_feature_layers"])

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees."""
        field, stride = 1, 1
        for _, kernel, step in self.architecture["conv_feature_layers"]:
            field += (kernel - 1) * stride
            stride *= step
        return field

    def num_frames(self, lengths: Tensor) -> Tensor:
        """Frames of signals of ``lengths`` samples [B]; at least one."""
        seen = lengths.clamp(min=self.receptive_field)
        return (seen - self.receptive_field) // self.stride + 1

    def forward(self, wave: Tensor, lengths: Tensor) -> tuple[Iterable[Tensor], Tensor]:
        """Compute the layers' outputs, each at the moment it is asked for.

        A signal shorter than one frame is extended by zeros to one frame.

        Args:
            wave: 16 kHz waveforms, zero beyond their lengths [B, L].
            lengths: samples of each [B].

        Returns:
            the offered layers' outputs z_i in their order, each [B, S, D], to be
            iterated over once, and the real frames of each utterance [B].

        Raises:
            UserError: the model has neither pretrained nor trained weights.
        """
        if not self.has_weights:
            raise UserError(
                f"the weights of {self.upstream} are not loaded: load a trained model,"
                " or call load_pretrained() before a training begins"
            )
        # The rest of the network may need more precision than this model has.
        wave = wave.to(self.model.post_extract_proj.weight.dtype)
        wave = nn.functional.pad(wave, (0, max(0, self.receptive_field - wave.size(1))))
        frames = self.num_frames(lengths)
        compute = partial(self._compute, wave, lengths, frames)
        if self.cache is not None:
            return self.cache.layers(wave, lengths, frames, compute), frames
        return compute(), frames

    def train(self, mode: bool = True) -> "SSLModel":
        """Set training mode; what is wholly frozen stays in evaluation mode."""
        return super().train(mode and self.finetune != "none")

    def load_pretrained(self) -> None:
        """Load the pretrained weights, unless there are weights already.

        Raises:
            UserError: for a checkpoint that is missing, unreadable, of another
                architecture (its tensors are listed), or not the one that a model
                saved without its SSL weights was trained with.
        """
        if self.has_weights:
            return
        try:
            path = find_checkpoint(self.checkpoint, self.upstream)
        except UserError as error:
            raise UserError(f"{error}{self._needs()}") from error
        if not self.save_weights:
            self._check_sha256(path)
        weights = read_weights(path)
        _check_options(path, self.upstream, self.architecture, weights.options)
        tensors = {n: t for n, t in weights.tensors.items() if not self._is_cut_off(n)}
        _check_fit(path, self.upstream, self.model.state_dict(), tensors)
        self.model.load_state_dict(tensors)
        self.has_weights = True

    @property
    def _is_cut(self) -> bool:
        return max(self.layers) < self.architecture["encoder_layers"]

    def _is_cut_off(self, name: str) -> bool:
        """Whether a tensor of the whole model belongs to what was cut off."""
        parts = name.split(".")
        if parts[:2] == ["encoder", "layers"]:
            total = self.architecture["encoder_layers"]
            return max(self.layers) <= int(parts[2]) < total
        norm_unused = self._is_cut and self.architecture["layer_norm_first"]
        return norm_unused and parts[:2] == ["encoder", "layer_norm"]

    def _check_sha256(self, path: Path) -> None:
        found = list(bytes.fromhex(checkpoint_sha256(path)))
        if not self.checkpoint_sha256.any():  # training starts
            self.checkpoint_sha256.copy_(torch.tensor(found))
        elif found != self.checkpoint_sha256.tolist():
            raise UserError(
                f"checkpoint: {path} has the SHA-256 {bytes(found).hex()}{self._needs()}"
            )

    def _needs(self) -> str:
        """What a model that was saved without its SSL weights says of them."""
        if self.save_weights or not self.checkpoint_sha256.any():
            return ""
        sha256 = bytes(int(value) for value in self.checkpoint_sha256).hex()
        return (
            f"; this model was saved without its SSL weights (save_ssl: false) and needs"
            f" the {self.upstream} whose SHA-256 is {sha256}"
        )

    def _compute(
        self, wave: Tensor, lengths: Tensor, frames: Tensor
    ) -> Iterator[Tensor]:
        """Yield the offered layers; no gradient mode leaks out between two of them."""
        encoder, real = self.model.encoder, frame_mask(frames, int(frames.max()))
        with self._gradients(self.finetune != "none"):
            x = self._encode_frames(wave, lengths)
            x = self._encode_positions(x, real)
            bias = self._position_bias(x)
        if 0 in self.layers:
            yield x
        if bool(real.all()):
            real = None
        for number, layer in enumerate(encoder.layers, start=1):
            with self._gradients(self.finetune != "none"):
                if not self._is_dropped():
                    x = self._run(layer, x, real, bias)
                last = number == len(encoder.layers)
                final = last and encoder.layer_norm_first and not self._is_cut
                output = encoder.layer_norm(x) if final else x
            if number in self.layers:
                yield output

    def _gradients(self, wanted: bool):
        return nullcontext() if wanted else torch.no_grad()

    def _run(self, layer: nn.Module, *inputs: Tensor | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return recomputed(transformer_layer, layer, *inputs, use_reentrant=False)
        return transformer_layer(layer, *inputs)

    def _is_dropped(self) -> bool:
        """LayerDrop: in training, leave a layer out at random."""
        probability = self.architecture["encoder_layerdrop"]
        return self.training and probability > 0 and torch.rand(()) < probability

    def _encode_frames(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Convolutions, layer norm and projection: [B, L] -> [B, S, D]."""
        trained = self.finetune == "full" and torch.is_grad_enabled()
        with self._gradients(trained):
            x = self._convolve(wave, lengths)
        if trained and self.architecture["feature_grad_mult"] != 1.0:
            x.register_hook(lambda grad: grad * self.architecture["feature_grad_mult"])
        x = self.model.post_extract_proj(self.model.layer_norm(x))
        return nn.functional.dropout(
            x, self.architecture["dropout_input"], self.training
        )

    def _convolve(self, wave: Tensor, lengths: Tensor) -> Tensor:
        """Run the convolutions [B, L] -> [B, S, C], utterance by utterance.

        So a group norm over time sees no padding, and their outputs, the largest of
        all, exist for one utterance at a time.
        """
        features = []
        counts = lengths.clamp(min=self.receptive_field).tolist()
        for samples, length in zip(wave, counts):
            x = samples[None, None, :length]  # [1, 1, L]
            if self.architecture["normalize"]:
                x = nn.functional.layer_norm(x, x.shape[-1:])
            for layer in self.model.feature_extractor.conv_layers:
                x = layer(x)
            features.append(x[0].T)  # [S, C]
        return pad_sequence(features, batch_first=True)

    def _encode_positions(self, x: Tensor, real: Tensor) -> Tensor:
        """Add the positional convolution to [B, S, D]; it is to see real frames only."""
        encoder, real = self.model.encoder, real.unsqueeze(1)
        x = x.transpose(1, 2) * real
        y, blocks = x, encoder.pos_conv
        # data2vec has several blocks, whose norm would fill the padding.
        for block in blocks if isinstance(blocks[0], nn.Sequential) else [blocks]:
            y = block(y * real)
        x = (x + y).transpose(1, 2)
        if not encoder.layer_norm_first:
            x = encoder.layer_norm(x)
        return nn.functional.dropout(x, encoder.dropout, self.training)

    def _position_bias(self, x: Tensor) -> Tensor | None:
        """WavLM's bias by relative position [H, S, S], which all layers share."""
        attention = self.model.encoder.layers[0].self_attn
        if not getattr(attention, "has_relative_attention_bias", False):
            return None
        return attention.compute_bias(x.size(1), x.size(1))


def _check_layers(layers: Sequence[int] | None, number: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(1, number + 1))
    wrong = [layer for layer in layers if layer not in range(number + 1)]
    if wrong or not layers or len(set(layers)) < len(layers) or not max(layers):
        raise UserError(
            f"layers: {list(layers)} must name some of 1 ... {number}, each once; 0, the"
            " transformer's input, may stand beside them"
        )
    return tuple(sorted(layers))


def _check_fit(path: Path, upstream: str, expected: dict, found: dict) -> None:
    wrong = [f"{name} (missing)" for name in expected if name not in found]
    wrong += [f"{name} (unexpected)" for name in found if name not in expected]
    wrong += [
        f"{name} ({tuple(found[name].shape)}, not {tuple(tensor.shape)})"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        raise UserError(
            f"checkpoint: {path} does not fit {upstream}; {len(wrong)} tensors differ: "
            + ", ".join(wrong[:20])
            + (", ..." if len(wrong) > 20 else "")
        )


def _check_options(path: Path, upstream: str, expected: dict, stated: dict) -> None:
    """Compare what a checkpoint says of its network, which tensors need not show."""
    convolutions = "conv_feature_layers"
    if convolutions in stated:
        stated = {**stated, convolutions: read_convolutions(stated[convolutions])}
    wrong = [
        f"{name} is {value!r} there, {expected[name]!r} here"
        for name, value in stated.items()
        if name in expected and value != expected[name]
    ]
    if wrong:
        raise UserError(
            f"checkpoint: {path} does not fit {upstream}: {'; '.join(wrong)}"
            " (upstream_conf can change these)"
        )


def _leave_out_weights(module: SSLModel, state: dict, prefix: str, _) -> None:
    for name in module.model.state_dict():
        state.pop(f"{prefix}model.{name}", None)


def _before_loading(module: SSLModel, state: dict, prefix: str, *_) -> None:
    """See whether a trained model's weights come: then no checkpoint is needed.

    Raises:
        UserError: for some of the weights without the rest.
    """
    own = {f"{prefix}model.{n}": t for n, t in module.model.state_dict().items()}
    missing = own.keys() - state.keys()
    # ESPnet's --init_param hands a module its own weights where it has no others.
    come = [
        name
        for name, tensor in own.items()
        if name in state and state[name].data_ptr() != tensor.data_ptr()
    ]
    if come and missing:
        raise UserError(
            f"the model file has {len(come)} of the SSL model's tensors and lacks"
            f" {len(missing)}: {', '.join(sorted(missing)[:5])}, ...; train with"
            " ESPnet's save_strategy: all (to leave out frozen weights there is"
            " separator_conf: save_ssl: false)"
        )
    if come:
        module.has_weights = True


def _after_loading(module: SSLModel, incompatible_keys) -> None:
    """Find the weights that were left out of a model file; they are not missing there."""
    if module.checkpoint_sha256.any():
        module.load_pretrained()
    own = {f"model.{name}" for name in module.model.state_dict()}
    missing = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if key[key.rfind("model.") :] not in own]
