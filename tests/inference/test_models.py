"""Models are loaded from wherever they are; those of strangers do no harm."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.models import load_model
from espnet2_bspmpnet.sharing import fetching
from tests.hub import serving, this_process_using
from tests.networks import TINY, TINY_UPSTREAM, save_model, speech_like, tiny_separator

BEST = "valid.loss.best.pth"
CONFIG = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": TINY,
    "best_model_criterion": [["valid", "loss", "min"]],
}
META = {
    "yaml_files": {"train_config": "exp/tiny/config.yaml"},
    "files": {"model_file": f"exp/tiny/{BEST}"},
}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary files are made, which has to be empty again in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.glob("bspmpnet.*"))


def weights(**changes):
    """The tensors of a tiny model by ESPnet's names, some of them changed or removed."""
    state = {f"separator.{n}": t for n, t in tiny_separator().state_dict().items()}
    state |= {name.replace("/", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def save(expdir, state=None, **changes):
    """Write an experiment's folder without ESPnet."""
    expdir.mkdir(parents=True, exist_ok=True)
    (expdir / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
    torch.save(weights() if state is None else state, expdir / BEST)
    return expdir


def packed_files(expdir):
    return {
        "meta.yaml": yaml.safe_dump(META).encode(),
        "exp/tiny/config.yaml": (expdir / "config.yaml").read_bytes(),
        f"exp/tiny/{BEST}": (expdir / BEST).read_bytes(),
    }


def pack_zip(expdir, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in packed_files(expdir).items():
            archive.writestr(name, content)
    return path


def pack_tar(expdir, path):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in packed_files(expdir).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(expdir, folder):
    for name, content in packed_files(expdir).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def take_snapshot(expdir, cache):
    """Make what the hub's cache holds of a model: links to blobs."""
    snapshot = cache / "models--ann--tiny/snapshots/0123456789abcdef"
    blobs = cache / "models--ann--tiny/blobs"
    blobs.mkdir(parents=True)
    for number, (name, content) in enumerate(packed_files(expdir).items()):
        (blobs / str(number)).write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(blobs / str(number), (snapshot / name).parent)
        (snapshot / name).symlink_to(target)
    return snapshot


def enhanced(separator, wave):
    with torch.no_grad():
        return separator(wave, torch.tensor([wave.size(1)]))[0][0].numpy()


def refused(model, reason):
    """Make sure that a model is refused in one line, and that nothing is written."""
    before = sorted(Path(model).parent.rglob("*"))
    with pytest.raises(UserError, match=reason) as error:
        load_model(model)
    assert "\n" not in str(error.value)
    assert sorted(Path(model).parent.rglob("*")) == before


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


@pytest.mark.parametrize("upstream", ["hubert_base", "data2vec_base_960"])
def test_every_value_comes_from_the_file_or_is_computed(tmp_path, upstream):
    options = {"upstream": upstream, "phase_path": "atan2"}
    trained = tiny_separator(**options)
    state = {f"separator.{n}": t for n, t in trained.state_dict().items()}
    expdir = save(tmp_path / "exp", state, separator_conf={**TINY, **options})
    torch.manual_seed(1)
    before = torch.get_rng_state()
    torch.use_deterministic_algorithms(True)  # memory not initialised is NaN then
    try:
        loaded = load_model(expdir).separator
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), before)
    expected = {**dict(trained.named_buffers()), **dict(trained.named_parameters())}
    found = {**dict(loaded.named_buffers()), **dict(loaded.named_parameters())}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    noisy = speech_like(4000)[0]
    assert np.array_equal(enhanced(loaded, noisy), enhanced(trained.eval(), noisy))


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


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    expdir = save(tmp_path / "exp")
    save_file(weights(), expdir / "model.safetensors")
    load_model(expdir, model_file="model.safetensors")
    (expdir / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="model.safetensors: damaged, or no model file"):
        load_model(expdir, model_file="model.safetensors")


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


def large(**upstream_conf):
    return {"upstream_conf": {**TINY_UPSTREAM, **upstream_conf}}


@pytest.mark.parametrize(
    "conf, reason",
    [
        # 10^12 values, by sizes that are allowed and by ones that are not.
        ({"decoder_dim": 60_000, "num_blocks": 18}, "has 1[0-9]{12} values; tensors: "),
        ({"decoder_dim": 10**12}, "decoder_dim: larger than any network's"),
        ({"num_blocks": 10**12}, "num_blocks: larger than any network's"),
        ({"n_fft": 10**12, "win_length": 10**12}, "n_fft: larger than any network's"),
        ({"coarse_channels": 10**400}, "coarse_channels: larger than any network's"),
        (large(encoder_layers=10**6), "encoder_layers: larger than any network's"),
        (large(encoder_embed_dim=60_000), "tensors: .* of another shape"),
        (large(conv_feature_layers="[(1,1,1)] * 1000000000"), "layers: more than any"),
        (
            large(conv_feature_layers=[[1, 1, n] for n in range(200)]),
            "layers: more than any",
        ),
        (large(conv_feature_layers="[(99999999999999999999,1,1)]"), "no network: "),
    ],
)
def test_a_network_of_any_size_is_refused_before_memory_is_taken(
    tmp_path, monkeypatch, conf, reason
):
    expdir = save(tmp_path / "exp", separator_conf={**TINY, **conf})
    allocated = []
    empty = torch.empty

    def spy(*sizes, **options):
        made = empty(*sizes, **options)
        allocated.append(0 if made.is_meta else made.nbytes)
        return made

    monkeypatch.setattr(torch, "empty", spy)
    started = time.monotonic()
    refused(expdir, reason)
    assert sum(allocated) < 1e6
    assert time.monotonic() - started < 10


NAME = "separator/bsp_mpnet/magnitude_path/rema/project_in/bias"


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            {NAME: None},
            r"tensors: 1 missing \(separator.bsp_mpnet.mag.*project_in.bias\)",
        ),
        ({"separator/x": torch.ones(1)}, r"tensors: 1 foreign \(separator.x\)"),
        ({"encoder/x": torch.ones(1)}, r"tensors: 1 foreign \(encoder.x\)"),
        (
            {NAME: torch.ones(17)},
            r"1 of another shape .*bias is \[17\] in place of \[16",
        ),
        (
            {NAME: torch.full((16,), math.nan)},
            "project_in.bias has values that are NaN",
        ),
        ({NAME: torch.full((16,), math.inf)}, "project_in.bias has values .* infinite"),
        ({NAME: torch.ones(1).expand(10**9)}, "claims more values than it has"),
        ({NAME: torch.ones(16).to_sparse()}, "something else than a model's tensors"),
        (
            {NAME: torch.ones(16, device="meta")},
            "something else than a model's tensors",
        ),
        ({NAME: torch.ones(16) * 1j}, "something else than a model's tensors"),
        ({"separator/\n": torch.ones(1)}, "something else than a model's tensors"),
        ({NAME: {"model": 1}}, "something else than a model's tensors"),
    ],
)
def test_weights_that_are_not_the_networks_are_refused(tmp_path, changes, reason):
    refused(save(tmp_path / "exp", weights(**changes)), f"{BEST}: .*{reason}")


