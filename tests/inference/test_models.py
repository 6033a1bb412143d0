"""Models are loaded from wherever they are; those of strangers do no harm."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.models import load_model
from espnet2_bspmpnet.sharing import fetching
from tests.hub import serving, this_process_using
from tests.networks import TINY, save_model, speech_like, tiny_separator
from tests.shared_models import (
    BEST,
    enhanced,
    pack_tar,
    pack_zip,
    packed_files,
    refused,
    save,
    take_snapshot,
    temporary,  # noqa: F401
    unpack,
    weights,
)


def test_a_model_of_any_form_gives_what_espnets_separatespeech_gives(tmp_path):
    from espnet2.bin.enh_inference import SeparateSpeech

    expdir = tmp_path / "exp/tiny"
    save_model(expdir)
    noisy = speech_like(8000)[0]
    theirs = SeparateSpeech(expdir / "config.yaml", expdir / BEST)(noisy, fs=16000)[0]
    for model in (
        expdir,
        pack_zip(expdir, tmp_path / "tiny.zip"),
        pack_tar(expdir, tmp_path / "tiny.tgz"),
        unpack(expdir, tmp_path / "unpacked"),
        take_snapshot(expdir, tmp_path / "cache"),
    ):
        loaded = load_model(model)
        assert loaded.source == str(model)
        assert loaded.config["separator_conf"] == TINY
        assert not loaded.separator.training
        assert np.array_equal(enhanced(loaded.separator, noisy), theirs), model


def test_the_best_model_or_a_named_one_is_taken(tmp_path):
    expdir = save(tmp_path / "exp")
    name = "separator.bsp_mpnet.magnitude_path.rema.project_in.bias"
    torch.save(weights(**{name: torch.full((16,), 2.0)}), expdir / "2epoch.pth")

    def bias(loaded):
        return loaded.separator.bsp_mpnet.magnitude_path.rema.project_in.bias

    assert not (bias(load_model(expdir)) == 2).any()
    assert (bias(load_model(expdir, model_file="2epoch.pth")) == 2).all()
    with pytest.raises(UserError, match="3epoch.pth: no such model"):
        load_model(expdir, model_file="3epoch.pth")
    path = pack_zip(expdir, tmp_path / "tiny.zip")
    with pytest.raises(UserError, match="tiny.zip: is no experiment's folder"):
        load_model(path, model_file="2epoch.pth")
    (expdir / BEST).unlink()
    with pytest.raises(UserError, match="no trained model .*exp/valid"):
        load_model(expdir)


def test_pcs_can_be_chosen(tmp_path):
    expdir = save(tmp_path / "exp")
    assert load_model(expdir).separator.pcs_output == "boosted"
    assert load_model(expdir, pcs_output="natural").separator.pcs_output == "natural"


def test_a_model_of_version_0_1_0_is_loaded(tmp_path):
    old = {
        name.replace(".self_attention_norm.", ".norms.0."): tensor
        for name, tensor in weights().items()
    }
    assert old.keys() != weights().keys()
    load_model(save(tmp_path / "exp", old))


def test_what_matters_in_training_only_is_not_touched(tmp_path):
    conf = {**TINY, "checkpoint": "/nowhere/wavlm.pt", "gradient_checkpointing": True}
    conf |= {"finetune": "none", "feature_cache": str(tmp_path / "cache")}
    ssl = load_model(
        save(tmp_path / "exp", separator_conf=conf)
    ).separator.bsp_mpnet.ssl
    assert ssl.has_weights and ssl.feature_cache is None
    assert not (tmp_path / "cache").exists()


def test_ssl_weights_that_were_not_saved_are_read_and_reported(tmp_path, caplog):
    ssl = tiny_separator().bsp_mpnet.ssl.model.state_dict()
    torch.save({"model_weight": ssl}, tmp_path / "ssl.pt")
    conf = {**TINY, "finetune": "none", "checkpoint": str(tmp_path / "ssl.pt")}
    conf["save_ssl"] = False
    trained = tiny_separator(**conf)
    trained.bsp_mpnet.ssl.load_pretrained()
    state = {f"separator.{n}": t for n, t in trained.state_dict().items()}
    expdir = save(tmp_path / "exp", state, separator_conf=conf)
    noisy = speech_like(4000)[0]
    loaded = load_model(expdir).separator
    assert np.array_equal(enhanced(loaded, noisy), enhanced(trained.eval(), noisy))
    assert (
        "without its SSL weights (save_ssl: false), which are now read" in caplog.text
    )

    (tmp_path / "ssl.pt").write_bytes(b"another")
    refused(expdir, "this model was saved without its SSL weights .* whose SHA-256 is")
    state["separator.bsp_mpnet.ssl.checkpoint_sha256"][:] = 0
    refused(save(expdir, state, separator_conf=conf), "does not say which they were")
    refused(
        save(expdir, state, separator_conf={**conf, "checkpoint": "/dev/zero"}),
        "checkpoint: /dev/zero is no plain file",
    )


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            {"separator": "conv_tasnet"},
            "separator: 'conv_tasnet' is not bsp_mpnet; .*Sep",
        ),
        ({"separator": None}, "separator: None is not bsp_mpnet"),
        ({"encoder": "stft"}, "encoder: 'stft' is not same"),
        ({"decoder": "conv"}, "decoder: 'conv' is not same"),
        ({"model_conf": {"normalize_variance": True}}, "model_conf: .*not supported"),
        ({"base": "../other.yaml"}, "base: is not followed"),
        ({"separator_conf": [1]}, "separator_conf is no table"),
        (
            {"separator_conf": {"colour": 1}},
            "unknown option 'colour'; known are .*drop",
        ),
        ({"separator_conf": {"input_dim": 1}}, "unknown option 'input_dim'"),
        ({"separator_conf": {"level": "loud"}}, "describes no network: level: 'loud'"),
        ({"separator_conf": {"upstream": "gpt"}}, "no network: upstream: 'gpt'"),
        ({"separator_conf": {"upstream_conf": "big"}}, "upstream_conf is no table"),
        ({"separator_conf": {"decoder_dim": {}}}, "describes no network: "),
    ],
)
def test_a_configuration_of_something_else_is_refused(tmp_path, changes, reason):
    refused(save(tmp_path / "exp", **changes), f"config.yaml: .*{reason}")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("a: &a [*a]", "config.yaml: no plain YAML: too many aliases"),
        (
            "a: !!python/object/apply:os.mkdir [evil]",
            "config.yaml: no plain YAML: could",
        ),
        ("x" * 300_000, "config.yaml: .* characters"),
        ("- a", "config.yaml: not a table"),
    ],
)
def test_an_experiments_configuration_is_read_with_mistrust(tmp_path, text, reason):
    expdir = save(tmp_path / "exp")
    (expdir / "config.yaml").write_text(text)
    refused(expdir, reason)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("gone", "gone: no such file or folder; name an experiment's folder, a packed"),
        ("gone.zip", "gone.zip: no such file or folder"),
        (".", "has neither config.yaml, as an experiment's folder, nor meta.yaml"),
        ("notes.txt", "notes.txt: neither a zip nor a tar archive"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, name, reason):
    (tmp_path / "notes.txt").write_text("notes")
    refused(tmp_path / name, reason)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with (
        serving() as server,
        this_process_using(server, tmp_path / "cache", monkeypatch),
    ):
        yield server


def test_of_a_model_on_the_hub_only_what_is_needed_is_fetched(hub, tmp_path):
    expdir = save(tmp_path / "exp")
    hub.repositories["ann/tiny"] = {**packed_files(expdir), "samples.zip": b"large"}
    loaded = load_model("ann/tiny")
    assert loaded.source == "ann/tiny"
    noisy = speech_like(4000)[0]
    local = load_model(expdir).separator
    assert np.array_equal(enhanced(loaded.separator, noisy), enhanced(local, noisy))
    assert not any("samples.zip" in path for _, path in hub.requests)


def test_a_model_of_another_network_is_refused_before_its_weights_come(hub, tmp_path):
    expdir = save(tmp_path / "exp", separator="conv_tasnet")
    hub.repositories["ann/tiny"] = packed_files(expdir)
    with pytest.raises(
        UserError, match="ann/tiny: exp/tiny/config.yaml: separator: 'co"
    ):
        load_model("ann/tiny")
    assert not any(BEST in path for _, path in hub.requests)


def test_an_archive_of_the_model_zoo_is_fetched_and_not_unpacked(tmp_path, monkeypatch):
    path = pack_zip(save(tmp_path / "exp"), tmp_path / "cached.zip")
    fetched = []
    monkeypatch.setattr(fetching, "find_shared", {"Ann Lee/tiny": "https://zoo/1"}.get)
    monkeypatch.setattr(fetching, "fetch_archive", lambda x: fetched.append(x) or path)
    assert load_model("Ann Lee/tiny").source == "Ann Lee/tiny"
    assert fetched == ["https://zoo/1"]


def test_a_small_model_is_loaded_within_a_second_without_espnets_task(tmp_path):
    script = """if True:
        import json, sys, time
        import torch
        started = time.process_time()
        from espnet2_bspmpnet.inference.models import load_model
        load_model(sys.argv[1])
        seconds = time.process_time() - started
        names = ("espnet2.tasks", "espnet2.tasks.enh", "s3prl.nn", "torch._dynamo")
        print(json.dumps([seconds, [x for x in names if x in sys.modules]]))
    """
    expdir = save(tmp_path / "exp")
    command = [sys.executable, "-c", script, str(expdir)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, imported = json.loads(shown)
    assert imported == []
    assert seconds < 1
    shutil.rmtree(expdir)
