"""Packed models are read from any kind of archive, and strangers' ones do no harm."""

import io
import os
import stat
import tarfile
import tempfile
import zipfile

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sharing import archives
from espnet2_bspmpnet.sharing.archives import open_packed

META = (
    "yaml_files: {train_config: exp/enh/config.yaml}\n"
    "files: {model_file: exp/enh/5epoch.pth}\n"
    "torch: 2.11.0\n"
)
FILES = {
    "meta.yaml": META.encode(),
    "exp/enh/config.yaml": b"separator: bsp_mpnet\n",
    "exp/enh/5epoch.pth": bytes(range(256)) * 1000,
}
TAR_MODES = {
    "tar": "w",
    "tar.gz": "w:gz",
    "tgz": "w:gz",
    "tbz2": "w:bz2",
    "txz": "w:xz",
}
KINDS = ["zip", *TAR_MODES]


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary files are made, which has to be empty again in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def write(path, files=FILES, more=()):
    """Write an archive of the kind that its name says; ``more`` has odd members."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
            for info, content in more:
                archive.writestr(info, content)
    else:
        with tarfile.open(path, TAR_MODES[path.name.partition(".")[2]]) as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for info, _ in more:
                archive.addfile(info)
    return path


def unpacked(folder):
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def refused(path, reason):
    """Make sure that a model is refused in one line, and that nothing is left behind."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError, match=reason) as error, open_packed(path) as packed:
        packed.read_text("train_config")
        packed.file("model_file")
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    after = sorted(path.parent.rglob("*"))
    assert [p for p in after if p not in before] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_read_where_it_is(tmp_path, temporary, kind):
    path = write(tmp_path / f"packed.{kind}")
    with open_packed(path) as packed:
        assert packed.meta["torch"] == "2.11.0"
        assert packed.members == tuple(FILES)
        assert packed.files["model_file"] == "exp/enh/5epoch.pth"
        assert packed.read_text("train_config") == "separator: bsp_mpnet\n"
        model = packed.file("model_file")
        assert model.is_relative_to(temporary) and model.name == "5epoch.pth"
        assert model.read_bytes() == FILES["exp/enh/5epoch.pth"]
        kept = packed.extract("exp/enh/config.yaml", tmp_path / "kept")
    assert kept == tmp_path / "kept/exp/enh/config.yaml"
    assert kept.read_text() == "separator: bsp_mpnet\n"
    assert not model.exists()


def test_an_unpacked_folder_is_read_in_place(tmp_path):
    folder = unpacked(tmp_path / "unpacked")
    with open_packed(folder) as packed:
        assert packed.read_text("train_config") == "separator: bsp_mpnet\n"
        assert packed.file("model_file") == folder / "exp/enh/5epoch.pth"
        assert packed.members == tuple(FILES)


def test_an_archive_of_the_current_folder_is_read(tmp_path):
    path = write(tmp_path / "packed.tgz", {f"./{n}": x for n, x in FILES.items()})
    with open_packed(path) as packed:
        assert packed.read_text("train_config") == "separator: bsp_mpnet\n"


@pytest.mark.parametrize("blobs", ["models--a--b/blobs", "blobs/ab"])
def test_a_snapshot_of_the_hub_has_links_to_its_blobs(tmp_path, blobs):
    snapshot = unpacked(tmp_path / "models--a--b/snapshots/0123")
    model = snapshot / "exp/enh/5epoch.pth"
    (tmp_path / blobs).mkdir(parents=True)
    model.rename(tmp_path / blobs / "b10b")
    model.symlink_to(os.path.relpath(tmp_path / blobs / "b10b", model.parent))
    with open_packed(snapshot) as packed:
        assert packed.file("model_file").read_bytes() == FILES["exp/enh/5epoch.pth"]
    model.unlink()
    model.symlink_to(tmp_path / "models--a--b/secret")
    refused(snapshot, "5epoch.pth: a link that leads out of the packed model")


def test_a_folder_with_links_or_devices_is_refused(tmp_path):
    folder = unpacked(tmp_path / "unpacked")
    (tmp_path / "secret").write_text("secret")
    config = folder / "exp/enh/config.yaml"
    config.unlink()
    refused(folder, "'exp/enh/config.yaml' is not in it; get it again")
    config.symlink_to(tmp_path / "secret")
    refused(folder, "config.yaml: a link that leads out of the packed model")
    config.unlink()
    os.mkfifo(config)
    refused(folder, "config.yaml: no plain file")
    config.unlink()
    config.symlink_to("config.yaml")
    refused(folder, "config.yaml")


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "exp/../../evil",
        "/tmp/evil",
        "//evil",
        "C:evil",
        "..\\evil",
        "evil\nname",
        "..",
        "x" * 300,
    ],
)
def test_a_member_that_would_land_elsewhere_is_refused(tmp_path, kind, name):
    path = write(tmp_path / f"packed.{kind}", {**FILES, name: b"evil"})
    refused(path, "refused: its member '.*would be unpacked elsewhere")
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_archive_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("exp/enh/link")
    info.type, info.linkname = kind, "../../../../etc/passwd"
    path = write(tmp_path / "packed.tar", more=[(info, b"")])
    refused(path, "its member 'exp/enh/link' is no plain file")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_archive_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("exp/enh/link")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    path = write(tmp_path / "packed.zip", more=[(info, "/etc/passwd")])
    refused(path, "its member 'exp/enh/link' is no plain file")


