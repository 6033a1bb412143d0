"""Write beside, then rename: a file is either whole or not there."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet2_bspmpnet.errors import MachineError

FIXES = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "your disk quota is used up; free some space and run again",
    errno.EACCES: "no permission to write here; choose another folder",
    errno.EPERM: "no permission to write here; choose another folder",
    errno.EROFS: "this file system is read-only; choose another folder",
    errno.ENOTDIR: "part of this path is a file, not a folder; choose another path",
    errno.EEXIST: "part of this path is a file, not a folder; choose another path",
    errno.EISDIR: "this is a folder; name a file",
}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn errors of the disk within this context into ones with the file and the fix.

    Raises:
        MachineError: the disk is full or the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FIXES:
            raise
        raise MachineError(f"{path}: {FIXES[error.errno]}") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place on success.

    The file's folder is made if need be. For errors see `naming`.
    """
    path = Path(path)
    name = os.fsdecode(os.fsencode(path.name)[:200])  # 255 bytes are the most
    temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of `path` on success.

    For errors see `naming`.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
    with naming(path):
        try:
            new.mkdir(parents=True)
            yield new
            shutil.rmtree(path, ignore_errors=True)
            new.replace(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: str | os.PathLike, text: str) -> None:
    """Append `text` as UTF-8 and leave none of it in a buffer."""
    path = Path(path)
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text.encode("utf-8"))


def remove(path: str | os.PathLike) -> None:
    """Remove a file if it is there."""
    path = Path(path)
    with naming(path):
        path.unlink(missing_ok=True)
