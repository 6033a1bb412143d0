"""Unpack zip and tar archives: all of one, or nothing."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.download import check_space, locked

_BLOCK = 1 << 20
_SHOWN_NAMES = 3
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
)


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip or tar archive, all of it or nothing.

    A lone folder at its top is left out, as it would only repeat `folder`, and so is
    what macOS adds to archives. A folder that is there already has to hold what the
    archive holds, by names and sizes.

    Args:
        archive: .zip, .tar, .tar.gz or the like.
        folder: the folder to make.

    Raises:
        UserError: a truncated, damaged or malicious archive, a folder that lacks some
            of it, or no space.
    """
    archive, folder = Path(archive), Path(folder)
    with locked(folder), _damage_named(archive), _opened(archive) as content:
        members = _without_top(_members(archive, content))
        if folder.exists():
            _check_unpacked(archive, folder, members)
            return
        check_space(
            folder.parent, sum(size for size, _ in members.values()), f"{archive}"
        )
        temporary = folder.with_name(f".{folder.name}.unpacking")
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        try:
            _extract(content, members, temporary, archive.name)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UserError(
            f"{archive}: the archive is truncated or damaged ({first_line(error)});"
            " remove it and download it again"
        ) from error


@contextmanager
def _opened(archive: Path) -> Iterator["zipfile.ZipFile | tarfile.TarFile"]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as content:
            yield content
    else:
        with tarfile.open(archive) as content:
            yield content


# Path within an archive -> size in bytes, and what the archive's reader calls it.
_Members = dict[PurePosixPath, tuple[int, object]]


def _members(archive: Path, content: "zipfile.ZipFile | tarfile.TarFile") -> _Members:
    """List the files of an archive and refuse what would land outside of it."""
    members = {}
    if isinstance(content, zipfile.ZipFile):
        entries = [
            (info.filename, info.file_size, info, True)
            for info in content.infolist()
            if not info.is_dir()
        ]
    else:
        entries = [
            (info.name, info.size, info, info.isfile())
            for info in content.getmembers()
            if not info.isdir()
        ]
        content.fileobj.seek(content.offset)  # tarfile takes a cut header for the end
        if content.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("it has no end")
        while content.fileobj.read(_BLOCK):  # to where the checksum is compared
            pass
    for name, size, info, is_file in entries:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not is_file:
            raise UserError(
                f"{archive}: its member {name!r} would be unpacked elsewhere or is no"
                " plain file, so nothing was unpacked; get the archive from its official"
                " page"
            )
        if path.parts[0] != "__MACOSX" and not path.name.startswith("._"):
            members[path] = (size, info)
    if not members:
        raise UserError(f"{archive}: the archive is empty; download it again")
    return members


def _without_top(members: _Members) -> _Members:
    tops = {path.parts[0] for path in members}
    if len(tops) > 1 or any(len(path.parts) == 1 for path in members):
        return members
    return {PurePosixPath(*path.parts[1:]): member for path, member in members.items()}


def _check_unpacked(archive: Path, folder: Path, members: _Members) -> None:
    faulty = [
        str(path)
        for path, (size, _) in members.items()
        if not (folder / path).is_file() or (folder / path).stat().st_size != size
    ]
    if faulty:
        raise UserError(
            f"{folder}: {len(faulty)} of the {len(members)} files of {archive} are"
            f" missing or have another size, such as {', '.join(faulty[:_SHOWN_NAMES])};"
            " remove the folder and run again"
        )


def _extract(
    content: "zipfile.ZipFile | tarfile.TarFile",
    members: _Members,
    folder: Path,
    name: str,
) -> None:
    from tqdm import tqdm

    total = sum(size for size, _ in members.values())
    with tqdm(
        total=total, unit="B", unit_scale=True, desc=f"unpacking {name}", disable=None
    ) as bar:
        for path, (size, info) in members.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with _reader(content, info) as source, target.open("wb") as file:
                while block := source.read(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
                if file.tell() != size:
                    raise EOFError(f"{path} ends early")


def _reader(content: "zipfile.ZipFile | tarfile.TarFile", info: object) -> BinaryIO:
    if isinstance(content, zipfile.ZipFile):
        return content.open(info)
    return content.extractfile(info)
