"""One interface over SSL models: wave and lengths in, layers and lengths out."""

import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.ssl_models import ARCHITECTURES, build_ssl
from tests.networks import TINY_UPSTREAM, speech_like

LARGE_FORM = {
    **TINY_UPSTREAM,
    "extractor_mode": "layer_norm",
    "normalize": True,
    "layer_norm_first": True,
}


def tiny_ssl(upstream_conf=TINY_UPSTREAM, **changes):
    torch.manual_seed(0)
    options = {"checkpoint": "random", "finetune": "full", **changes}
    return build_ssl("wavlm_base", upstream_conf, **options)


def reference_layers(ssl, wave):
    """s3prl's own forward on one utterance: inputs of the layers, then the output."""
    if ssl.normalize:
        wave = torch.nn.functional.layer_norm(wave, wave.shape)
    found = []
    hooks = [
        layer.register_forward_hook(lambda m, i, out: found.append(out[0]))
        for layer in ssl.model.encoder.layers
    ]
    final, _ = ssl.model.extract_features(wave.unsqueeze(0))
    for hook in hooks:
        hook.remove()
    layers = [layer.transpose(0, 1) for layer in found]
    return layers[:-1] + [final]


@pytest.mark.parametrize("form", [TINY_UPSTREAM, LARGE_FORM], ids=["base", "large"])
def test_layers_are_those_of_s3prl(form):
    ssl = tiny_ssl(form).eval()
    wave, lengths = speech_like(4321)
    with torch.no_grad():
        layers, frames = ssl(wave, lengths)
        expected = reference_layers(ssl, wave[0])
    assert len(layers) == ssl.num_layers == len(expected)
    for layer, reference in zip(layers, expected):
        assert layer.shape == (1, int(frames[0]), ssl.width)
        assert torch.allclose(layer, reference, atol=1e-5)


@pytest.mark.parametrize("form", [TINY_UPSTREAM, LARGE_FORM], ids=["base", "large"])
def test_a_padded_batch_gives_what_each_utterance_gives_alone(form):
    ssl = tiny_ssl(form).eval()
    wave, lengths = speech_like(8000, 5003, 1234, 17)
    with torch.no_grad():
        together, frames = ssl(wave, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone, own = ssl(wave[row : row + 1, :length], lengths[row : row + 1])
            assert own[0] == frames[row] == alone[0].size(1)
            for layer, single in zip(together, alone):
                assert torch.allclose(layer[row, : own[0]], single[0], atol=1e-4)


def test_stride_and_receptive_field_follow_from_the_convolutions():
    ssl = tiny_ssl()
    assert (ssl.stride, ssl.receptive_field) == (320, 400)
    lengths = torch.tensor([1, 399, 400, 719, 720, 16000])
    assert ssl.num_frames(lengths).tolist() == [1, 1, 1, 1, 2, 49]


def test_layer0_is_offered_on_request():
    wave, lengths = speech_like(2000)
    plain, more = tiny_ssl().eval(), tiny_ssl(include_layer0=True).eval()
    assert more.num_layers == plain.num_layers + 1
    layers, offered = plain(wave, lengths)[0], more(wave, lengths)[0]
    assert all(torch.equal(a, b) for a, b in zip(layers, offered[1:]))


@pytest.mark.parametrize("finetune", ["partial", "full", "none"])
def test_finetune_trains_what_it_says(finetune):
    ssl = tiny_ssl(finetune=finetune).train()
    wave, lengths = speech_like(3000)
    output = sum(layer.square().sum() for layer in ssl(wave, lengths)[0])
    if finetune == "none":
        assert not output.requires_grad and not ssl.model.training
        return
    output.backward()
    for name, parameter in ssl.model.named_parameters():
        frozen = name == "mask_emb" or (
            finetune == "partial" and name.startswith("feature_extractor")
        )
        assert parameter.requires_grad is not frozen, name
        assert (parameter.grad is None) is frozen, name


def parameters_of(upstream, layers):
    ssl = build_ssl(upstream, {"encoder_layers": layers}, "random")
    return sum(parameter.numel() for parameter in ssl.parameters())


@pytest.mark.parametrize("upstream, size", [
    ("wavlm_base", 94_381_936), ("wavlm_base_plus", 94_381_936),
    ("wavlm_large", 315_453_120)])  # fmt: skip
def test_named_architectures_have_the_published_sizes(upstream, size):
    layers = ARCHITECTURES[upstream]["encoder_layers"]
    one, two = parameters_of(upstream, 1), parameters_of(upstream, 2)
    assert one + (layers - 1) * (two - one) == size


@pytest.fixture
def released(tmp_path):
    """A file in the format WavLM was released in."""
    source = tiny_ssl()
    path = tmp_path / "WavLM-Tiny.pt"
    torch.save({"cfg": TINY_UPSTREAM, "model": source.model.state_dict()}, path)
    return source, path


def test_weights_come_from_a_checkpoint_in_the_released_format(released):
    source, path = released
    torch.manual_seed(1)
    ssl = build_ssl("wavlm_base", TINY_UPSTREAM, str(path), "full").eval()
    wave, lengths = speech_like(2000)
    expected = source.eval()(wave, lengths)[0]
    assert all(torch.equal(a, b) for a, b in zip(ssl(wave, lengths)[0], expected))


def test_a_trained_model_never_looks_for_the_checkpoint(released):
    source, path = released
    path.unlink()
    ssl = build_ssl("wavlm_base", TINY_UPSTREAM, str(path), "full")
    ssl.load_state_dict(source.state_dict())
    ssl(*speech_like(2000))


def test_a_missing_checkpoint_is_named():
    ssl = build_ssl("wavlm_base", TINY_UPSTREAM, "/no/such/WavLM.pt")
    with pytest.raises(UserError, match="/no/such/WavLM.pt does not exist"):
        ssl(*speech_like(2000))


def test_a_checkpoint_of_another_architecture_lists_its_tensors(released):
    _, path = released
    other = {**TINY_UPSTREAM, "encoder_layers": 3}
    ssl = build_ssl("wavlm_base", other, str(path))
    with pytest.raises(UserError, match=r"encoder\.layers\.2\."):
        ssl(*speech_like(2000))


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "torn.pt"
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    ssl = build_ssl("wavlm_base", TINY_UPSTREAM, str(path))
    with pytest.raises(UserError, match="torn.pt is damaged"):
        ssl(*speech_like(2000))


def test_wrong_names_and_values_tell_the_right_ones():
    with pytest.raises(UserError, match="wavlm_large"):
        build_ssl("wavlm_larg", None, "random")
    with pytest.raises(UserError, match="encoder_layer'.*encoder_layers"):
        build_ssl("wavlm_base", {"encoder_layer": 3}, "random")
    with pytest.raises(UserError, match="partial"):
        build_ssl("wavlm_base", TINY_UPSTREAM, "random", finetune="some")
    with pytest.raises(UserError, match="checkpoint: name the file"):
        build_ssl("wavlm_base", TINY_UPSTREAM)
