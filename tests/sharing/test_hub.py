"""Packed models: to the hub and back, over its own protocol."""

import zipfile

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing.hub import download_model, prepare_upload, unpack, upload
from tests.hub import serving, this_process_using
from tests.networks import save_model, speech_like

REPO = "ann/enh_tiny"
EXPDIR = "exp/enh_tiny"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A small model, packed as in stage 11."""
    from espnet2.bin.pack import main as pack

    root = tmp_path_factory.mktemp("recipe")
    save_model(root / EXPDIR)
    (root / EXPDIR / "RESULTS.md").write_text("# RESULTS\n|dataset|PESQ|\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # so that the archive has relative paths
        words = ["--train_config", f"{EXPDIR}/config.yaml"]
        words += ["--model_file", f"{EXPDIR}/valid.loss.best.pth"]
        words += ["--option", f"{EXPDIR}/RESULTS.md", "--outpath", "packed.zip"]
        pack(["enh", *words])
    return root / "packed.zip"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub where Ann has an account; this process uses it, and is not logged in."""
    with (
        serving() as server,
        this_process_using(server, tmp_path / "cache", monkeypatch),
    ):
        server.accounts["anns token"] = "ann"
        yield server


@pytest.fixture
def folder(packed, tmp_path):
    """What is uploaded."""
    prepare_upload(packed, REPO, tmp_path / "hf_ann_enh_tiny", "mini/enh1")
    return tmp_path / "hf_ann_enh_tiny"


def test_the_folder_holds_what_was_packed_and_a_card(packed, tmp_path):
    made = tmp_path / "folder"
    listed = prepare_upload(packed, REPO, made, "mini/enh1", language="en")
    with zipfile.ZipFile(packed) as archive:
        assert listed == sorted([*archive.namelist(), "README.md"])
    card = (made / "README.md").read_text()
    assert "language: en" in card and "|dataset|PESQ|" in card
    assert "separator: bsp_mpnet" in card
    assert f"torch {torch.__version__}" in card


def test_another_packed_model_replaces_the_folder(packed, folder):
    (folder / "old").touch()
    assert "old" not in prepare_upload(packed, REPO, folder, "mini/enh1")


def test_a_card_that_was_edited_stays(packed, folder, tmp_path, caplog):
    (folder / "README.md").write_text("# Edited\n")
    with pytest.raises(UserError, match="no such file"):
        prepare_upload(tmp_path / "gone.zip", REPO, folder, "mini/enh1")
    for _ in range(2):
        prepare_upload(packed, REPO, folder, "mini/enh1")
        assert (folder / "README.md").read_text() == "# Edited\n"
    assert "README.md was edited and stays" in caplog.text
    (folder / "README.md").unlink()
    prepare_upload(packed, REPO, folder, "mini/enh1", license="mit")
    prepare_upload(packed, REPO, folder, "mini/enh1")  # this one nobody edited
    assert "license: cc-by-4.0" in (folder / "README.md").read_text()


def test_a_folder_of_other_things_is_not_replaced(packed, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is there already and is no unpacked model"):
        prepare_upload(packed, REPO, tmp_path, "mini/enh1")
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    "repo, said",
    [
        ("enh_tiny", "whose is it. Write owner/name"),
        ("ann/enh tiny", "alphanumeric"),
        ("a/b/c", "namespace/repo_name"),
    ],
)
def test_a_name_that_the_hub_would_not_take_is_told(packed, tmp_path, repo, said):
    with pytest.raises(UserError, match=f"--hf_repo '{repo}': .*{said}"):
        prepare_upload(packed, repo, tmp_path / "folder", "mini/enh1")
    assert not (tmp_path / "folder").exists()


def test_a_torn_archive_is_told_and_leaves_nothing(packed, tmp_path):
    torn = tmp_path / "torn.zip"
    torn.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(UserError, match="torn.zip: damaged .*pack the model again"):
        unpack(torn, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_packed_model_of_another_task_is_told(tmp_path):
    other = tmp_path / "asr.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(
            "meta.yaml",
            "yaml_files: {asr_train_config: c.yaml}\nfiles: {asr_model_file: m.pth}\n",
        )
    with pytest.raises(UserError, match="no speech-enhancement .* asr_train_config"):
        unpack(other, tmp_path / "folder")


