"""One interface over SSL models: wave and lengths in, layers and lengths out.

Their numbers are compared with transformers' models of the same weights, an independent
implementation.
"""

import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.ssl.architectures import architecture
from espnet2_bspmpnet.ssl.models import SSLModel
from tests.networks import TINY_UPSTREAM, speech_like
from tests.ssl_models import FORMS, LARGE_FORM, every_form, layers_of, of_form, tiny_ssl


def transformers_twin(form):
    """A tiny model of transformers' in this form, with weights far from their start."""
    import transformers

    upstream, conf, family = FORMS[form]
    options = architecture(upstream, conf)
    channels, kernels, strides = zip(*options["conv_feature_layers"])
    depth = options.get("pos_conv_depth", 1)
    positions = {
        "num_conv_pos_embeddings": depth if depth > 1 else options["conv_pos"],
        "conv_pos_kernel_size": max(3, options["conv_pos"] // depth),
    }
    config = getattr(transformers, f"{family}Config")(
        hidden_size=options["encoder_embed_dim"],
        num_hidden_layers=options["encoder_layers"],
        num_attention_heads=options["encoder_attention_heads"],
        intermediate_size=options["encoder_ffn_embed_dim"],
        conv_dim=channels,
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=options["conv_bias"],
        feat_extract_norm="layer"
        if options["extractor_mode"] != "default"
        else "group",
        do_stable_layer_norm=options["layer_norm_first"],
        num_conv_pos_embedding_groups=options["conv_pos_groups"],
        num_buckets=options.get("num_buckets", 320),
        max_bucket_distance=options.get("max_distance", 800),
        **positions,
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}Model")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def transformers_layers(model, ssl, wave):
    """All layers' outputs of one waveform [L], the first is the transformer's input."""
    if ssl.architecture["normalize"]:
        wave = torch.nn.functional.layer_norm(wave, wave.shape)
    with torch.no_grad():
        found = model(wave[None], output_hidden_states=True)
    # Of models that normalise first, the last layer is followed by the encoder's norm.
    return [*found.hidden_states[:-1], found.last_hidden_state]


@pytest.fixture(scope="module", params=FORMS)
def twins(request, tmp_path_factory):
    """A model of transformers', and ours that has read its weights from the folder."""
    folder = tmp_path_factory.mktemp("transformers")
    theirs = transformers_twin(request.param)
    theirs.save_pretrained(folder)
    layers = range(TINY_UPSTREAM["encoder_layers"] + 1)
    ours = of_form(request.param, checkpoint=str(folder), layers=list(layers)).eval()
    return theirs, ours


@pytest.mark.parametrize("length", [400, 1234, 4321, 16001])
def test_every_layer_is_that_of_transformers(twins, length):
    theirs, ours = twins
    wave, lengths = speech_like(length)
    layers, frames = layers_of(ours, wave, lengths)
    expected = transformers_layers(theirs, ours, wave[0])
    assert len(layers) == ours.num_layers == len(expected)
    for layer, reference in zip(layers, expected):
        assert layer.shape == (1, int(frames[0]), ours.width)
        assert torch.allclose(layer, reference, atol=1e-4)


def test_a_padded_batch_gives_what_transformers_gives_each_utterance_alone(twins):
    theirs, ours = twins
    wave, lengths = speech_like(8000, 5003, 1234)
    layers, frames = layers_of(ours, wave, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = transformers_layers(theirs, ours, wave[row, :length])
        for layer, reference in zip(layers, expected):
            assert torch.allclose(layer[row, : frames[row]], reference[0], atol=1e-4)


@every_form
def test_a_padded_batch_gives_what_each_utterance_gives_alone(form):
    ssl = of_form(form).eval()
    wave, lengths = speech_like(8000, 5003, 1234, 17)
    together, frames = layers_of(ssl, wave, lengths)
    for row, length in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone, own = layers_of(ssl, wave[one, :length], lengths[one])
        assert own[0] == frames[row] == alone[0].size(1)
        for layer, single in zip(together, alone):
            assert torch.allclose(layer[row, : own[0]], single[0], atol=1e-4)


def test_stride_and_receptive_field_follow_from_the_convolutions():
    ssl = tiny_ssl()
    assert (ssl.stride, ssl.receptive_field) == (320, 400)
    lengths = torch.tensor([1, 399, 400, 719, 720, 16000])
    assert ssl.num_frames(lengths).tolist() == [1, 1, 1, 1, 2, 49]


@pytest.mark.parametrize("chosen", [[1], [2], [0, 2], [2, 1], [1, 2, 3]])
@pytest.mark.parametrize("form", ["base", "large"])
def test_chosen_layers_are_those_of_the_whole_model(form, chosen):
    conf = {**(TINY_UPSTREAM if form == "base" else LARGE_FORM), "encoder_layers": 3}
    whole = tiny_ssl(upstream_conf=conf, layers=[0, 1, 2, 3]).eval()
    part = tiny_ssl(upstream_conf=conf, layers=chosen).eval()
    assert len(part.model.encoder.layers) == max(chosen)  # what follows is not built
    part.load_state_dict(whole.state_dict(), strict=False)
    wave, lengths = speech_like(2000)
    layers, offered = layers_of(whole, wave, lengths)[0], layers_of(part, wave, lengths)
    assert part.num_layers == len(offered[0]) == len(chosen)
    for number, layer in zip(sorted(chosen), offered[0]):
        assert torch.allclose(layer, layers[number], atol=1e-6)


@pytest.mark.parametrize("layers", [[], [0], [3], [-1], [1, 1], [1.5]])
def test_layers_that_there_are_not_are_refused(layers):
    with pytest.raises(UserError, match=r"layers: .* 1 \.\.\. 2"):
        tiny_ssl(layers=layers)


def test_layers_are_computed_when_they_are_asked_for():
    ssl = tiny_ssl().eval()
    computed = []
    for number, layer in enumerate(ssl.model.encoder.layers):
        layer.fc1.register_forward_hook(
            lambda *_, number=number: computed.append(number)
        )
    layers, _ = ssl(*speech_like(2000))
    assert computed == []
    next(iter(layers))
    assert computed == [0]


@pytest.mark.parametrize("finetune", ["partial", "full", "none"])
@every_form
def test_finetune_trains_what_it_says(form, finetune):
    ssl = of_form(form, finetune=finetune).train()
    output = sum(layer.square().sum() for layer in ssl(*speech_like(3000))[0])
    if finetune == "none":
        assert not output.requires_grad
        assert not any(module.training for module in ssl.modules())
        assert not any(parameter.requires_grad for parameter in ssl.parameters())
        return
    output.backward()
    for name, parameter in ssl.named_parameters():
        convolution = name.startswith("model.feature_extractor")
        frozen = finetune == "partial" and convolution
        assert parameter.requires_grad is not frozen, name
        assert (parameter.grad is None) is frozen, name


def test_frozen_convolutions_run_without_gradients():
    ssl = tiny_ssl(finetune="partial").train()
    seen = []
    convolution = ssl.model.feature_extractor.conv_layers[0]
    convolution.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    next(iter(ssl(*speech_like(3000))[0]))
    assert seen == [False] and torch.is_grad_enabled()


def test_feature_grad_mult_scales_the_gradient_of_the_convolutions_only():
    def gradients(mult):
        conf = {**LARGE_FORM, "feature_grad_mult": mult, "dropout": 0.0}
        ssl = tiny_ssl(upstream_conf={**conf, "attention_dropout": 0.0}).train()
        sum(layer.square().sum() for layer in ssl(*speech_like(3000))[0]).backward()
        return {name: parameter.grad for name, parameter in ssl.named_parameters()}

    whole, tenth = gradients(1.0), gradients(0.1)
    for name in whole:
        share = 0.1 if "feature_extractor" in name else 1.0
        assert torch.allclose(tenth[name], share * whole[name], rtol=1e-4, atol=1e-7)


def test_layerdrop_leaves_layers_out_in_training_only():
    conf = {**TINY_UPSTREAM, "encoder_layers": 6, "encoder_layerdrop": 0.5}
    ssl = tiny_ssl(upstream_conf=conf)
    wave, lengths = speech_like(2000)
    torch.manual_seed(0)
    outputs = layers_of(ssl.train(), wave, lengths)[0]
    same = [torch.equal(a, b) for a, b in zip(outputs[1:], outputs)]
    assert len(outputs) == 6 and any(same) and not all(same)
    outputs = layers_of(ssl.eval(), wave, lengths)[0]
    assert not any(torch.equal(a, b) for a, b in zip(outputs[1:], outputs))


@pytest.mark.parametrize("samples", [1, 17, 399])
@every_form
def test_a_waveform_shorter_than_a_frame_gives_one_frame(form, samples):
    wave, lengths = speech_like(samples)
    layers, frames = layers_of(of_form(form).eval(), wave, lengths)
    assert frames.tolist() == [1]
    assert all(layer.shape == (1, 1, 16) and layer.isfinite().all() for layer in layers)


@pytest.fixture
def released(tmp_path):
    """A file in the format WavLM was released in."""
    source = tiny_ssl().eval()
    path = tmp_path / "WavLM-Tiny.pt"
    weights = {**source.model.state_dict(), "mask_emb": torch.zeros(16)}
    torch.save({"cfg": {**TINY_UPSTREAM, "normalize": False}, "model": weights}, path)
    return source, path


def same_layers(ssl, other):
    wave, lengths = speech_like(2000)
    ours, theirs = (layers_of(model, wave, lengths)[0] for model in (ssl, other))
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def from_checkpoint(path, **options):
    options = {"upstream_conf": TINY_UPSTREAM, **options}
    return SSLModel("wavlm_base", checkpoint=str(path), **options)


def test_weights_come_from_a_checkpoint_in_the_released_format(released):
    source, path = released
    torch.manual_seed(1)
    ssl = from_checkpoint(path).eval()
    ssl.load_pretrained()
    assert same_layers(ssl, source)


def test_without_weights_nothing_is_computed(released):
    """A forward that read files would do so in the midst of a training."""
    ssl = from_checkpoint(released[1])
    with pytest.raises(UserError, match=r"wavlm_base are not loaded.*load_pretrained"):
        ssl(*speech_like(2000))


def test_of_a_checkpoint_only_the_layers_that_are_used_are_taken(released):
    source, path = released
    ssl = from_checkpoint(path, layers=[1]).eval()
    ssl.load_pretrained()
    wave, lengths = speech_like(2000)
    (layer,), _ = layers_of(ssl, wave, lengths)
    assert torch.equal(layer, layers_of(source, wave, lengths)[0][0])


def test_a_trained_model_never_looks_for_the_checkpoint(released):
    source, path = released
    path.unlink()
    ssl = from_checkpoint(path).eval()
    torch.nn.ModuleDict({"ssl": ssl}).load_state_dict(
        {f"ssl.{name}": tensor for name, tensor in source.state_dict().items()}
    )
    assert same_layers(ssl, source)


def test_part_of_a_trained_model_is_refused(released):
    source, path = released
    ssl = from_checkpoint(path)
    part = {n: t for n, t in source.state_dict().items() if "feature_ext" not in n}
    with pytest.raises(UserError, match=r"lacks 9: .*save_strategy: all"):
        ssl.load_state_dict(part, strict=False)


def test_its_own_random_weights_are_not_taken_for_trained_ones(released):
    """ESPnet's --init_param hands a model what it has, updated with what a file has."""
    source, path = released
    ssl = from_checkpoint(path).eval()
    ssl.load_state_dict(ssl.state_dict())
    ssl.load_pretrained()
    assert same_layers(ssl, source)


def test_without_its_weights_a_model_keeps_the_checkpoints_sha256(released):
    source, path = released
    frozen = {"finetune": "none", "save_weights": False}
    trained = from_checkpoint(path, **frozen)
    trained.load_pretrained()
    state = trained.state_dict()
    assert list(state) == ["checkpoint_sha256"]
    moved = from_checkpoint(path, **frozen)
    moved.load_state_dict(state)  # strict: what is left out is not missed
    assert same_layers(moved, source)

    torch.save({"cfg": {}, "model": source.model.state_dict()}, path)
    other = from_checkpoint(path, **frozen)
    with pytest.raises(UserError, match=r"needs the wavlm_base whose SHA-256 is \w+"):
        other.load_state_dict(state)
    path.unlink()
    with pytest.raises(UserError, match=r"WavLM-Tiny.pt does not exist(.|\n)*\w{64}"):
        other.load_state_dict(state)


def test_a_missing_checkpoint_is_named():
    ssl = from_checkpoint("/no/such/WavLM.pt")
    with pytest.raises(UserError, match="/no/such/WavLM.pt does not exist"):
        ssl.load_pretrained()


def test_a_checkpoint_of_another_architecture_lists_its_tensors(released):
    source, path = released
    torch.save({"cfg": {}, "model": source.model.state_dict()}, path)
    more = {**TINY_UPSTREAM, "encoder_layers": 3}
    with pytest.raises(UserError, match=r"encoder\.layers\.2\.\S+ \(missing\)"):
        from_checkpoint(path, upstream_conf=more).load_pretrained()
    less = {**TINY_UPSTREAM, "encoder_layers": 1}
    with pytest.raises(UserError, match=r"encoder\.layers\.1\.\S+ \(unexpected\)"):
        from_checkpoint(path, upstream_conf=less).load_pretrained()
    wide = {**TINY_UPSTREAM, "encoder_ffn_embed_dim": 33}
    with pytest.raises(UserError, match=r"fc1.weight \(\(32, 16\), not \(33, 16\)\)"):
        from_checkpoint(path, upstream_conf=wide).load_pretrained()


def test_what_tensors_do_not_show_is_compared_too(released):
    _, path = released
    for option, value in {"encoder_attention_heads": 4, "normalize": True}.items():
        ssl = from_checkpoint(path, upstream_conf={**TINY_UPSTREAM, option: value})
        with pytest.raises(UserError, match=f"{option} is .* there, {value} here"):
            ssl.load_pretrained()


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "torn.pt"
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    ssl = from_checkpoint(path)
    with pytest.raises(UserError, match="torn.pt is damaged"):
        ssl.load_pretrained()


def test_wrong_names_and_values_tell_the_right_ones():
    with pytest.raises(UserError, match="wavlm_base.*data2vec_large.*wav2vec2_large"):
        SSLModel("wavlm_larg", checkpoint="random")
    with pytest.raises(UserError, match="encoder_layer;.*encoder_layers"):
        SSLModel("wavlm_base", upstream_conf={"encoder_layer": 3}, checkpoint="random")
    with pytest.raises(UserError, match="partial"):
        tiny_ssl(finetune="some")
    with pytest.raises(UserError, match="ssl_lr_scale"):
        tiny_ssl(lr_scale=0.0)
    with pytest.raises(UserError, match="save_ssl: false goes with finetune: none"):
        tiny_ssl(finetune="partial", save_weights=False)
    with pytest.raises(UserError, match="feature_cache goes with finetune: none"):
        tiny_ssl(finetune="full", feature_cache="cache")
    with pytest.raises(UserError, match="save_ssl: false: random"):
        tiny_ssl(finetune="none", save_weights=False)
