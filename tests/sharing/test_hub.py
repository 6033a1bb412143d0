"""Models to the hub and back, over its own protocol."""

import zipfile

import numpy as np
import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing.hub import download_model, upload
from tests.hub import serving, this_process_using
from tests.networks import save_model, speech_like

REPO = "ann/enh_tiny"
EXPDIR = "exp/enh_tiny"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub where Ann has an account; this process uses it, and is not logged in."""
    with (
        serving() as server,
        this_process_using(server, tmp_path / "cache", monkeypatch),
    ):
        server.accounts["anns token"] = "ann"
        yield server


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
    model = download_model(REPO, tmp_path / "exp/ann_enh_tiny")
    config = tmp_path / "exp/ann_enh_tiny/config.yaml"
    noisy = speech_like(8000)[0].numpy()
    (enhanced,) = SeparateSpeech(config, model)(noisy, fs=16000)
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


def test_who_is_not_logged_in_learns_how_to(hub, folder):
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
    model = download_model(str(copied), tmp_path / "exp/packed")
    assert model.name == "valid.loss.best.pth"
    trained = packed.parent / EXPDIR / model.name
    assert model.read_bytes() == trained.read_bytes()

    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(copied, "w") as new:
        for name in old.namelist():
            changed = name.endswith(".pth")
            new.writestr(name, b"another model" if changed else old.read(name))
    model = download_model(str(copied), tmp_path / "exp/packed")
    assert model.read_bytes() == b"another model"
    unpacked = tmp_path / "exp/packed/unpacked"
    assert (unpacked / EXPDIR / "RESULTS.md").is_file()
    assert sorted(path.name for path in unpacked.parent.iterdir()) == [
        "config.yaml",
        "unpacked",
        "valid.loss.best.pth",
    ]


@pytest.mark.parametrize(
    "member, reason",
    [
        ("../../evil", "'../../evil' would be unpacked elsewhere"),
        ("/tmp/evil", "'/tmp/evil' would be unpacked elsewhere"),
        ("META.YAML", "is there twice, or differs in case only"),
    ],
)
def test_a_strangers_archive_is_refused_whole(packed, tmp_path, member, reason):
    evil = tmp_path / "evil.zip"
    evil.write_bytes(packed.read_bytes())
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr(member, b"evil")
    with pytest.raises(UserError, match=reason):
        download_model(str(evil), tmp_path / "exp/evil")
    assert list(tmp_path.iterdir()) == [evil]


@pytest.mark.parametrize("key", ["train_config", "model_file"])
def test_a_meta_yaml_that_names_a_local_file_is_refused(tmp_path, key):
    (tmp_path / "secret").write_text("a: secret")
    names = {"train_config": "c.yaml", "model_file": "m.pth"}
    names[key] = str(tmp_path / "secret")
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("c.yaml", b"a: b")
        archive.writestr("m.pth", b"")
        archive.writestr(
            "meta.yaml",
            f"yaml_files: {{train_config: {names['train_config']}}}\n"
            f"files: {{model_file: {names['model_file']}}}\n",
        )
    with pytest.raises(UserError, match=f"{key} is .*secret', which is outside"):
        download_model(str(evil), tmp_path / "exp/evil")
    assert not (tmp_path / "exp").exists()


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
