"""A user's own folders of noisy and clean files, as data directories."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from espnet2_bspmpnet.data.audio import list_audio
from espnet2_bspmpnet.data.datadir import (
    DataDir,
    check_pairs,
    check_same_ids,
    speaker_of,
)
from espnet2_bspmpnet.errors import UserError

_FEWEST = 20  # pairs; with fewer, holding some out leaves too little on both sides
_FEWEST_SPEAKERS = 5

Folder = str | Path
Pairs = dict[str, tuple[Path, Path]]  # utterance -> noisy and clean file
Tables = Mapping[str, Mapping[str, str]]  # list -> utterance -> value
Found = TypeVar("Found", Path, tuple[Path, Path])  # the file or files of an utterance


def prepare(
    noisy_dir: Folder,
    clean_dir: Folder,
    data_dir: Folder,
    names: Mapping[str, str],
    given: Mapping[str, tuple[Folder | None, Folder | None]],
) -> None:
    """Write data directories of pairs: files of the same name in two folders.

    A set without folders of its own is held out of the training pairs: about a tenth
    of them, whole speakers where there are five or more. Below 20 pairs nothing is
    held out: such a set is then the training set itself, and a warning says so. The
    speaker is the part of a file's name before the first "_".

    Args:
        noisy_dir: noisy training files (.wav, .flac or .ogg).
        clean_dir: clean ones, by the same names.
        data_dir: for the data directories.
        names: what to call the data directories of "train", "valid" and "test".
        given: noisy and clean folder of "valid" and "test", or None for both.

    Raises a UserError if a folder is missing, empty or given without its partner; a file
    has no partner, or the two differ in rate or length; or a name is used for two sets
    or is no name for an utterance.
    """
    sets, missing = given_sets(names, given)
    train, held_out = hold_out(find_pairs(noisy_dir, clean_dir), missing, "pairs")
    write_checked(
        (DataDir.of_pairs(Path(data_dir) / name, pairs), {})
        for name, pairs in {names["train"]: train, **sets, **held_out}.items()
    )


def prepare_set(noisy_dir: Folder, clean_dir: Folder, data_dir: Folder) -> None:
    """Write one data directory of pairs, such as data/tt_mine, a further test set."""
    pairs = find_pairs(noisy_dir, clean_dir)
    write_checked([(DataDir.of_pairs(data_dir, pairs), {})])


def given_sets(
    names: Mapping[str, str],
    given: Mapping[str, tuple[Folder | None, Folder | None]],
) -> tuple[dict[str, Pairs], list[str]]:
    """Find the pairs of the sets that have folders of their own; see :func:`prepare`.

    Returns name of the set -> its pairs, and the names of the sets without folders.
    """
    if len(set(names.values())) < len(names):
        described = [f"{part}_set {name!r}" for part, name in names.items()]
        raise UserError(f"{', '.join(described)}: must be different names")
    sets, missing = {}, []
    for part, folders in given.items():
        if None not in folders:
            sets[names[part]] = find_pairs(*folders)
        elif folders == (None, None):
            missing.append(names[part])
        else:
            raise UserError(
                f"--{part}_noisy_dir and --{part}_clean_dir belong together: "
                "give both or neither"
            )
    return sets, missing


def find_pairs(noisy_dir: Folder, clean_dir: Folder) -> Pairs:
    """List the files of the same names in two folders; see :func:`prepare`."""
    if Path(noisy_dir).resolve() == Path(clean_dir).resolve():
        raise UserError(f"{noisy_dir}: is given for noisy and clean files alike")
    noisy, clean = find_files(noisy_dir), find_files(clean_dir)
    check_same_ids(str(noisy_dir), noisy, str(clean_dir), clean)
    return {name: (noisy[name], clean[name]) for name in noisy}


def find_files(folder: Folder) -> dict[str, Path]:
    """List the audio below a folder (see `list_audio`): utterance -> absolute path.

    Raises a UserError if a file's name has blanks.
    """
    found = {name: path.absolute() for name, path in list_audio(folder).items()}
    spaced = [path for path in found.values() if path.stem.split() != [path.stem]]
    if spaced:
        raise UserError(
            f"{spaced[0]}: a file name with blanks cannot name an utterance; "
            f"rename it ({len(spaced)} such names)"
        )
    return found


def hold_out(
    train: dict[str, Found], sets: list[str], what: str
) -> tuple[dict[str, Found], dict[str, dict[str, Found]]]:
    """Take sets out of the training utterances, unless these are too few.

    `what` names the utterances in the warning that they are too few. Returns what is
    left for training, and set -> utterance -> its file or files.
    """
    if sets and len(train) < _FEWEST:
        logging.warning(
            f"only {len(train)} training {what} (fewer than {_FEWEST}), so nothing is"
            f" held out: {' and '.join(sets)} will hold the training {what} themselves."
            " Its figures show how well they are fitted, NOT how the model does on other"
            " recordings."
        )
        return train, dict.fromkeys(sets, train)
    left = dict(train)
    held_out = {
        name: {utterance: left.pop(utterance) for utterance in chosen}
        for name, chosen in zip(sets, _held_out(train, len(sets)), strict=True)
    }
    return left, held_out


def _held_out(utterances: Iterable[str], parts: int) -> list[list[str]]:
    """Choose a tenth of the utterances, at least two, for each of some parts.

    By speaker where that leaves most for training, else by utterance; always the
    same choice for the same names.
    """
    utterances = sorted(utterances)
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(speaker_of(utterance), []).append(utterance)
    needed = max(2, round(0.1 * len(utterances)))
    if len(speakers) >= _FEWEST_SPEAKERS:
        chosen = deal(list(speakers.values()), needed, parts)
        if sum(map(len, chosen)) <= len(utterances) / 2:
            return chosen
    return deal([[utterance] for utterance in utterances], needed, parts)


def deal(groups: list[list[str]], needed: int, parts: int) -> list[list[str]]:
    """Choose names for some parts, always the same for the same names.

    The names of a group, such as a speaker's utterances, stay together. Each part gets
    `needed` names or more; the last ones may get fewer.
    """
    # Small groups first: they cost training least. Hashes break ties, so that
    # neighbours in the alphabet, often recorded together, are not picked together.
    groups = sorted(
        groups, key=lambda g: (len(g), hashlib.sha256(g[0].encode()).digest())
    )
    chosen: list[list[str]] = [[] for _ in range(parts)]
    for part in chosen:
        while len(part) < needed and groups:
            part += groups.pop(0)
    return chosen


def write_checked(directories: Iterable[tuple[DataDir, Tables]]) -> None:
    """Write data directories with further lists if all pass `check_pairs`, else none."""
    directories = list(directories)
    for directory, _ in directories:
        check_pairs(directory)
    for directory, tables in directories:
        directory.write(tables)
