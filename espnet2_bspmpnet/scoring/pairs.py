"""Recordings and their references: checked and put together before scoring."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from espnet2_bspmpnet.data.audio import audio_info, list_audio
from espnet2_bspmpnet.data.datadir import check_same_ids, read_scp
from espnet2_bspmpnet.errors import listing
from espnet2_bspmpnet.files.parallel import part_of

LENGTH_TOLERANCE = 0.1  # seconds


class Comparison(NamedTuple):
    """Which recordings are compared, and how: the journal's key."""

    reference: str  # hash of the file
    estimate: str  # hash of the file to judge
    kind: str  # what is done to them first, one of folders.KINDS


@dataclass(frozen=True)
class AudioFile:
    """A recording."""

    path: str
    hash: str  # of its content
    frames: int  # samples
    rate: int  # samples per second


@dataclass(frozen=True)
class FilePair:
    """A recording and its reference."""

    reference: AudioFile  # the clean speech
    estimate: AudioFile  # the speech to judge

    @property
    def resampled(self) -> bool:
        """Whether the estimate has another rate than the reference."""
        return self.estimate.rate != self.reference.rate

    @property
    def frames(self) -> int:
        """Samples of the estimate at the reference's rate."""
        return round(self.estimate.frames * self.reference.rate / self.estimate.rate)

    @property
    def cut(self) -> int:
        """Samples that one has more than the other."""
        return abs(self.frames - self.reference.frames)

    @property
    def note(self) -> str:
        """What is done to the recordings before they are compared; may be empty."""
        notes = []
        if self.resampled:
            rates = f"{self.estimate.rate} Hz to {self.reference.rate} Hz"
            notes.append(f"resampled from {rates}")
        if self.cut:
            longer = "estimate" if self.frames > self.reference.frames else "reference"
            notes.append(f"{self.cut} samples of the {longer} cut off")
        return "; ".join(notes)

    def comparison(self, kind: str) -> Comparison:
        """Give the journal's key for comparing them in one of the ways."""
        return Comparison(self.reference.hash, self.estimate.hash, kind)


def named_audio(path: str | Path) -> dict[str, str | Path]:
    """Read a folder of audio files, or a list such as wav.scp: utterance -> file.

    A UserError says that it is neither the one nor the other, or empty.
    """
    path = Path(path)
    return read_scp(path) if path.is_file() else list_audio(path)


def inspect_files(
    paths: Mapping[str, Path], nj: int, part: tuple[int, int] | None = None
) -> dict[str, dict[str, AudioFile]]:
    """Hash all files of several sets, or those of one job's part, in nj threads.

    Args:
        paths: name of a set -> its folder or list; the first is of the references.

    Returns:
        Name of a set -> utterance -> file, sorted.

    Raises:
        UserError: missing, empty or damaged folders or files, or utterances that differ.
    """
    lists = {name: named_audio(path) for name, path in paths.items()}
    references = next(iter(lists.values()))
    for name, files in lists.items():
        check_same_ids("the references", references, f"{name}'s estimates", files)
    mine = part_of(sorted(references), part)
    found = sorted({str(files[name]) for files in lists.values() for name in mine})
    # Threads, as this waits for the disk and for C code.
    with ThreadPoolExecutor(nj) as pool:
        known = dict(zip(found, pool.map(_inspect, found), strict=True))
    return {
        name: {utterance: known[str(files[utterance])] for utterance in mine}
        for name, files in lists.items()
    }


def _inspect(path: str) -> AudioFile:
    info = audio_info(path)
    return AudioFile(path, file_hash(path), info.frames, info.rate)


def file_hash(path: str | Path) -> str:
    """Give a hash of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def pair_up(
    references: Mapping[str, AudioFile], estimates: Mapping[str, AudioFile]
) -> dict[str, FilePair]:
    """Put estimates beside references; a UserError if lengths differ by over 0.1 s."""
    pairs = {name: FilePair(references[name], estimates[name]) for name in references}
    differing = [
        f"{pair.estimate.path}: {pair.frames} samples, but its reference "
        f"{pair.reference.path} has {pair.reference.frames}"
        for pair in pairs.values()
        if pair.cut > LENGTH_TOLERANCE * pair.reference.rate
    ]
    if differing:
        heading = (
            f"{len(differing)} estimates are longer or shorter than their references by "
            f"more than {LENGTH_TOLERANCE} s; give the same recordings"
        )
        raise listing(heading, differing, shown=5)
    return pairs


def notes_on(pairs: Mapping[str, FilePair]) -> list[str]:
    """Say in sentences without a full stop what is done to pairs to compare them."""
    notes = []
    if resampled := [name for name, pair in pairs.items() if pair.resampled]:
        pair = pairs[resampled[0]]
        notes.append(
            f"{len(resampled)} of {len(pairs)} recordings were resampled to the rate "
            f"of their references (the first: {resampled[0]}, from "
            f"{pair.estimate.rate} Hz to {pair.reference.rate} Hz)"
        )
    if cut := [name for name, pair in pairs.items() if pair.cut]:
        notes.append(
            f"{len(cut)} of {len(pairs)} recordings and their references differ in "
            f"length, by up to {max(pairs[name].cut for name in cut)} samples; the "
            f"longer ones were cut off (the first: {cut[0]})"
        )
    return notes


def hash_of_references(pairs: Mapping[str, FilePair]) -> str:
    """Hash the names and contents of a test set's references."""
    lines = [f"{name} {pair.reference.hash}\n" for name, pair in sorted(pairs.items())]
    return hashlib.blake2b("".join(lines).encode(), digest_size=8).hexdigest()
