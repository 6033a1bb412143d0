"""A file is either whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import (
    remove,
    replacing,
    replacing_folder,
    write_text,
)


def test_a_finished_block_puts_the_file_in_place_and_makes_its_folder(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "grüße\n")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grüße\n"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_a_failing_block_keeps_what_was_there_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "good")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "good"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for name in ("old", "new"):
        with replacing_folder(tmp_path / "made/folder") as folder:
            (folder / name).touch()
        assert os.listdir(tmp_path / "made/folder") == [name]
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "made/folder") as new:
        (new / "half").touch()
        raise RuntimeError
    assert os.listdir(tmp_path / "made/folder") == ["new"]
    assert os.listdir(tmp_path / "made") == ["folder"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/a.txt: part of this path is a file"):
        write_text(tmp_path / "file" / "a.txt", "")


def test_a_full_disk_is_named_with_the_fix():
    full = "/dev/full"
    if not os.path.exists(full):
        pytest.skip("this system has no /dev/full")
    said = pytest.raises(UserError, match="x.txt: the disk is full; free some space")
    with said, replacing("x.txt"), open(full, "w") as file:
        file.write("a")
        file.flush()


def test_removing_what_is_not_there_does_nothing(tmp_path):
    remove(tmp_path / "nowhere/a")


def test_a_place_where_nothing_may_be_removed_is_named(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a").touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match="a: no permission to write here"):
        remove(tmp_path / "a")
