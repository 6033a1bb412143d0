"""Packed models, whoever made them: archives and unpacked folders, read with mistrust.

A packed model is what ESPnet's pack writes: files, and meta.yaml, which says by which of
them inference is configured and which holds the weights.  It comes as a zip or tar archive,
or as a folder: one that was unpacked, or a snapshot of the Hugging Face hub.  Nothing
outside of it is read, whatever its names and links say, and nothing of it is run.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.atomic import naming, replacing
from espnet2_bspmpnet.files.download import check_space
from espnet2_bspmpnet.files.plain_yaml import MOST_TEXT, read_table

META = "meta.yaml"
NEEDED = ("train_config", "model_file")  # what ESPnet packs of an enhancement model
GET_AGAIN = "get it again, or pack the model again (stage 11)"

# The largest SSL model with the paper's decoders takes 1.4 GB.
MOST_BYTES = 8 << 30
MOST_MEMBERS = 10_000
# Weights hardly shrink, and text to a fifth; what shrinks to less is a bomb.
MOST_RATIO = 20
ANY_RATIO = 1 << 20  # bytes, below which the ratio does not matter
MOST_AT_ONCE = 4 << 20  # of an archive's directory, or one header
_BLOCK = 1 << 20

_COMPRESSED_TAR = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_TAR_MARK = slice(257, 262)


class _File(NamedTuple):
    """A file of a packed model."""

    size: int  # bytes, as declared
    open: Callable[[], IO[bytes]]
    path: Path | None = None  # where it lies as a file of its own


class _Entry(NamedTuple):
    """What an archive's directory lists."""

    name: str
    is_folder: bool
    is_plain: bool  # a folder, or a file that can be read: no link, no device
    file: _File


class Packed:
    """A packed model; see :func:`open_packed`.

    Attributes:
        source: its archive or folder.
        meta: what its meta.yaml says.
        files: ESPnet's name, such as model_file -> path within the packed model.
        members: paths of all files of an archive; of a folder those that are named.
    """

    def __init__(
        self,
        source: Path,
        find: Callable[[str], _File | None],
        members: Iterable[str],
        stack: ExitStack,
        fetch: Callable[[str, int], object] | None = None,
    ):
        self.source = source
        self._find = find
        self._fetch = fetch
        self._stack = stack
        self.files: dict[str, str] = {}
        if find(META) is None:
            raise UserError(f"{source}: has no {META}, so it is no packed model")
        self.meta = read_table(self.read_text(META), f"{source}: {META}")
        self.files = _named_files(self.meta, f"{source}: {META}")
        self.members = tuple(members) or (META, *self.files.values())

    def read_text(self, name: str) -> str:
        """Read a file of at most MOST_TEXT bytes.

        Args:
            name: a key of ``files``, or a path within the packed model.

        Raises:
            UserError: it is missing, damaged, too large, or no text.
        """
        path, file = self._file(name, MOST_TEXT)
        if file.size > MOST_TEXT:
            raise UserError(
                f"{self.source}: {path} has {file.size} bytes, more than the"
                f" {MOST_TEXT} that are read of a text"
            )
        try:
            return b"".join(self._blocks(path, file)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.source}: {path} is no UTF-8 text") from error

    def file(self, name: str) -> Path:
        """Give a file of its own, a temporary one until the model is closed.

        That of an unpacked folder is the file itself.  For arguments and errors see
        `extract`.
        """
        path, file = self._file(name)
        return file.path or self.extract(path, self._temporary)

    def extract(self, name: str, folder: str | Path) -> Path:
        """Write a file below a folder, whole or not at all.

        Args:
            name: a key of ``files``, or a path within the packed model, which is kept
                below the folder.
            folder: has no links of which its owner does not know.

        Raises:
            UserError: it is missing or damaged, or there is no space.
        """
        path, file = self._file(name)
        target = Path(folder, path)
        with replacing(target) as temporary:
            check_space(target.parent, file.size, f"{self.source}: {path}")
            with temporary.open("wb") as output:
                output.writelines(self._blocks(path, file))
        return target

    @cached_property
    def _temporary(self) -> Path:
        return _temporary_folder(self._stack)

    def _file(self, name: str, most: int = MOST_BYTES) -> tuple[str, _File]:
        path = self.files.get(name, name)
        if self._fetch is not None:
            self._fetch(path, most)
        if (file := self._find(path)) is None:
            raise UserError(f"{self.source}: {path!r} is not in it; {GET_AGAIN}")
        return path, file

    def _blocks(self, path: str, file: _File) -> Iterator[bytes]:
        rest = file.size
        with _naming_damage(self.source), file.open() as opened:
            while block := opened.read(_BLOCK):
                rest -= len(block)
                if rest < 0:
                    break
                yield block
        if rest:
            raise UserError(
                f"{self.source}: {path!r} is {'longer' if rest < 0 else 'shorter'} than"
                f" the {file.size} bytes declared; {GET_AGAIN}"
            )


