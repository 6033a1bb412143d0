"""Unpack zip and tar archives: all of one, or nothing."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from espnet2_bspmpnet.errors import UserError, first_line, some_of
from espnet2_bspmpnet.files.download import check_space, locked

_BLOCK = 1 << 20
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile),
    *(zlib.error, lzma.LZMAError, EOFError),
)


class _Member(NamedTuple):
    """A file, link or device in an archive."""

    name: str
    size: int  # bytes
    is_file: bool
    open: Callable[[], BinaryIO]


_Files = dict[PurePosixPath, _Member]  # by their paths within the folder to make


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip or tar archive, all of it or nothing.

    A lone folder at its top is left out, as it would only repeat `folder`, and so is
    what macOS adds to archives. A folder that is there already has to hold what the
    archive holds, by names and sizes. Raises a UserError if the archive is truncated,
    damaged or malicious, the folder lacks some of it, or there is no space.
    """
    archive, folder = Path(archive), Path(folder)
    with locked(folder), _members(archive) as members:
        files = _files(archive, members)
        if folder.exists():
            _check_unpacked(archive, folder, files)
            return
        size = sum(member.size for member in files.values())
        check_space(folder.parent, size, f"{archive}")
        temporary = folder.with_name(f".{folder.name}.unpacking")
        shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
        try:
            _extract(files, temporary, size, f"unpacking {archive.name}")
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Open an archive; damage that is found until it is closed names the archive."""
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                yield [
                    _Member(x.filename, x.file_size, True, partial(opened.open, x))
                    for x in opened.infolist()
                    if not x.is_dir()
                ]
        else:
            with tarfile.open(archive) as opened:
                members = [
                    _Member(x.name, x.size, x.isfile(), partial(opened.extractfile, x))
                    for x in opened.getmembers()
                    if not x.isdir()
                ]
                _check_end(opened)
                yield members
    except _DAMAGE as error:
        raise UserError(
            f"{archive}: the archive is truncated or damaged ({first_line(error)});"
            " remove it and download it again"
        ) from error


def _check_end(opened: tarfile.TarFile) -> None:
    opened.fileobj.seek(opened.offset)  # tarfile takes a cut header for the end
    if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it has no end")
    while opened.fileobj.read(_BLOCK):  # to where the checksum is compared
        pass


def _files(archive: Path, members: list[_Member]) -> _Files:
    """Choose what to unpack, and refuse what would land outside of the folder."""
    files = {}
    for member in members:
        name, path = member.name, PurePosixPath(member.name)
        outside = path.is_absolute() or ".." in path.parts or "\\" in name
        if outside or not member.is_file:
            raise UserError(
                f"{archive}: its member {name!r} would be unpacked elsewhere or is no"
                " plain file, so nothing was unpacked; get the archive from its official"
                " page"
            )
        if path.parts[0] != "__MACOSX" and not path.name.startswith("._"):
            files[path] = member
    if not files:
        raise UserError(f"{archive}: the archive is empty; download it again")
    tops = {path.parts[0] for path in files}
    if len(tops) > 1 or any(len(path.parts) == 1 for path in files):
        return files
    return {PurePosixPath(*path.parts[1:]): member for path, member in files.items()}


def _check_unpacked(archive: Path, folder: Path, files: _Files) -> None:
    faulty = [
        str(path)
        for path, member in files.items()
        if not (file := folder / path).is_file() or file.stat().st_size != member.size
    ]
    if faulty:
        raise UserError(
            f"{folder}: {len(faulty)} of the {len(files)} files of {archive} are"
            f" missing or have another size, such as {some_of(faulty, 3)}; remove the"
            " folder and run again"
        )


def _extract(files: _Files, folder: Path, size: int, description: str) -> None:
    from tqdm import tqdm

    bar = tqdm(total=size, unit="B", unit_scale=True, desc=description, disable=None)
    with bar:
        for path, member in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("wb") as file:
                while block := source.read(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
                if file.tell() != member.size:
                    raise EOFError(f"{path} ends early")
