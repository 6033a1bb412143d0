"""Pretrained weights: from each of their formats or the hub, and running nothing."""

import importlib.util
import json
import os
import re
import shutil
import threading
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.ssl.weights import (
    RELEASES,
    REPOSITORY,
    checkpoint_sha256,
    find_checkpoint,
    read_weights,
)
from tests.hub import serving, sha256, this_process_using

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# Per model: the names that transformers gives its configuration and its model.
MODELS = {
    "wavlm base": ("WavLM", TINY),
    "wavlm large": ("WavLM", TINY | LARGE | {"num_buckets": 40}),
    "wav2vec2 base": ("Wav2Vec2", TINY),
    "wav2vec2 large": ("Wav2Vec2", TINY | LARGE),
    "hubert base": ("Hubert", TINY),
    "hubert large": ("Hubert", TINY | LARGE),
    "data2vec": (
        "Data2VecAudio",
        TINY | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    ),
}


def transformers_model(name, head="Model"):
    import transformers

    family, options = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**options)
    model = getattr(transformers, f"{family}{head}")(config).eval()
    for parameter in model.parameters():  # away from ones, zeros and equal values
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def s3prl_model(name, options):
    """The module that weights with these options are for."""
    options = {key: value for key, value in options.items() if key != "normalize"}
    if name.startswith("wavlm"):
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

        more = {"relative_position_embedding": True, "gru_rel_pos": True}
        return WavLM(WavLMConfig(options | more)).eval()
    if name.startswith("hubert"):
        from s3prl.upstream.hubert import hubert_model as hubert

        task = hubert.HubertPretrainingConfig()
        config = hubert.HubertConfig(label_rate=50, **options)
        return hubert.HubertModel(config, task, [None]).eval()
    if name == "data2vec":
        from s3prl.upstream.data2vec import data2vec_model as data2vec

        config = data2vec.Data2VecAudioConfig(**options)
        return data2vec.Data2VecAudioModel(config).eval()
    from s3prl.upstream.wav2vec2 import wav2vec2_model as wav2vec2

    return wav2vec2.Wav2Vec2Model(wav2vec2.Wav2Vec2Config(**options)).eval()


def last_layer(model, wave):
    """What a module of s3prl makes of a waveform [1, L]."""
    if hasattr(model, "num_updates") or hasattr(model, "remove_pretraining_modules"):
        found = model.extract_features(wave, padding_mask=None, mask=False)
        return found["x"] if isinstance(found, dict) else found[0]
    return model.extract_features(wave)[0]


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    """A folder as transformers writes it, for each model; and its name."""
    path = tmp_path_factory.mktemp("transformers") / "model"
    transformers_model(request.param).save_pretrained(path)
    return request.param, path


def test_transformers_tensors_and_options_make_the_same_network(folder):
    name, path = folder
    weights = read_weights(path)
    model = s3prl_model(name, weights.options)
    missing, unexpected = model.load_state_dict(weights.tensors, strict=False)
    assert unexpected == []
    assert {key.split(".")[0] for key in missing} <= PRETRAINING.keys()
    wave = torch.randn(1, 801)
    with torch.no_grad():
        expected = transformers_model(name)(wave).last_hidden_state
        assert torch.allclose(last_layer(model, wave), expected, atol=1e-4)


@pytest.fixture
def base_folder(tmp_path):
    """A folder with a tiny WavLM in base form."""
    transformers_model("wavlm base").save_pretrained(tmp_path / "wavlm")
    return tmp_path / "wavlm"


def same(tensors, others):
    return tensors.keys() == others.keys() and all(
        torch.equal(tensors[name], others[name]) for name in tensors
    )


def test_a_file_of_tensors_alone_gives_what_its_folder_gives(base_folder):
    whole = read_weights(base_folder)
    alone = read_weights(base_folder / "model.safetensors")
    assert same(alone.tensors, whole.tensors)
    assert alone.options == {}


def test_a_folder_may_hold_a_pickle_of_tensors(base_folder):
    from safetensors.torch import load_file

    whole = read_weights(base_folder)
    file = base_folder / "model.safetensors"
    torch.save(load_file(file), base_folder / "pytorch_model.bin")
    file.unlink()
    assert same(read_weights(base_folder).tensors, whole.tensors)