def test_an_uploaded_model_is_downloaded_and_enhances_alike(
    hub, packed, folder, tmp_path, monkeypatch
):
    from espnet2.bin.enh_inference import SeparateSpeech

    monkeypatch.setenv("HF_TOKEN", "anns token")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert upload(folder, REPO) == f"{hub.url}/{REPO}"
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["README.md"] = (folder / "README.md").read_bytes()
    assert hub.repositories[REPO] == files

    monkeypatch.delenv("HF_TOKEN")
    found = download_model(REPO, tmp_path / "exp/ann_enh_tiny")
    assert found.config == tmp_path / "exp/ann_enh_tiny/config.yaml"
    noisy = speech_like(8000)[0].numpy()
    (enhanced,) = SeparateSpeech(found.config, found.model)(noisy, fs=16000)
    trained = packed.parent / EXPDIR
    before = SeparateSpeech(trained / "config.yaml", trained / "valid.loss.best.pth")
    assert np.array_equal(enhanced, before(noisy, fs=16000)[0])


def test_only_what_changed_is_sent_again(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "anns token")
    upload(folder, REPO)
    stored = [request for request in hub.requests if request[0] == "PUT"]
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Renamed\n")
    upload(folder, REPO)
    assert [request for request in hub.requests if request[0] == "PUT"] == stored
    assert hub.repositories[REPO]["README.md"].endswith(b"# Renamed\n")


def test_who_is_not_logged_in_is_told_how_to(hub, folder):
    with pytest.raises(UserError, match="not logged in to .*hf auth login.*HF_TOKEN"):
        upload(folder, REPO)
    assert hub.requests == []


@pytest.mark.parametrize(
    "token, repo, said",
    [
        ("stale", REPO, "your token is not valid .*hf auth login"),
        ("anns token", "bob/enh", "is bob you or an organisation of yours"),
    ],
)
def test_a_hub_that_refuses_is_explained(hub, folder, monkeypatch, token, repo, said):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=f"cannot upload to {hub.url}/{repo}: .*{said}"):
        upload(folder, repo)
    assert not hub.repositories.get(repo)


def test_without_network_the_upload_names_the_hub(hub, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", "anns token")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="http://127.0.0.1:9/ann/enh_tiny: .*run it"):
        upload(folder, REPO)


def test_a_local_archive_is_taken_like_a_shared_model(packed, tmp_path):
    copied = tmp_path / "packed.zip"
    copied.write_bytes(packed.read_bytes())
    found = download_model(str(copied), tmp_path / "exp/packed")
    assert found.model.name == "valid.loss.best.pth"
    assert (
        found.model.read_bytes()
        == (packed.parent / EXPDIR / found.model.name).read_bytes()
    )

    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(copied, "w") as new:
        for name in old.namelist():
            changed = name.endswith(".pth")
            new.writestr(name, b"another model" if changed else old.read(name))
    found = download_model(str(copied), tmp_path / "exp/packed")
    assert found.model.read_bytes() == b"another model"


def test_a_model_that_was_trained_is_not_replaced_by_a_shared_one(packed, tmp_path):
    save_model(tmp_path / "exp")
    (tmp_path / "exp/checkpoint.pth").touch()
    before = (tmp_path / "exp/valid.loss.best.pth").read_bytes()
    with pytest.raises(UserError, match="exp: a model was trained here.*--enh_exp"):
        download_model(str(packed), tmp_path / "exp")
    assert (tmp_path / "exp/valid.loss.best.pth").read_bytes() == before


@pytest.mark.parametrize("tag", ["nobody/nothing", "nothing/here.zip", "./nothing"])
def test_a_model_that_is_nowhere_is_named(hub, tmp_path, monkeypatch, tag):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"{tag}: .*no such (model|file)"):
        download_model(tag, tmp_path / "exp/nothing")
    assert not (tmp_path / "exp/nothing/config.yaml").exists()
