"""Download large files, resuming what was broken off.

A file gets its name when it is whole and verified; until then, it has another.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.atomic import FIXES, naming

_PAUSES = (1, 4, 15)  # seconds before another attempt
_FREE_SPACE = "free some space and run again"


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, and what is known of it."""

    url: str
    name: str  # on this machine
    size: int | None = None  # in bytes, if known
    checksum: str | None = None  # algorithm and digits, e.g. "md5:0d16...", if known


@dataclass(frozen=True)
class _Version:
    """What a server says of a file: its bytes, and marks that change with them."""

    size: int | None
    etag: str
    changed: str

    def part_of(self, target: Path) -> Path:
        """Name the file that holds what has arrived of this version."""
        mark = hashlib.sha256(repr(self).encode()).hexdigest()[:12]
        return target.with_name(f"{target.name}.{mark}.part")

    @property
    def headers(self) -> dict[str, str]:
        """What makes a server send all of a file instead of the rest of another."""
        weak = self.etag.startswith("W/")  # which says little about bytes
        mark = self.changed if weak or not self.etag else self.etag
        return {"Accept-Encoding": "identity"} | ({"If-Range": mark} if mark else {})


def fetch(remote: RemoteFile, folder: str | Path) -> Path:
    """Download a file, or verify the one that is there already.

    A download that was broken off is resumed, unless the server has another version
    meanwhile; so is what another program has begun, if size and checksum are known.

    Returns the file's path. Raises a UserError if there is no network, no such file,
    another one than expected, a damaged one, or no space; each with the fix, the way by
    hand included.
    """
    target = Path(folder) / remote.name
    with locked(target):
        is_known = None not in (remote.size, remote.checksum)
        if target.exists() and not (is_known and target.stat().st_size < remote.size):
            verify(target, remote)
        else:
            _download(remote, target)
    return target


def verify(path: Path, remote: RemoteFile) -> None:
    """Raise a UserError if a file's size or checksum is not that of `remote`."""
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise UserError(
            f"{path}: has {size} bytes in place of {remote.size}, so it was not"
            f" downloaded whole; remove it and run again, or fetch {remote.url}"
        )
    if wrong := _wrong_checksum(path, remote.checksum):
        raise UserError(
            f"{path}: is damaged or another file: its {wrong}; remove it and run again,"
            f" or fetch {remote.url}"
        )


def fetch_rest(
    url: str,
    part: Path,
    size: int | None,
    headers: dict[str, str] | None = None,
    name: str | None = None,
    fix: str = _FREE_SPACE,
) -> None:
    """Append to a file what it lacks, with a progress bar.

    Args:
        url: where from.
        part: the file, whose bytes so far are kept unless the server sends all again.
        size: of the whole in bytes, if known.
        headers: further ones of the request.
        name: what the progress bar calls the file; by default its name in the url.
        fix: what to do where there is too little space, which is a UserError.

    Raises:
        OSError, httpx2.HTTPError: the disk, the network or the server.
    """
    from huggingface_hub.file_download import http_get

    with part.open("ab") as file:
        there = file.tell()
        if size is not None:
            if there > size:  # no part of it
                file.truncate(there := 0)
            check_space(part.parent, size - there, url, fix)
        logging.info("downloading %s to %s", url, part.parent)
        http_get(
            url,
            file,
            resume_size=there,
            headers=headers,
            expected_size=size,
            displayed_filename=name or urlsplit(url).path.rpartition("/")[2],
        )


def check_arrived(part: Path, url: str, expected: str | None) -> None:
    """Remove what has just arrived if its checksum is not `expected` (UserError)."""
    if wrong := _wrong_checksum(part, expected):
        part.unlink()
        raise UserError(
            f"{url} arrived damaged and was removed: its {wrong}; run again"
        )