def test_weight_norm_may_be_written_in_its_older_form(base_folder):
    from safetensors.torch import load_file, save_file

    whole = read_weights(base_folder)
    file = base_folder / "model.safetensors"
    older = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    assert "encoder.pos_conv_embed.conv.weight_g" in older
    save_file(older, file)
    assert same(read_weights(base_folder).tensors, whole.tensors)


@pytest.mark.parametrize("name, head", [
    ("wav2vec2 large", "ForPreTraining"), ("hubert base", "ForCTC"),
    ("wavlm base", "ForCTC"), ("data2vec", "ForCTC")])  # fmt: skip
def test_what_only_pretraining_or_a_head_needs_is_left_out(tmp_path, name, head):
    model = transformers_model(name, head)
    model.save_pretrained(tmp_path / "with")
    getattr(model, model.base_model_prefix).save_pretrained(tmp_path / "without")
    bare, full = read_weights(tmp_path / "without"), read_weights(tmp_path / "with")
    assert same(full.tensors, bare.tensors)


def test_unknown_tensors_are_kept_for_the_loading_to_refuse(tmp_path):
    path = tmp_path / "more.pt"
    more = {"encoder.layers.0.adapter.weight": torch.ones(2), "mask_emb": torch.ones(2)}
    torch.save(more, path)
    assert list(read_weights(path).tensors) == ["encoder.layers.0.adapter.weight"]


@pytest.mark.parametrize("norm, asked, expected", [
    ("layer", True, True), ("layer", False, False),
    ("group", True, None)])  # fmt: skip
def test_normalised_input_is_stated_where_it_matters(
    base_folder, norm, asked, expected
):
    config = json.loads((base_folder / "config.json").read_text())
    config["feat_extract_norm"] = norm
    (base_folder / "config.json").write_text(json.dumps(config))
    preprocessor = base_folder / "preprocessor_config.json"
    preprocessor.write_text(json.dumps({"do_normalize": asked}))
    assert read_weights(base_folder).options.get("normalize") is expected


STATED = {"encoder_layers": 2, "layer_norm_first": True, "conv_feature_layers": "[]"}
TENSORS = {
    "layer_norm.weight": torch.arange(3.0),
    "encoder.layers.0.self_attn.grep_a": torch.ones(1, 2, 1, 1),
    "encoder.pos_conv.0.weight_g": torch.ones(1, 1, 4),
}
PRETRAINING = {
    "mask_emb": torch.ones(2),
    "quantizer": torch.ones(2),
    "project_q": torch.ones(2),
    "final_proj": torch.ones(2),
    "label_embs_concat": torch.ones(2),
    "_ema": {"layers.0.fc1.weight": torch.ones(2)},
}
MODEL = TENSORS | PRETRAINING
FORMATS = {
    "converted by s3prl": {
        "task_cfg": {"normalize": True, "data": "/checkpoint/data"},
        "model_cfg": STATED | {"final_dim": 256},
        "model_weight": MODEL,
        "dictionaries_symbols": [["<s>", "0", "1"]],
    },
    "unilm": {"cfg": STATED | {"normalize": True, "dropout": 0.0}, "model": MODEL},
    "fairseq": {
        "args": None,
        "cfg": {"model": STATED, "task": {"normalize": True}, "optimizer": {}},
        "model": MODEL,
        "last_optimizer_state": None,
    },
    "fairseq's older": {"args": Namespace(**STATED, normalize=True), "model": MODEL},
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_fairseq_names_stay_and_options_are_found(tmp_path, form, zipped):
    path = tmp_path / "release.pt"
    torch.save(FORMATS[form], path, _use_new_zipfile_serialization=zipped)
    weights = read_weights(path)
    assert same(weights.tensors, TENSORS)
    assert weights.options == STATED | {"normalize": True}


class Malicious:
    """Its unpickling makes a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_runs_nothing(tmp_path, zipped):
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    torch.save(
        {"cfg": Malicious(str(trace)), "model": MODEL},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(UserError, match=r"evil.pt is a pickle that needs \w+\.open"):
        read_weights(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # so it would have run


class Dictionary:
    """As in fairseq's original HuBERT: a class that is not there to be loaded."""


def test_a_pickle_that_needs_foreign_code_names_it_and_the_fix(tmp_path):
    path = tmp_path / "hubert.pt"
    torch.save({"task_state": [Dictionary()], "model": MODEL}, path)
    with pytest.raises(UserError, match="test_weights.Dictionary") as said:
        read_weights(path)
    assert "convert.py" in str(said.value)
    assert "weights_only" not in str(said.value)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["release.pt", "legacy.pt", "model.safetensors"])
