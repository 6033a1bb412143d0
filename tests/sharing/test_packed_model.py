"""A packed model is unpacked whole, or the archive is named."""

import zipfile

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing.packed_model import unpack


def test_a_truncated_archive_is_named_and_leaves_nothing(packed, tmp_path):
    cut = tmp_path / "cut.zip"
    cut.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(UserError, match="cut.zip: damaged .*pack the model again"):
        unpack(cut, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_packed_model_of_another_task_is_named(tmp_path):
    other = tmp_path / "asr.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(
            "meta.yaml",
            "yaml_files: {asr_train_config: c.yaml}\nfiles: {asr_model_file: m.pth}\n",
        )
    with pytest.raises(UserError, match="no speech-enhancement .* asr_train_config"):
        unpack(other, tmp_path / "folder")
