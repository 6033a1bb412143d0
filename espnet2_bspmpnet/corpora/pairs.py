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
    write_scp,
)
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import remove

_FEWEST = 20  # pairs; with fewer, holding some out leaves too little on both sides
_FEWEST_SPEAKERS = 5
_SHARE = 0.1  # of the pairs, for validation and for testing each

Tables = Mapping[Path, Mapping[str, Mapping[str, str]]]
Found = TypeVar("Found", Path, tuple[Path, Path])  # what there is of an utterance


def prepare(
    noisy_dir: str | Path,
    clean_dir: str | Path,
    data_dir: str | Path,
    train_set: str,
    valid_set: str,
    test_set: str,
    valid_noisy_dir: str | Path | None = None,
    valid_clean_dir: str | Path | None = None,
    test_noisy_dir: str | Path | None = None,
    test_clean_dir: str | Path | None = None,
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
        train_set: name of the training set.
        valid_set: name of the validation set.
        test_set: name of the test set.
        valid_noisy_dir: noisy files of the validation set.
        valid_clean_dir: clean ones.
        test_noisy_dir: noisy files of the test set.
        test_clean_dir: clean ones.

    Raises:
        UserError: a folder is missing, empty or given without its partner; a file
            has no partner, or the two differ in rate or length; or a name is used
            for two sets or is no name for an utterance.
    """
    check_names(train_set, valid_set, test_set)
    train = _pairs(noisy_dir, clean_dir)
    sets = given_sets(
        {
            valid_set: ("valid", valid_noisy_dir, valid_clean_dir),
            test_set: ("test", test_noisy_dir, test_clean_dir),
        }
    )
    missing = [name for name in sets if sets[name] is None]
    train, held_out = hold_out(train, missing, "pairs")
    write_checked(
        data_directory(Path(data_dir) / name, pairs)
        for name, pairs in {train_set: train, **sets, **held_out}.items()
    )


def prepare_set(
    noisy_dir: str | Path, clean_dir: str | Path, data_dir: str | Path
) -> None:
    """Write one data directory of pairs, such as a further test set.

    Args:
        noisy_dir: noisy files (.wav, .flac or .ogg).
        clean_dir: clean ones, by the same names.
        data_dir: the data directory to make, such as data/tt_mine.

    Raises:
        UserError: as :func:`prepare` does.
    """
    write_checked([data_directory(Path(data_dir), _pairs(noisy_dir, clean_dir))])


def check_names(train_set: str, valid_set: str, test_set: str) -> None:
    """Make sure that the sets have three different names.

    Raises:
        UserError: they have not.
    """
    if len({train_set, valid_set, test_set}) < 3:
        raise UserError(
            f"train_set {train_set!r}, valid_set {valid_set!r} and test_set "
            f"{test_set!r} must have three different names"
        )


def given_sets(
    folders: dict[str, tuple[str, str | Path | None, str | Path | None]],
) -> dict[str, dict[str, tuple[Path, Path]] | None]:
    """Find the pairs of the sets that have folders of their own.

    Args:
        folders: set -> what its options begin with, noisy and clean folder.

    Returns:
        set -> utterance -> noisy and clean file; None for a set without folders.

    Raises:
        UserError: a folder without its partner, or as :func:`prepare` does.
    """
    sets = {}
    for name, (part, noisy, clean) in folders.items():
        if (noisy is None) != (clean is None):
            raise UserError(
                f"--{part}_noisy_dir and --{part}_clean_dir belong together: "
                "give both or neither"
            )
        sets[name] = _pairs(noisy, clean) if noisy is not None else None
    return sets


def hold_out(
    train: dict[str, Found], sets: list[str], what: str
) -> tuple[dict[str, Found], dict[str, dict[str, Found]]]:
    """Take sets out of the training utterances, unless these are too few.

    Args:
        train: utterance -> its file or files.
        sets: names of the sets to hold out.
        what: the utterances are, in a warning that they are too few.

    Returns:
        what is left for training, and set -> utterance -> its file or files.
    """
    if not sets:
        return train, {}
    if len(train) < _FEWEST:
        logging.warning(
            "only %d training %s (fewer than %d), so nothing is held out: %s will "
            "hold the training %s themselves. Its figures show how well they are "
            "fitted, NOT how the model does on other recordings.",
            len(train),
            what,
            _FEWEST,
            " and ".join(sets),
            what,
        )
        return train, dict.fromkeys(sets, train)
    left, held_out = dict(train), {}
    for name, chosen in zip(sets, _held_out(train, len(sets)), strict=True):
        held_out[name] = {utterance: left.pop(utterance) for utterance in chosen}
    return left, held_out


def check_utterance_names(paths: Iterable[Path]) -> None:
    """Make sure that files can name utterances.

    Raises:
        UserError: blanks in a name.
    """
    spaced = [path for path in paths if path.stem.split() != [path.stem]]
    if spaced:
        raise UserError(
            f"{spaced[0]}: a file name with blanks cannot name an utterance; "
            f"rename it ({len(spaced)} such names)"
        )


def write_checked(directories: Iterable[DataDir], tables: Tables | None = None) -> None:
    """Check the audio of data directories, and write them all or none.

    Args:
        directories: to write; utt2noise and utt2snr that other data have left there go.
        tables: data directory -> file in it -> what it says of each utterance.

    Raises:
        UserError: see :func:`check_pairs`.
    """
    directories = list(directories)
    for directory in directories:
        check_pairs(directory)
    for directory in directories:  # all or none
        for name in ("utt2noise", "utt2snr"):
            remove(directory.path / name)
        for name, table in (tables or {}).get(directory.path, {}).items():
            write_scp(directory.path / name, table)
        directory.write()


def _pairs(noisy_dir, clean_dir) -> dict[str, tuple[Path, Path]]:
    if Path(noisy_dir).resolve() == Path(clean_dir).resolve():
        raise UserError(f"{noisy_dir}: is given for noisy and clean files alike")
    noisy, clean = list_audio(noisy_dir), list_audio(clean_dir)
    check_same_ids(str(noisy_dir), noisy, str(clean_dir), clean)
    check_utterance_names(noisy.values())
    return {name: (noisy[name].absolute(), clean[name].absolute()) for name in noisy}


def _speaker(utterance: str) -> str:
    return utterance.partition("_")[0]


def _held_out(utterances: Iterable[str], parts: int) -> list[list[str]]:
    """Choose a tenth of the utterances, at least two, for each of some parts.

    By speaker where that leaves most for training, else by utterance; always the
    same choice for the same names.
    """
    utterances = sorted(utterances)
    speakers: dict[str, list[str]] = {}
    for utterance in utterances:
        speakers.setdefault(_speaker(utterance), []).append(utterance)
    needed = max(2, round(_SHARE * len(utterances)))
    if len(speakers) >= _FEWEST_SPEAKERS:
        chosen = deal(list(speakers.values()), needed, parts)
        if sum(map(len, chosen)) <= len(utterances) / 2:
            return chosen
    return deal([[utterance] for utterance in utterances], needed, parts)


def deal(groups: list[list[str]], needed: int, parts: int) -> list[list[str]]:
    """Choose groups of names for some parts, always the same for the same names.

    Args:
        groups: names that stay together, such as a speaker's utterances.
        needed: names for each part, at least; the last parts may get fewer.
        parts: how many.
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


def data_directory(path: Path, pairs: dict[str, tuple[Path, Path]]) -> DataDir:
    """Describe pairs of noisy and clean files as a data directory, yet unwritten."""
    return DataDir(
        path,
        wav={utt: str(noisy) for utt, (noisy, _) in pairs.items()},
        spk1={utt: str(clean) for utt, (_, clean) in pairs.items()},
        utt2spk={utt: _speaker(utt) for utt in pairs},
    )