def test_a_truncated_file_is_named(tmp_path, name, part):
    from safetensors.torch import save_file

    path = tmp_path / name
    if name == "model.safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(
            {"cfg": STATED, "model": MODEL},
            path,
            _use_new_zipfile_serialization=name == "release.pt",
        )
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=f"{name} is damaged or holds no pretrained"):
        read_weights(path)


@pytest.mark.parametrize("content, reason", [
    ([1, 2], "it holds a list"), ({"model": [1]}, "its weights are a list"),
    ({"epoch": 3}, "'epoch' is no tensor"), ({7: 3}, "7 is no tensor"),
    ({"model": {}}, "no tensors in it"),
    ({"model": {"mask_emb": torch.ones(1)}}, "no tensors in it")])  # fmt: skip
def test_a_file_of_something_else_is_named_with_what_it_holds(
    tmp_path, content, reason
):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(UserError, match=f"other.pt is damaged or .*: {reason}"):
        read_weights(path)


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "page.pt"
    path.write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(UserError, match="page.pt is damaged .* no file of tensors"):
        read_weights(path)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(UserError, match="neither model.safetensors nor pytorch_model"):
        read_weights(tmp_path)


def test_a_damaged_configuration_is_named(base_folder):
    (base_folder / "config.json").write_text('{"hidden_size": 1')
    with pytest.raises(UserError, match="config.json is damaged"):
        read_weights(base_folder)


def test_the_sha256_is_that_of_the_file_with_the_weights(base_folder):
    file = base_folder / "model.safetensors"
    expected = sha256(file.read_bytes())
    assert checkpoint_sha256(file) == checkpoint_sha256(base_folder) == expected


def test_a_local_file_or_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "mine.pt").touch()
    assert find_checkpoint(str(tmp_path), "wavlm_base") == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_checkpoint("~/mine.pt", "wavlm_base") == tmp_path / "mine.pt"


def test_a_missing_checkpoint_is_named_with_what_there_is():
    said = "/no/such.pt does not exist; .*'hubert_base' to download.*'random'"
    with pytest.raises(UserError, match=said):
        find_checkpoint("/no/such.pt", "hubert_base")


def test_the_weights_of_another_upstream_are_refused():
    with pytest.raises(UserError, match="'wavlm_large'.*another.*'wavlm_base'"):
        find_checkpoint("wavlm_large", "wavlm_base")


@pytest.mark.parametrize("upstream", RELEASES)
def test_released_files_are_those_that_s3prl_downloads(upstream):
    s3prl = Path(importlib.util.find_spec("s3prl").origin).parent
    family = re.match("[a-z]+2?[a-z]+2?", upstream)[0]
    lists = (s3prl / "upstream" / family / "hubconf.py").read_text(encoding="utf-8")
    function = lists.split(f"def {upstream}(")[1].split("\ndef ")[0]
    assert f"{REPOSITORY}/resolve/main/{RELEASES[upstream]}" in function


UPSTREAM = "wavlm_base"
RELEASED = RELEASES[UPSTREAM]
PAGE = f"/{REPOSITORY}/resolve/main/{RELEASED}"