@pytest.mark.parametrize("content", [[1], {}, {1: torch.ones(1)}, torch.ones(3)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    expdir = save(tmp_path / "exp", content)
    refused(expdir, f"{BEST}: (holds something else|not the weights)")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    expdir = save(tmp_path / "exp", {**weights(), "x": Evil(tmp_path / "evil")})
    for model in (expdir, pack_zip(expdir, tmp_path / "tiny.zip")):
        refused(model, r"refused: a pickle that would run .(posix|nt).mkdir.; only")
    torch.save(
        Evil(tmp_path / "evil"), expdir / BEST, _use_new_zipfile_serialization=False
    )
    refused(expdir, f"{BEST}: damaged, or no model file")
    assert not (tmp_path / "evil").exists()


def test_weights_that_torch_would_unpack_into_memory_are_refused(tmp_path):
    expdir = save(tmp_path / "exp")
    with zipfile.ZipFile(expdir / BEST) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(expdir / BEST, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    refused(expdir, f"{BEST}: .*it is compressed")


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_truncated_model_file_is_refused(tmp_path, share):
    expdir = save(tmp_path / "exp")
    whole = (expdir / BEST).read_bytes()
    (expdir / BEST).write_bytes(whole[: int(share * len(whole))])
    refused(expdir, f"{BEST}: damaged, or no model file .*copy it again")


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