def check_space(folder: Path, needed: int, what: str, fix: str = _FREE_SPACE) -> None:
    """Raise a UserError if a folder's disk has fewer than `needed` bytes for `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{what} needs {needed / 1e6:.0f} MB in {folder}, where {free / 1e6:.0f} MB"
            f" are free; {fix}"
        )


def checksum(path: Path, algorithm: str) -> str:
    """Return the hexadecimal checksum of a file, e.g. by "md5" or "sha256"."""
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def explain(error: Exception) -> str:
    """Say in words why a transfer failed."""
    import httpx2

    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server answers {answer.status_code} {answer.reason_phrase}"
    if isinstance(error, httpx2.ConnectError):
        return f"no connection ({first_line(error)}); check the network and its proxy"
    return FIXES.get(getattr(error, "errno", None)) or first_line(error)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Keep other processes from making the same file or folder at the same time."""
    from huggingface_hub.utils import WeakFileLock

    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(target.with_name(f".{target.name}.lock")):
            yield


def _download(remote: RemoteFile, target: Path) -> None:
    import httpx2

    failures = arrived = 0
    while True:
        try:
            part = _fetch_part(remote, target)
            break
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            parts = target.parent.glob(f"{target.name}.*.part")
            before, arrived = arrived, sum(part.stat().st_size for part in parts)
            failures = 1 if arrived > before else failures + 1
            if not _may_pass(error) or failures > len(_PAUSES):
                raise UserError(
                    f"cannot download {remote.url}: {explain(error)}; what has arrived"
                    " is kept for the next run to continue with, or fetch the file"
                    f" elsewhere, put it at {target} and run again"
                ) from error
            pause, why = _PAUSES[failures - 1], explain(error)
            logging.warning("%s: %s; next attempt in %g s", remote.url, why, pause)
            time.sleep(pause)
    check_arrived(part, remote.url, remote.checksum)
    part.replace(target)


def _fetch_part(remote: RemoteFile, target: Path) -> Path:
    """Fetch what is missing into a file beside the target."""
    version = _ask(remote, target)
    part = version.part_of(target)
    for other in target.parent.glob(f"{target.name}.*.part"):
        if other != part:  # of another version
            other.unlink()
    if target.exists():  # another program's beginning
        target.replace(part)
    if version.size is None:  # nor is known, then, whether all is there
        part.unlink(missing_ok=True)
    fetch_rest(remote.url, part, version.size, version.headers, remote.name)
    return part


def _ask(remote: RemoteFile, target: Path) -> _Version:
    """Ask a server which version it has, and make sure that it is the right file."""
    from huggingface_hub.utils import get_session

    # One byte is asked for, as not every server answers HEAD.
    headers = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
    with get_session().stream("GET", remote.url, headers=headers) as answer:
        answer.raise_for_status()
    said = answer.headers
    if said.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"{remote.url} is a web page, not the file {remote.name}, which may have"
            f" moved: fetch it from the data set's page, put it at {target} and run again"
        )
    length = said.get("Content-Range", said.get("Content-Length", "")).split("/")[-1]
    size = int(length) if length.isdecimal() else remote.size
    if remote.size is not None and size != remote.size:
        raise UserError(
            f"{remote.url} has {size} bytes in place of {remote.size}: it is another"
            f" file than {remote.name} was; if the data set's page has the right one, put"
            f" it at {target} and run again"
        )
    return _Version(size, said.get("ETag", ""), said.get("Last-Modified", ""))


def _may_pass(error: Exception) -> bool:
    """Whether trouble is the network's, which may pass, and not one that will stay."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    answer = getattr(error, "response", None)
    if answer is not None:
        return answer.status_code in (408, 429) or answer.status_code >= 500
    lasting = (httpx2.UnsupportedProtocol, httpx2.InvalidURL, OfflineModeIsEnabled)
    return not isinstance(error, lasting) and getattr(error, "errno", 0) not in FIXES


def _wrong_checksum(path: Path, expected: str | None) -> str | None:
    """Say how the checksum of a file differs from the expected one, if it does."""
    if expected is None:
        return None
    algorithm, _, digits = expected.partition(":")
    found = checksum(path, algorithm)
    return None if found == digits else f"{algorithm} is {found} instead of {digits}"
