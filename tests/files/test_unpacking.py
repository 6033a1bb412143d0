"""Archives: unpacked whole or not at all, and nowhere else."""

import io
import os
import shutil
import tarfile
import zipfile
from types import SimpleNamespace

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.unpacking import unpack

FILES = {"set/a.txt": b"one" * 500, "set/sub/b.bin": os.urandom(5000)}


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files):
    with tarfile.open(path, "w:" + path.suffix.lstrip(".").replace("tar", "")) as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


WRITERS = {
    "set.zip": write_zip,
    "set.tar": write_tar,
    "set.tar.gz": write_tar,
    "set.tar.xz": write_tar,
}


@pytest.fixture(params=WRITERS)
def form(request):
    """A kind of archive: its file name and what writes it."""
    return request.param, WRITERS[request.param]


def found(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_lone_folder_at_the_top_is_not_repeated(tmp_path, form):
    name, write = form
    unpack(write(tmp_path / name, FILES), tmp_path / "out/set")
    assert found(tmp_path / "out") == FILES


def test_files_at_the_top_stay_there(tmp_path, form):
    name, write = form
    files = {"a.txt": b"one", "sub/b.txt": b"two"}
    unpack(write(tmp_path / name, files), tmp_path / "out")
    assert found(tmp_path / "out") == files


def test_what_macos_adds_is_left_out(tmp_path):
    more = {"__MACOSX/set/._a.txt": b"x", "__MACOSX/._set": b"x", "set/._b": b"x"}
    unpack(write_zip(tmp_path / "set.zip", FILES | more), tmp_path / "set")
    assert found(tmp_path / "set") == {
        name.removeprefix("set/"): content for name, content in FILES.items()
    }


def test_what_is_unpacked_already_stays(tmp_path, form):
    name, write = form
    archive, folder = write(tmp_path / name, FILES), tmp_path / "set"
    unpack(archive, folder)
    before = (folder / "a.txt").stat()
    unpack(archive, folder)
    assert (folder / "a.txt").stat() == before


def test_a_folder_that_lacks_something_is_named(tmp_path):
    archive, folder = write_zip(tmp_path / "set.zip", FILES), tmp_path / "set"
    unpack(archive, folder)
    (folder / "sub/b.bin").write_bytes(b"short")
    with pytest.raises(UserError, match=r"set: 1 of the 2 files .* such as sub/b\.bin"):
        unpack(archive, folder)
    assert (folder / "sub/b.bin").read_bytes() == b"short"


@pytest.mark.parametrize("part", [0.0, 0.3, 0.95])
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, form, part):
    name, write = form
    archive = write(tmp_path / name, FILES)
    content = archive.read_bytes().rstrip(b"\0")
    archive.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=f"{name}: the archive is .*download it again"):
        unpack(archive, tmp_path / "out/set")
    assert found(tmp_path / "out") == {}


def test_a_wrong_byte_within_is_named_and_leaves_nothing(tmp_path):
    archive = write_zip(tmp_path / "set.zip", FILES)
    content = bytearray(archive.read_bytes())
    place = content.index(FILES["set/sub/b.bin"][:50]) + 3
    content[place] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"truncated or damaged \(Bad CRC-32.*b\.bin"):
        unpack(archive, tmp_path / "out/set")
    assert found(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["set.tar.gz", "set.tar.xz"])
def test_a_wrong_byte_in_a_compressed_tar_is_named_and_leaves_nothing(tmp_path, name):
    # Where the compressed data still decode, only the checksum at their end shows it.
    archive = write_tar(tmp_path / name, {"set/b.bin": os.urandom(300_000)})
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: the archive is truncated or damaged"):
        unpack(archive, tmp_path / "out/set")
    assert found(tmp_path / "out") == {}


@pytest.mark.parametrize("name", ["../evil", "set/../../evil", "/tmp/evil", "a\\..\\b"])
def test_a_member_that_would_land_elsewhere_is_refused(tmp_path, form, name):
    archive, write = form
    path = write(tmp_path / archive, FILES | {name: b"x"})
    with pytest.raises(UserError, match="would be unpacked elsewhere"):
        unpack(path, tmp_path / "out/set")
    assert found(tmp_path / "out") == {}


def test_a_link_in_an_archive_is_refused(tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as file:
        link = tarfile.TarInfo("set/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    with pytest.raises(UserError, match="no plain file"):
        unpack(path, tmp_path / "out")


def test_what_a_killed_run_has_left_is_cleared(tmp_path):
    left = tmp_path / ".set.unpacking"
    left.mkdir()
    (left / "half").write_text("")
    unpack(write_zip(tmp_path / "set.zip", FILES), tmp_path / "set")
    assert not left.exists()
    assert len(found(tmp_path / "set")) == 2


def test_too_little_space_is_seen_before_unpacking(tmp_path, monkeypatch):
    archive = write_zip(tmp_path / "set.zip", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"set\.zip needs .* are free; free some space"):
        unpack(archive, tmp_path / "set")
    assert not (tmp_path / "set").exists()
