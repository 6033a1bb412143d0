"""Shared models are found by name; only the files asked for come from the network."""

import time
from pathlib import Path

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing import fetching
from espnet2_bspmpnet.sharing.fetching import HubModel, fetch_archive, find_shared
from tests.file_server import serving as serving_files
from tests.hub import serving, this_process_using


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one model, in whose cache nothing is yet."""
    with (
        serving() as server,
        this_process_using(server, tmp_path / "cache", monkeypatch),
    ):
        server.repositories["ann/tiny"] = {"meta.yaml": b"files: {}", "large.zip": b"x"}
        yield server


@pytest.mark.parametrize(
    "name, repo",
    [
        ("ann/tiny", "ann/tiny"),
        ("ann/tiny@v1.0", "ann/tiny"),
        ("https://huggingface.co/ann/tiny", "ann/tiny"),
        # Rows of espnet_model_zoo's table:
        ("lichenda/wsj0_2mix_skim_noncausal", "lichenda/wsj0_2mix_skim_noncausal"),
    ],
)
def test_a_name_on_the_hub_is_found(name, repo):
    assert find_shared(name).repo == repo


@pytest.mark.parametrize(
    "name, address",
    [
        ("https://zenodo.org/1/a.zip", "https://zenodo.org/1/a.zip"),
        (
            "anogkongda/librimix_enh_train_raw_valid.si_snr.ave",
            "https://zenodo.org/record/4480771/files/"
            "enh_train_raw_valid.si_snr.ave.zip?download=1",
        ),
    ],
)
def test_an_address_or_a_name_in_the_model_zoo_is_found(name, address):
    assert find_shared(name) == address


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "../tiny", "ann/ti ny", "", "@/x"])
def test_other_names_are_no_models(name):
    assert find_shared(name) is None


def test_without_the_model_zoo_its_names_are_unknown(monkeypatch):
    monkeypatch.setattr(fetching, "find_spec", lambda _: None)
    assert find_shared("Chenda Li/wsj0_2mix_enh_train_enh_rnn_tf") is None


def test_a_file_comes_once_and_is_there_without_network(hub, monkeypatch):
    from huggingface_hub import constants

    path = HubModel("ann/tiny").fetch("meta.yaml")
    assert path.read_bytes() == b"files: {}"
    assert not any("large.zip" in path for _, path in hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert HubModel("ann/tiny").fetch("meta.yaml") == path


def test_all_files_are_of_one_commit(hub):
    model = HubModel("ann/tiny")
    folder = model.fetch("meta.yaml").parent
    hub.repositories["ann/tiny"]["meta.yaml"] = b"another commit"
    assert model.fetch("meta.yaml").parent == folder


def test_a_file_that_is_too_large_is_not_downloaded(hub, tmp_path):
    with pytest.raises(
        UserError, match="ann/tiny: 'meta.yaml' takes 9 bytes .* most 8"
    ):
        HubModel("ann/tiny").fetch("meta.yaml", most=8)
    assert not any(
        path.is_file() for path in (tmp_path / "cache").rglob("snapshots/*/*")
    )


def test_a_model_that_is_not_there_is_named(hub):
    with pytest.raises(
        UserError,
        match="nobody/nothing: no such file or folder; .*has no such model, or it is "
        "private; .*hf auth login",
    ):
        HubModel("nobody/nothing").fetch("meta.yaml")


def test_a_repository_of_other_files_is_no_packed_model(hub):
    with pytest.raises(UserError, match="ann/tiny: has no 'x.pth' .*no packed model"):
        HubModel("ann/tiny").fetch("x.pth")


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_there_is_another_way(hub, monkeypatch, offline):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    started = time.monotonic()
    with pytest.raises(UserError, match="no connection .*hf download ann/tiny --local"):
        HubModel("ann/tiny").fetch("meta.yaml")
    assert time.monotonic() - started < 5


def test_an_archive_comes_once_into_the_model_zoos_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with serving_files({"tiny.zip": b"an archive"}) as server:
        address = server.address("tiny.zip")
        path = fetch_archive(address)
        assert path.read_bytes() == b"an archive"
        assert path.is_relative_to(tmp_path)
        assert fetch_archive(address) == path
        assert len(server.requests) == 1
    with pytest.raises(
        UserError, match="tiny.zip: cannot be downloaded: .*name the file"
    ):
        fetch_archive(address)