@contextmanager
def open_packed(
    path: str | Path, fetch: Callable[[str, int], object] | None = None
) -> Iterator[Packed]:
    """Open a packed model for reading; what was extracted temporarily is then removed.

    Args:
        path: a zip archive, a tar archive (plain, gzip, bzip2 or xz), or a folder.
        fetch: brings a file into the folder before it is read, from its path there and
            the most bytes that it may have.

    Raises:
        UserError: missing, damaged, malicious or too large, or no packed model.
    """
    path = Path(path)
    with ExitStack() as stack:
        if path.is_dir():
            yield Packed(path, partial(_find_in_folder, path), (), stack, fetch)
            return
        if not path.is_file():
            raise UserError(f"{path}: no such file; name a packed model")
        with _naming_damage(path):
            files = _archived_files(path, stack)
        yield Packed(path, files.get, files, stack)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, unless its directory is enormous.

    Raises:
        zipfile.BadZipFile, ValueError: it is damaged, or its directory enormous.
    """
    with _InPieces(io.FileIO(path)) as opened, zipfile.ZipFile(opened) as archive:
        yield archive


class _InPieces(io.BufferedReader):
    """A file of which nobody reads a large piece at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MOST_AT_ONCE:
            raise ValueError(f"its directory or a header takes {size} bytes")
        return super().read(size)


def _temporary_folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bspmpnet.")))


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any kind: a damaged archive is no sensible program
        raise UserError(
            f"{path}: damaged or unreadable ({first_line(error)}); {GET_AGAIN}"
        ) from error


def _named_files(meta: dict, source: str) -> dict[str, str]:
    """Check the layout of meta.yaml, and give what it names: name -> path."""
    files = {}
    for section in ("yaml_files", "files"):
        table = meta.get(section)
        if not isinstance(table, dict) or not all(
            isinstance(text, str) for text in (*table, *table.values())
        ):
            raise UserError(f"{source}: {section} is no table of names and paths")
        for name, path in table.items():
            if not _is_confined(path):
                raise UserError(
                    f"{source}: {name} is {path!r}, which is outside of the packed"
                    " model; pack it again with relative paths (stage 11)"
                )
            files[name] = _normal(path)
    if not set(NEEDED) <= files.keys():
        names = ", ".join(map(repr, sorted(files)[:5]))
        raise UserError(
            f"{source}: no speech-enhancement model, which has {' and '.join(NEEDED)};"
            f" it has {names or 'neither'}"
        )
    return files