def released(hub):
    """The one release that the hub has."""
    return hub.repositories[REPOSITORY][RELEASED]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one release, and an empty cache in tmp_path/cache."""
    from huggingface_hub import constants

    # So is it written, and the tests break transfers off between these.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    with serving() as server:
        server.repositories[REPOSITORY] = {RELEASED: os.urandom(100_000)}
        with this_process_using(server, tmp_path / "cache", monkeypatch):
            yield server


def part_of(hub, tmp_path):
    """Where a transfer is kept until it is whole."""
    blobs = tmp_path / "cache" / "models--s3prl--converted_ckpts" / "blobs"
    return blobs / f"{sha256(released(hub))}.incomplete"


def test_a_release_is_downloaded_once(hub):
    path = find_checkpoint(UPSTREAM, UPSTREAM)
    assert path.name == RELEASED
    assert path.read_bytes() == released(hub)
    asked = len(hub.requests)
    assert find_checkpoint(UPSTREAM, UPSTREAM) == path
    assert len(hub.requests) == asked
    assert hub.ranges == [0]


def test_a_download_shows_its_progress(hub, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_POSITION", "-1")  # also where there is no terminal
    find_checkpoint(UPSTREAM, UPSTREAM)
    assert re.search(f"{RELEASED}: 100%.*100k/100k", capsys.readouterr().err)


def test_what_other_programs_have_downloaded_is_used(hub):
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(REPOSITORY, RELEASED))
    asked = len(hub.requests)
    assert find_checkpoint(UPSTREAM, UPSTREAM) == path
    assert len(hub.requests) == asked


def test_a_download_that_was_broken_off_goes_on_in_the_next_run(hub, tmp_path):
    hub.troubles = [60_000, "500"]
    with pytest.raises(UserError, match="cannot download http.*what has arrived is"):
        find_checkpoint(UPSTREAM, UPSTREAM)
    arrived = part_of(hub, tmp_path).stat().st_size
    assert arrived == 60_000
    assert find_checkpoint(UPSTREAM, UPSTREAM).read_bytes() == released(hub)
    assert hub.ranges == [0, arrived, arrived]
    assert not part_of(hub, tmp_path).exists()


def test_a_hiccup_does_not_end_the_download(hub):
    hub.troubles = [60_000]
    assert find_checkpoint(UPSTREAM, UPSTREAM).read_bytes() == released(hub)
    assert len(hub.ranges) == 2


def test_a_server_that_knows_no_ranges_sends_all_again(hub):
    hub.troubles = [60_000, "500"]
    with pytest.raises(UserError):
        find_checkpoint(UPSTREAM, UPSTREAM)
    hub.knows_ranges = False
    assert find_checkpoint(UPSTREAM, UPSTREAM).read_bytes() == released(hub)


def test_what_is_longer_than_the_file_is_no_part_of_it(hub, tmp_path):
    part = part_of(hub, tmp_path)
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(len(released(hub)) + 1))
    assert find_checkpoint(UPSTREAM, UPSTREAM).read_bytes() == released(hub)


def test_a_wrong_sha256_removes_the_file_and_says_so(hub, tmp_path):
    part = part_of(hub, tmp_path)
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))  # not how the file begins
    with pytest.raises(
        UserError, match=f"sha256 is .* instead of {sha256(released(hub))}"
    ):
        find_checkpoint(UPSTREAM, UPSTREAM)
    assert list(part.parent.iterdir()) == []
    assert find_checkpoint(UPSTREAM, UPSTREAM).read_bytes() == released(hub)


def test_processes_that_want_the_same_file_wait_for_one_download(hub):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(find_checkpoint(UPSTREAM, UPSTREAM))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == released(hub) for path in found] == [True] * 4
    assert hub.ranges == [0]


def test_a_file_that_the_hub_has_not_is_named(hub):
    hub.repositories[REPOSITORY] = {"another": b""}
    with pytest.raises(UserError, match=f"cannot download {hub.url}{PAGE}: .*404"):
        find_checkpoint(UPSTREAM, UPSTREAM)


def test_a_server_that_is_no_hub_is_named(hub):
    hub.etags[RELEASED] = ""
    with pytest.raises(UserError, match="it is no hub; .*HF_ENDPOINT a mirror"):
        find_checkpoint(UPSTREAM, UPSTREAM)


def test_without_network_the_url_and_the_ways_out_are_named(hub, monkeypatch):
    from huggingface_hub import constants

    closed = "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", closed)
    said = "cannot download http://127.0.0.1:9/.*fetch the file elsewhere.*HF_ENDPOINT"
    with pytest.raises(UserError, match=said):
        find_checkpoint(UPSTREAM, UPSTREAM)


def test_the_hubs_offline_switch_is_obeyed(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="offline"):
        find_checkpoint(UPSTREAM, UPSTREAM)
    assert hub.requests == []


def test_too_little_space_is_seen_before_the_download(hub, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="needs 0 MB in .* are free; .*HF_HOME"):
        find_checkpoint(UPSTREAM, UPSTREAM)
    assert hub.ranges == []


def test_a_disk_that_fills_up_meanwhile_is_named(hub, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    part = part_of(hub, tmp_path)
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full; free some .*HF_HOME"):
        find_checkpoint(UPSTREAM, UPSTREAM)
