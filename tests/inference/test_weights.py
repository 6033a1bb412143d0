"""Weights have to be those of the network; those of strangers do no harm."""

import math
import os
import time
import zipfile

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.models import load_model
from espnet2_bspmpnet.network import bands
from tests.networks import TINY, TINY_UPSTREAM, speech_like, tiny_separator
from tests.shared_models import (
    BEST,
    enhanced,
    pack_zip,
    refused,
    save,
    temporary,  # noqa: F401
    weights,
)

BANDS = {"decoder": "bands", "phase_path": "rotation", "num_bands": 8}


@pytest.mark.parametrize(
    "options",
    [
        {"upstream": "hubert_base", "phase_path": "atan2"},
        {"upstream": "data2vec_base_960", "phase_path": "atan2"},
        {"upstream": "none", **BANDS, "window": "sqrt_hann"},
        BANDS,
    ],
    ids=str,
)
def test_every_value_comes_from_the_file_or_is_computed(tmp_path, options):
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


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    expdir = save(tmp_path / "exp")
    save_file(weights(), expdir / "model.safetensors")
    load_model(expdir, model_file="model.safetensors")
    (expdir / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="model.safetensors: damaged, or no model file"):
        load_model(expdir, model_file="model.safetensors")


def large(**upstream_conf):
    return {"upstream_conf": {**TINY_UPSTREAM, **upstream_conf}}


@pytest.mark.parametrize(
    "conf, reason",
    [
        # 10^12 values, by sizes that are allowed and by ones that are not.
        ({"decoder_dim": 60_000, "num_blocks": 18}, "has 1[0-9]{12} values; tensors: "),
        (
            {**BANDS, "n_fft": 60_000, "num_bands": 7_000, "decoder_dim": 60_000},
            "has 1[0-9]{11} values; tensors: ",
        ),
        ({**BANDS, "num_bands": 10**12}, "num_bands: larger than any network's"),
        ({**BANDS, "num_bands": 60_000}, "no network: num_bands: 60000 must be from 2"),
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
    monkeypatch.setattr(bands, "mel_bands", None)  # has the size of its result
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
