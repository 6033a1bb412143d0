"""The SSL models by name, and their modules out of s3prl; the only file that knows it.

s3prl's packages take ten seconds to import, and not all import on every torchaudio: each
family's one module is imported when a model of it is built, without the rest.
"""

import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import fields

from torch import nn

from espnet2_bspmpnet.errors import UserError

# Options that matter in training alone.
_TRAINING = {
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
    "encoder_layerdrop": 0.0,  # a dropped layer would leave its weight in FS-SSL idle
    "feature_grad_mult": 1.0,
}
_BASE = {
    **_TRAINING,
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
}
_LARGE = {
    **_BASE,
    "extractor_mode": "layer_norm",
    "normalize": True,
    "encoder_layers": 24,
    "encoder_embed_dim": 1024,
    "encoder_ffn_embed_dim": 4096,
    "encoder_attention_heads": 16,
    "layer_norm_first": True,
}
_WAVLM = {
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
}
# Post-LN in both sizes, layer norm in the convolutions, five positional convolutions.
_DATA2VEC = {
    "extractor_mode": "layer_norm",
    "normalize": True,
    "layer_norm_first": False,
    "conv_pos": 95,
    "pos_conv_depth": 5,
}
_UNDROPPED = {"dropout": 0.0, "attention_dropout": 0.0}
# What weights are for: fairseq's names of all options but those of training.
NETWORK_OPTIONS = [x for x in _BASE | _WAVLM | _DATA2VEC if x not in _TRAINING]

# upstream -> (family, its options by fairseq's names)
ARCHITECTURES: dict[str, tuple[str, dict]] = {
    "wavlm_base": ("wavlm", {**_BASE, **_WAVLM}),
    "wavlm_base_plus": ("wavlm", {**_BASE, **_WAVLM}),
    "wavlm_large": ("wavlm", {**_LARGE, **_WAVLM}),
    "data2vec_base_960": ("data2vec", {**_BASE, **_DATA2VEC}),
    "data2vec_large_ll60k": ("data2vec", {**_LARGE, **_DATA2VEC}),
    "hubert_base": ("hubert", _BASE),
    "hubert_large_ll60k": ("hubert", {**_LARGE, **_UNDROPPED}),
    "wav2vec2_base_960": ("wav2vec2", _BASE),
    "wav2vec2_large_ll60k": ("wav2vec2", {**_LARGE, "conv_bias": True, "dropout": 0.0}),
}


def architecture(upstream: str, upstream_conf: dict | None = None) -> dict:
    """Options of a named architecture.

    Args:
        upstream: a name in :data:`ARCHITECTURES`.
        upstream_conf: options that differ.

    Raises:
        UserError: for an unknown name or option; the known ones are listed.
    """
    if upstream not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"upstream: {upstream!r} is not one of {known}")
    options, changes = ARCHITECTURES[upstream][1], upstream_conf or {}
    if unknown := sorted(set(changes) - set(options)):
        raise UserError(
            f"upstream_conf: {upstream} has no option {', '.join(unknown)}; known are"
            f" {', '.join(sorted(options))}"
        )
    options = {**options, **changes}
    options["conv_feature_layers"] = read_convolutions(options["conv_feature_layers"])
    return options


def read_convolutions(text: str | Sequence) -> list[tuple[int, int, int]]:
    """Read (channels, kernel, stride) triples from a list or fairseq's expression.

    Raises:
        UserError: for anything else.
    """
    if not isinstance(text, str):
        return [tuple(int(number) for number in triple) for triple in text]
    convolutions = []
    for triples, times in re.findall(r"\[([^\]]+)\](?:\s*\*\s*(\d+))?", text):
        numbers = [int(number) for number in re.findall(r"\d+", triples)]
        group = list(zip(numbers[::3], numbers[1::3], numbers[2::3]))
        convolutions += group * int(times or 1)
    if not convolutions:
        raise UserError(f"conv_feature_layers: cannot read {text!r}")
    return convolutions


def build_network(upstream: str, options: dict) -> nn.ModuleDict:
    """Build s3prl's modules for an architecture, randomly initialised.

    Args:
        upstream: a name in :data:`ARCHITECTURES`.
        options: from :func:`architecture`.

    Returns:
        feature_extractor, layer_norm, post_extract_proj and encoder, under s3prl's
        names, without what only pretraining needs.
    """
    options = {**options, "conv_feature_layers": str(options["conv_feature_layers"])}
    # Their whole configuration on screen, and torch's word on weight_norm, help nobody.
    logging.getLogger("s3prl.upstream").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = _build(ARCHITECTURES[upstream][0], options)
    return nn.ModuleDict(
        {
            "feature_extractor": model.feature_extractor,
            "layer_norm": model.layer_norm,
            "post_extract_proj": model.post_extract_proj or nn.Identity(),
            "encoder": model.encoder,
        }
    )


def _build(family: str, options: dict) -> nn.Module:
    if family == "wavlm":
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        return WavLM(WavLMConfig(options))
    if family == "wav2vec2":
        from s3prl.upstream.wav2vec2 import wav2vec2_model as wav2vec2

        return wav2vec2.Wav2Vec2Model(_fill(wav2vec2.Wav2Vec2Config, options))
    if family == "data2vec":
        from s3prl.upstream.data2vec import data2vec_model as data2vec

        return data2vec.Data2VecAudioModel(_fill(data2vec.Data2VecAudioConfig, options))
    from s3prl.upstream.hubert import hubert_model as hubert

    config = _fill(hubert.HubertConfig, {**options, "label_rate": 50.0})
    return hubert.HubertModel(config, hubert.HubertPretrainingConfig(), [None])


def _fill(config: type, options: dict):
    names = {field.name for field in fields(config)}
    return config(**{name: value for name, value in options.items() if name in names})
