"""The architectures by name: those that were published, built from one family alone."""

import subprocess
import sys

import pytest

from espnet2_bspmpnet.ssl.architectures import ARCHITECTURES, architecture
from espnet2_bspmpnet.ssl.models import SSLModel
from tests.networks import TINY_UPSTREAM

TORCHAUDIO_NAMES = {
    "wavlm_base": "WAVLM_BASE", "wavlm_base_plus": "WAVLM_BASE_PLUS",
    "wavlm_large": "WAVLM_LARGE", "hubert_base": "HUBERT_BASE",
    "hubert_large_ll60k": "HUBERT_LARGE", "wav2vec2_base_960": "WAV2VEC2_BASE",
    "wav2vec2_large_ll60k": "WAV2VEC2_LARGE_LV60K",
}  # fmt: skip


@pytest.mark.parametrize("upstream, name", TORCHAUDIO_NAMES.items())
def test_named_architectures_are_those_that_torchaudio_publishes(upstream, name):
    import torchaudio

    bundle = getattr(torchaudio.pipelines, name)
    theirs, ours = bundle._params, architecture(upstream)
    modes = {"group_norm": "default", "layer_norm": "layer_norm"}
    assert ours["extractor_mode"] == modes[theirs["extractor_mode"]]
    assert ours["conv_feature_layers"] == theirs["extractor_conv_layer_config"]
    assert ours["conv_bias"] == theirs["extractor_conv_bias"]
    assert ours["normalize"] == bundle._normalize_waveform
    assert ours.get("num_buckets") == theirs.get("encoder_num_buckets")
    assert ours.get("max_distance") == theirs.get("encoder_max_distance")
    for option, parameter in {
        "encoder_layers": "num_layers", "encoder_embed_dim": "embed_dim",
        "encoder_ffn_embed_dim": "ff_interm_features",
        "encoder_attention_heads": "num_heads", "layer_norm_first": "layer_norm_first",
        "conv_pos": "pos_conv_kernel", "conv_pos_groups": "pos_conv_groups",
        "dropout": "dropout", "attention_dropout": "attention_dropout",
        "activation_dropout": "ff_interm_dropout",
    }.items():  # fmt: skip
        assert ours[option] == theirs[f"encoder_{parameter}"], option


def parameters_of(upstream, layers):
    ssl = SSLModel(
        upstream, upstream_conf={"encoder_layers": layers}, checkpoint="random"
    )
    return sum(parameter.numel() for parameter in ssl.parameters())


@pytest.mark.parametrize("upstream, size", [
    ("wavlm_base", 94_381_936), ("wavlm_large", 315_453_120),
    ("data2vec_base_960", 93_164_288), ("hubert_base", 94_371_712),
    ("wav2vec2_large_ll60k", 315_438_720)])  # fmt: skip
def test_named_architectures_have_the_published_sizes(upstream, size):
    options = ARCHITECTURES[upstream][1]
    one, two = parameters_of(upstream, 1), parameters_of(upstream, 2)
    mask_embedding = options["encoder_embed_dim"]  # which only pretraining needs
    layers = options["encoder_layers"]
    assert one + (layers - 1) * (two - one) + mask_embedding == size


def test_a_family_is_imported_alone_and_without_network():
    probe = (
        "import sys, socket; socket.socket.connect = None\n"
        "from espnet2_bspmpnet.ssl.models import SSLModel\n"
        "assert not any(name.startswith('s3prl') for name in sys.modules)\n"
        f"SSLModel('hubert_base', upstream_conf={TINY_UPSTREAM}, checkpoint='random')\n"
        "loaded = {name for name in sys.modules if name.startswith('s3prl.')}\n"
        "assert not loaded & {'s3prl.hub', 's3prl.nn', 's3prl.upstream.wavlm'}, loaded"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)