def _is_confined(path: str) -> bool:
    """Whether a path stays within a folder, on every system, and can be shown."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and path.isprintable()
        and not path.startswith("/")
        and ".." not in parts
        and "\\" not in path
        and not re.match("[A-Za-z]:", path)
        and len(path) <= 1000
        and all(len(os.fsencode(part)) <= 200 for part in parts)
    )


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _find_in_folder(folder: Path, path: str) -> _File | None:
    """Look a file up in an unpacked model.

    Raises:
        UserError: a link leads out of the folder, a special file, or a too large one.
    """
    real, root = Path(os.path.realpath(folder / path)), Path(os.path.realpath(folder))
    roots = [root]
    if root.parent.name == "snapshots":  # of the hub's cache: links to blobs of files
        repository = root.parents[1]
        roots += [repository / "blobs", repository.parent / "blobs"]
    if not any(real.is_relative_to(root) for root in roots):
        raise UserError(
            f"{folder / path}: a link that leads out of the packed model; replace it by"
            " the file"
        )
    if not real.exists():
        return None
    if not real.is_file() or real.stat().st_size > MOST_BYTES:
        raise UserError(f"{folder / path}: no plain file of at most {MOST_BYTES} bytes")
    return _File(real.stat().st_size, partial(real.open, "rb"), real)


def _archived_files(path: Path, stack: ExitStack) -> dict[str, _File]:
    """Open an archive, and check all that its directory lists.

    Returns:
        path within the archive -> file.
    """
    with path.open("rb") as opened:
        head = opened.read(512)
    most = min(MOST_BYTES, MOST_RATIO * path.stat().st_size + ANY_RATIO)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        entries = _zip_entries(stack.enter_context(open_zip(path)))
    else:
        tar = path
        for mark, opener in _COMPRESSED_TAR.items():
            if head.startswith(mark):
                tar = _decompress(path, opener, most, _temporary_folder(stack))
                with tar.open("rb") as opened:
                    head = opened.read(512)
        if head[_TAR_MARK] != b"ustar":
            raise UserError(f"{path}: neither a zip nor a tar archive; {GET_AGAIN}")
        opened = stack.enter_context(_InPieces(io.FileIO(tar)))
        entries = _tar_entries(stack.enter_context(tarfile.TarFile(fileobj=opened)))
    return _checked_files(path, entries, most)


def _decompress(path: Path, opener: Callable, most: int, folder: Path) -> Path:
    target = folder / "archive.tar"
    size = 0
    with opener(path) as opened, naming(target), target.open("wb") as output:
        while block := opened.read(_BLOCK):
            size += len(block)
            if size > most:
                raise _bomb(path, most)
            output.write(block)
    return target


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in archive.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it is not recorded
        is_readable = (
            # The others' decompressors have no bound in memory.
            info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            and not info.flag_bits & 1  # encrypted
        )
        yield _Entry(
            info.orig_filename,
            info.is_dir(),
            kind in (0, stat.S_IFREG, stat.S_IFDIR) and is_readable,
            _File(info.file_size, partial(archive.open, info)),
        )


def _tar_entries(archive: tarfile.TarFile) -> Iterator[_Entry]:
    for info in archive:
        yield _Entry(
            info.name,
            info.isdir(),
            info.isdir() or (info.isreg() and not info.issparse()),
            _File(info.size, partial(archive.extractfile, info)),
        )


def _checked_files(
    path: Path, entries: Iterable[_Entry], most: int
) -> dict[str, _File]:
    files: dict[str, _File] = {}
    names: set[str] = set()  # as file systems compare them that ignore case
    size = 0
    for number, entry in enumerate(entries, start=1):
        if number > MOST_MEMBERS:
            raise UserError(f"{path}: refused: it has more than {MOST_MEMBERS} members")
        if not _is_confined(entry.name):
            raise _refusal(path, entry.name, "would be unpacked elsewhere")
        if not entry.is_plain:
            raise _refusal(path, entry.name, "is no plain file")
        if entry.is_folder:
            continue
        size += entry.file.size
        if size > most:
            raise _bomb(path, most)
        name = unicodedata.normalize("NFC", _normal(entry.name)).casefold()
        if name in names:
            raise _refusal(path, entry.name, "is there twice, or differs in case only")
        names.add(name)
        files[_normal(entry.name)] = entry.file
    for name in names:
        if any(str(parent) in names for parent in PurePosixPath(name).parents):
            raise _refusal(path, name, "lies in what is a file")
    return files


def _refusal(path: Path, name: str, reason: str) -> UserError:
    return UserError(
        f"{path}: refused: its member {name[:200]!r} {reason}; get it from another source"
    )


def _bomb(path: Path, most: int) -> UserError:
    return UserError(
        f"{path}: refused: it unpacks to more than {most / 1e6:.0f} MB, far more than a"
        " model of its size"
    )
