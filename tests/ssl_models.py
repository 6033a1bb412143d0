"""Small SSL models of every family and form."""

import pytest
import torch

from espnet2_bspmpnet.ssl.models import SSLModel
from tests.networks import TINY_UPSTREAM

LARGE_FORM = {
    **TINY_UPSTREAM,
    "extractor_mode": "layer_norm",
    "normalize": True,
    "layer_norm_first": True,
}
DATA2VEC_FORM = {**TINY_UPSTREAM, "conv_pos": 15, "pos_conv_depth": 3}
# form -> upstream of that family, options, transformers' class and options
FORMS = {
    "wavlm base": ("wavlm_base", TINY_UPSTREAM, "WavLM"),
    "wavlm large": ("wavlm_large", TINY_UPSTREAM, "WavLM"),
    "wav2vec2 base": ("wav2vec2_base_960", TINY_UPSTREAM, "Wav2Vec2"),
    "wav2vec2 large": ("wav2vec2_large_ll60k", TINY_UPSTREAM, "Wav2Vec2"),
    "hubert base": ("hubert_base", TINY_UPSTREAM, "Hubert"),
    "hubert large": ("hubert_large_ll60k", TINY_UPSTREAM, "Hubert"),
    "data2vec base": ("data2vec_base_960", DATA2VEC_FORM, "Data2VecAudio"),
    "data2vec large": ("data2vec_large_ll60k", DATA2VEC_FORM, "Data2VecAudio"),
}
every_form = pytest.mark.parametrize("form", FORMS)


def tiny_ssl(upstream="wavlm_base", upstream_conf=TINY_UPSTREAM, **changes):
    torch.manual_seed(0)
    options = {"checkpoint": "random", "finetune": "full", **changes}
    model = SSLModel(upstream, upstream_conf=upstream_conf, **options)
    model.load_pretrained()
    return model


def of_form(form, **changes):
    upstream, conf, _ = FORMS[form]
    return tiny_ssl(upstream, conf, **changes)


def layers_of(ssl, wave, lengths):
    with torch.no_grad():
        layers, frames = ssl(wave, lengths)
        return list(layers), frames
