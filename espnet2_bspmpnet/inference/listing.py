"""What `bspmpnet enhance` is to do: every recording and its output, listed once.

``OUT/.enhance/listing.jsonl`` has a header, then one JSON line for each recording, then
one for each folder and list that was read, with the time of its last change:

    {"total": 2, "of": {"inputs": ["/data/noisy"], "format": null}}
    {"source": "/data/noisy/a.wav", "target": "a.wav"}
    {"source": "/data/noisy/b/a.wav", "target": "b/a.wav"}
    {"read": "/data/noisy", "mtime": 1735689600000000000}

Shards that start together, and runs that resume, read the same file, so that they agree
on which recordings share a batch.  JSON escapes whatever a file's name may hold, line
breaks and bytes that are not UTF-8 included.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import naming
from espnet2_bspmpnet.inference.shards import WHOLE, Shard

STATE = ".enhance"  # folder within the output's one
LISTING = "listing.jsonl"
MOST_IN_CHUNK = 64  # recordings from which batches are made
CHUNKS = 16  # of a listing at least, if it is long enough


# By their names' ends: what is written as it was read, and what ffmpeg reads, which
# becomes WAV.  Not .ts, which is mostly no video but TypeScript.
_KEPT = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"}
_KEPT |= {".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist"}
_DECODED = {".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm", ".avi"}
_DECODED |= {".aac", ".ac3", ".wma", ".wmv", ".mpg", ".mpeg", ".flv", ".3gp", ".amr"}
_DECODED |= {".ape", ".wv", ".mp2", ".vob", ".ogv"}
MEDIA_SUFFIXES = _KEPT | _DECODED


class Entry(NamedTuple):
    """A recording to enhance."""

    source: str  # its path
    target: str  # where its output goes, below the output's folder
    reason: str | None = None  # why it cannot be enhanced, if that is known already


@dataclass(frozen=True)
class Listing:
    """The recordings, in a fixed order, in chunks that are handed out as a whole.

    Args:
        path: listing.jsonl.
        total: number of recordings.
    """

    path: Path
    total: int

    @property
    def chunk_size(self) -> int:
        """Recordings in a chunk: depends on the total alone, so that shards agree."""
        return min(max(self.total // CHUNKS, 1), MOST_IN_CHUNK)

    def numbers(self, shard: Shard) -> range:
        """Say which chunks are a shard's: every n-th one."""
        return range(shard[0] - 1, -(-self.total // self.chunk_size), shard[1])

    def count(self, shard: Shard) -> int:
        """Count a shard's recordings."""
        size = self.chunk_size
        return sum(min(size, self.total - n * size) for n in self.numbers(shard))

    def chunks(self, shard: Shard) -> Iterator[list[Entry]]:
        """Read a shard's chunks, one after the other."""
        mine = self.numbers(shard)
        with self.path.open("rb") as file:
            file.readline()
            entries = islice(file, self.total)
            for number in range(mine.stop):
                lines = list(islice(entries, self.chunk_size))
                if number in mine:
                    yield [Entry(**json.loads(line)) for line in lines]


def list_recordings(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    suffix: str | None = None,
    shard: Shard = WHOLE,
) -> Listing:
    """List the recordings that are to be enhanced, or read the list of an earlier run.

    A list is used again if inputs and format are the same and no folder has changed
    since; shards, which must agree with each other, use it in any case.

    Args:
        inputs: files, folders and lists of "<id> <path>" (wav.scp).
        output_dir: where outputs go.
        suffix: of all outputs, such as ".wav"; None keeps each recording's own.
        shard: which share is to be done.

    Raises:
        UserError: an input that is not there, nothing to enhance, or outputs that
            would overwrite the recordings.
    """
    from espnet2_bspmpnet.files.download import locked

    path = Path(output_dir) / STATE / LISTING
    made_of = {"inputs": [os.path.abspath(x) for x in inputs], "format": suffix}
    listing = _earlier(path, made_of, shard)
    if listing is None:
        with locked(path):  # another shard may be at it
            listing = _earlier(path, made_of, shard)
            if listing is None:
                finder = _Finder(os.path.realpath(output_dir), suffix)
                listing = _write(path, made_of, finder)
    return listing


def _earlier(path: Path, made_of: dict, shard: Shard) -> Listing | None:
    """Give the list of an earlier run, if it is of the same inputs as they are now."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
            if header["of"] != made_of:
                return None
            listing = Listing(path, header["total"])
            lines = islice(file, listing.total, None)
            changed = next(filter(None, map(_changed, lines)), None)
    except FileNotFoundError:
        return None
    if changed and shard == WHOLE:
        return None
    if changed:
        logging.warning(
            "%s has changed since the recordings were listed, which is ignored, as"
            " shards must agree; to list them again, remove %s",
            changed,
            path,
        )
    return listing


def _changed(line: bytes) -> str | None:
    read = json.loads(line)
    try:
        same = os.stat(read["read"]).st_mtime_ns == read["mtime"]
    except OSError:
        same = False
    return None if same else read["read"]


def _write(path: Path, made_of: dict, finder: "_Finder") -> Listing:
    """Write the list beside its place, and move it there once it is whole."""
    temporary = path.with_name(f"{path.name}.tmp")  # there is one writer: the lock's
    header = '{"total": %12d, "of": ' + json.dumps(made_of) + "}\n"
    total = 0
    with naming(path):
        try:
            with temporary.open("w", encoding="ascii") as file:
                file.write(header % 0)
                for entry in finder.entries(made_of["inputs"]):
                    total += 1
                    file.write(_line(entry))
                finder.check(made_of["inputs"], total)
                for read, mtime in finder.read.items():
                    file.write(json.dumps({"read": read, "mtime": mtime}) + "\n")
                file.seek(0)
                file.write(header % total)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return Listing(path, total)


def _line(entry: Entry) -> str:
    fields = {"source": entry.source, "target": entry.target}
    if entry.reason is not None:
        fields["reason"] = entry.reason
    return json.dumps(fields) + "\n"


class _Finder:
    """Finds recordings and names their outputs.

    Args:
        output_dir: the real path of where outputs go, which is left out.
        suffix: of all outputs; None keeps each recording's own.
    """

    def __init__(self, output_dir: str, suffix: str | None):
        self.output_dir = output_dir
        self.suffix = suffix
        self.read: dict[str, int] = {}  # folders and lists -> their mtime in ns
        self._sources: dict[str, str] = {}  # target -> source
        self._inside: set[str] = set()  # recordings in output_dir, relative to it
        self._place = cache(self._place_in_output)

    def entries(self, inputs: Iterable[str]) -> Iterator[Entry]:
        """Find all recordings, always in the same order.

        Raises:
            UserError: an input that is not there.
        """
        for path in inputs:
            if os.path.isdir(path):
                yield from self._of_folder(path, "", ())
            elif not os.path.lexists(path):
                raise UserError(f"{path}: no such file or folder; correct its path")
            elif path.endswith(".scp"):
                if not os.access(path, os.R_OK):
                    raise UserError(f"{path}: no permission to read it; ask its owner")
                yield from self._of_list(path)
            elif entry := self._named(path, os.path.basename(path)):
                yield entry

    def check(self, inputs: Sequence[str], total: int) -> None:
        """Make sure that something was found, and will not be overwritten.

        Raises:
            UserError: no recordings, or some where outputs are to go.
        """
        if total == 0:
            raise UserError(
                f"{', '.join(inputs)}: no recordings there; their names end with"
                f" {', '.join(sorted(MEDIA_SUFFIXES))}"
            )
        if overwritten := self._inside & self._sources.keys():
            path = os.path.join(self.output_dir, min(overwritten))
            raise UserError(
                f"{path}: is a recording, which an output would overwrite; choose"
                " another --output_dir"
            )

    def _of_folder(
        self, folder: str, inside: str, above: tuple[str, ...]
    ) -> Iterator[Entry]:
        """Walk through a folder: its files by name, then its folders.

        Args:
            folder: its path.
            inside: its path relative to the input that it is in, ends with "/".
            above: real paths of the folders that it is in.
        """
        real = os.path.realpath(folder)
        if real == self.output_dir and not above:
            raise UserError(
                f"{folder}: recordings cannot be enhanced in place; choose another"
                " --output_dir"
            )
        if real == self.output_dir:
            return
        if real in above:
            yield Entry(folder, inside, "a link to a folder that it is in; left out")
            return
        files, folders = [], []
        try:
            self.read[folder] = os.stat(folder).st_mtime_ns
            with os.scandir(folder) as found:
                for item in found:
                    if item.name.startswith("."):
                        continue
                    if _is_folder(item):
                        folders.append(item.name)
                    elif os.path.splitext(item.name)[1].lower() in MEDIA_SUFFIXES:
                        files.append(item.name)
        except OSError as error:
            reason = f"cannot be looked into ({error.strerror})"
            if not above:
                raise UserError(f"{folder}: {reason}") from error
            yield Entry(folder, inside, reason)
        for name in sorted(files):
            if entry := self._named(f"{folder}/{name}", inside + name):
                yield entry
        for name in sorted(folders):
            path = os.path.join(folder, name)
            yield from self._of_folder(path, f"{inside}{name}/", (*above, real))

    def _of_list(self, path: str) -> Iterator[Entry]:
        """Read a list such as wav.scp; commands in it are not run."""
        self.read[path] = os.stat(path).st_mtime_ns
        with open(
            path, encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            for number, line in enumerate(file, 1):
                name, source = (line.split(maxsplit=1) + ["", ""])[:2]
                source, reason = source.strip(), None
                if not name:
                    continue
                if not source:
                    reason = 'the line is not "<id> <path>"'
                elif source.endswith("|"):
                    reason = "a command, which is not run; name a file"
                elif any(part[:1] in ("", ".") for part in name.split("/")):
                    reason = "the id does not name a visible file below the output"
                if reason:
                    yield Entry(f"{path}:{number}: {line.strip()}", "", reason)
                    continue
                source = os.path.abspath(source)
                own = os.path.splitext(source)[1]
                if entry := self._entry(source, name + self._output_suffix(own)):
                    yield entry

    def _named(self, source: str, name: str) -> Entry | None:
        """Name the output of a file by the file's own name."""
        stem, own = os.path.splitext(name)
        return self._entry(source, stem + self._output_suffix(own))

    def _output_suffix(self, own: str) -> str:
        return self.suffix or (own if own.lower() in _KEPT else ".wav")

    def _entry(self, source: str, target: str) -> Entry | None:
        """Note a recording; None if it was given before."""
        folder, _, name = source.rpartition("/")
        if (place := self._place(folder)) is not None:
            self._inside.add(place + name)
        other = self._sources.setdefault(target, source)
        if other is source:
            return Entry(source, target)
        if other == source:
            return None
        reason = f"its output {target} would overwrite that of {other}; rename it"
        return Entry(source, target, reason)

    def _place_in_output(self, folder: str) -> str | None:
        """Give a folder's path relative to the outputs' one, if it is within that."""
        real = os.path.realpath(folder) + "/"
        inside = real.startswith(self.output_dir + "/")
        return real[len(self.output_dir) + 1 :] if inside else None


def _is_folder(item: os.DirEntry) -> bool:
    try:
        return item.is_dir()
    except OSError:  # such as a link to itself, which fails when it is read
        return False