@pytest.mark.parametrize(
    "change",
    [{"compress_type": zipfile.ZIP_BZIP2}, {"compress_type": zipfile.ZIP_LZMA}],
)
def test_compressors_without_bounds_are_refused(tmp_path, change):
    info = zipfile.ZipInfo("exp/enh/small")
    for name, value in change.items():
        setattr(info, name, value)
    path = write(tmp_path / "packed.zip", more=[(info, "x")])
    refused(path, "its member 'exp/enh/small' is no plain file")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "name, reason",
    [
        ("exp/ENH/5epoch.pth", "is there twice, or differs in case only"),
        ("./exp/enh/5epoch.pth", "is there twice"),
        ("exp", "lies in what is a file"),
    ],
)
def test_names_that_no_folder_can_hold_are_refused(tmp_path, kind, name, reason):
    refused(write(tmp_path / f"packed.{kind}", {**FILES, name: b""}), reason)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    info = zipfile.ZipInfo("meta.yaml")
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write(tmp_path / "packed.zip", more=[(info, META)])
    refused(path, "its member 'meta.yaml' is there twice")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "txz", "tbz2"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, kind, monkeypatch):
    path = write(tmp_path / f"bomb.{kind}", {**FILES, "bomb": bytes(30_000_000)})
    assert path.stat().st_size < 1_000_000

    def fill(*_):
        raise AssertionError("more was written than allowed")

    monkeypatch.setattr(archives, "check_space", fill)
    refused(path, "refused: it unpacks to more than .* MB, far more than a model")


def test_weights_of_much_the_same_values_are_no_bomb(tmp_path):
    with open_packed(
        write(tmp_path / "packed.zip", {**FILES, "x": bytes(500_000)})
    ) as p:
        assert p.extract("x", tmp_path / "kept").stat().st_size == 500_000


@pytest.mark.parametrize("size, word", [(1000, "damaged"), (400_000, "shorter")])
def test_a_member_of_another_size_than_declared_is_refused(tmp_path, size, word):
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        archive.infolist()[-1].file_size = size
    refused(path, word)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path):
    folder = unpacked(tmp_path / "unpacked")
    with open_packed(folder) as packed:
        size, find = 10, packed._find
        packed._find = lambda path: find(path)._replace(size=size)
        with pytest.raises(UserError, match="config.yaml' is longer than the 10 bytes"):
            packed.read_text("train_config")


def test_members_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    refused(write(tmp_path / "packed.zip"), "refused: it has more than 2 members")


def test_a_header_that_fills_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("exp/enh/x")
    info.pax_headers = {"comment": "x" * 5_000_000}
    path = write(tmp_path / "packed.tar", more=[(info, b"")])
    refused(path, "damaged or unreadable .*a header takes 5")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_a_truncated_archive_is_refused(tmp_path, kind, share):
    path = write(tmp_path / f"packed.{kind}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(path, "damaged|is not in it|has no meta.yaml|neither a zip nor a tar")


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"PK\3\4", b"\x1f\x8b"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "packed.zip"
    path.write_bytes(content)
    refused(path, "neither a zip nor a tar archive|damaged or unreadable")


def test_a_missing_archive_is_named(tmp_path):
    refused(tmp_path / "gone.zip", "gone.zip: no such file; name a packed model")


@pytest.mark.parametrize(
    "meta, reason",
    [
        (None, "has no meta.yaml, so it is no packed model"),
        ("a: !!python/object/apply:os.mkdir [evil]", "meta.yaml: no plain YAML"),
        ("a: &a [*a]", "meta.yaml: no plain YAML: too many aliases"),
        ("x" * 300_000, "meta.yaml has 300000 bytes, more than"),
        ("files: {}", "meta.yaml: yaml_files is no table of names and paths"),
        (META + "files: [a]", "files is no table"),
        (META + "files: {model_file: 5}", "files is no table"),
        (
            "yaml_files: {asr_train_config: c.yaml}\nfiles: {asr_model_file: m.pth}\n",
            "no speech-enhancement model, .* it has 'asr_model_file', 'asr_train_config'",
        ),
        (META.replace("exp/enh/config", "../config"), "is '../config.yaml', .*outside"),
        (META.replace("exp/enh/5", "/etc/5"), "is '/etc/5epoch.pth', .*outside"),
        (META.replace("exp/enh/5", "exp/enh/6"), "'exp/enh/6epoch.pth' is not in it"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_a_meta_yaml_that_leads_elsewhere_is_refused(tmp_path, kind, meta, reason):
    (tmp_path / "config.yaml").write_text("a secret")
    if kind == "folder":
        path = unpacked(tmp_path / "folder")
        (path / "meta.yaml").unlink()
        if meta is not None:
            (path / "meta.yaml").write_text(meta)
    else:
        files = {**FILES, "meta.yaml": None if meta is None else meta.encode()}
        files = {name: text for name, text in files.items() if text is not None}
        path = write(tmp_path / f"packed.{kind}", files)
    refused(path, reason)


def test_a_configuration_that_is_too_large_or_no_text_is_refused(tmp_path):
    path = tmp_path / "packed.tar"
    refused(
        write(path, {**FILES, "exp/enh/config.yaml": bytes(300_000)}),
        "exp/enh/config.yaml has 300000 bytes, more than the 262144",
    )
    refused(write(path, {**FILES, "exp/enh/config.yaml": b"\xff"}), "is no UTF-8 text")
