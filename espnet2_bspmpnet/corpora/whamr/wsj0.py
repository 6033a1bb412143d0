"""WSJ0 (LDC93S6A): where its files are, whichever way the discs were copied."""

import os
from collections.abc import Iterable
from pathlib import Path

from espnet2_bspmpnet.errors import UserError, some_of

# The first microphone, which the lists refer to: .wv1, or .wav where that was converted.
# The second one, .wv2, has other levels and another sound.
_SUFFIXES = (".wav", ".wv1")
_DEPTH = 3  # folders between the given one and si_tr_s: csr_1/11-1.1/wsj0
_LAYOUTS = (
    "the folder that holds wsj0/ (or the discs 11-1.1/wsj0/, 11-2.1/wsj0/, ...) of "
    "LDC93S6A, https://catalog.ldc.upenn.edu/LDC93S6A"
)


def find_speech(root: str | Path, names: Iterable[str]) -> dict[str, Path]:
    """Find the first microphone's files: name -> file.

    Args:
        root: the folder of wsj0/, wsj0/ itself, or that of the discs 11-1.1, ...
        names: as lists of mixtures name them, e.g. "wsj0/si_tr_s/01t/01to030v.wav".

    Raises a UserError if this is another folder, or files are missing in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; WSJ0 must name {_LAYOUTS}")
    keys = {name: tuple(Path(name).with_suffix("").parts[-3:]) for name in names}
    files: dict[tuple[str, ...], dict[str, Path]] = {}
    for subset in sorted({key[0] for key in keys.values()}):
        folders = _folders(root, subset)
        if not folders:
            raise UserError(
                f"{root}: is not WSJ0: looked for {subset}/, wsj0/{subset}/, "
                f"11-1.1/wsj0/{subset}/ and the like in it; WSJ0 must name {_LAYOUTS}"
            )
        for folder in folders:
            _add_files(folder, subset, files)
    found = {
        name: files[key][suffix]
        for name, key in keys.items()
        for suffix in reversed(_SUFFIXES)  # the first one is taken where both are there
        if suffix in files.get(key, ())
    }
    _check_complete(root, [keys[name] for name in keys if name not in found], files)
    return found


def _folders(root: Path, subset: str) -> list[Path]:
    for depth in range(_DEPTH + 1):
        named = (p for p in root.glob("*/" * depth + "*") if p.name.lower() == subset)
        if found := sorted(path for path in named if path.is_dir()):
            return found
    return []


def _add_files(folder: Path, subset: str, files: dict) -> None:
    for speaker in os.scandir(folder):
        if not speaker.is_dir():
            continue
        for entry in os.scandir(speaker):
            stem, suffix = os.path.splitext(entry.name.lower())
            if suffix in (*_SUFFIXES, ".wv2"):
                key = (subset, speaker.name.lower(), stem)
                files.setdefault(key, {}).setdefault(suffix, Path(entry.path))


def _check_complete(root: Path, missing: list[tuple[str, ...]], files: dict) -> None:
    if not missing:
        return
    second = sum(key in files for key in missing)
    hint = f"; of {second} there is the second microphone's .wv2 only" if second else ""
    raise UserError(
        f"{root}: {len(missing)} recordings are missing, as .wav and as .wv1: "
        f"{some_of(map('/'.join, missing))}{hint}; copy all discs of LDC93S6A"
    )
