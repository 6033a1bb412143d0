"""The folder that is uploaded: what was packed, and a card that may be edited."""

import zipfile

import pytest
import torch

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing.upload_folder import prepare_upload

REPO = "ann/enh_tiny"


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


def test_a_damaged_archive_leaves_the_folder_as_it_was(packed, folder, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    damaged = packed.read_bytes().replace(b"|dataset|PESQ|", b"|dataset|PESQ!")
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with pytest.raises(UserError, match="damaged.zip: damaged .*pack the model again"):
        prepare_upload(tmp_path / "damaged.zip", REPO, folder, "mini/enh1")
    (tmp_path / "damaged.zip").unlink()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("place", ["..", "{tmp_path}"])
def test_what_lies_outside_of_an_archive_does_not_get_into_the_card(tmp_path, place):
    (tmp_path / "secret").write_text("a secret")
    secret = place.format(tmp_path=tmp_path) + "/secret"
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("m.pth", b"")
        archive.writestr(
            "meta.yaml",
            f"yaml_files: {{train_config: {secret}}}\nfiles: {{model_file: m.pth}}\n",
        )
    with pytest.raises(UserError, match="train_config is .*outside of the packed"):
        prepare_upload(tmp_path / "evil.zip", REPO, tmp_path / "hf", "mini/enh1")
    assert not (tmp_path / "hf").exists()


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
def test_a_name_that_the_hub_would_not_take_is_refused(packed, tmp_path, repo, said):
    with pytest.raises(UserError, match=f"--hf_repo '{repo}': .*{said}"):
        prepare_upload(packed, repo, tmp_path / "folder", "mini/enh1")
    assert not (tmp_path / "folder").exists()
