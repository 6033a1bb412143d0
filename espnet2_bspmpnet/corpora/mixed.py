"""A user's own folders of clean speech and of noise, mixed: data directories.

For training nothing is mixed beforehand: another noise is added at another level each
time an utterance comes.  Validation and test need mixtures that stay: they are
made here, of noises that training does not hear.  SNR is the level of active speech
(see `speech_level`) over that of the noise.  As in training, both are taken at the
model's rate: noise above its band does not count.
"""

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from glob import glob
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.corpora import pairs
from espnet2_bspmpnet.corpora.pairs import Folder, Tables
from espnet2_bspmpnet.data.audio import (
    SUFFIXES,
    looped,
    read_audio,
    resample,
    write_audio,
)
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.data.speech_level import active_power
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

NOISE_SUFFIX = "_noise"  # of the data directory of a training set's noises
RIR_SUFFIX = "_rir"  # of that of its room responses
SETS = ("train", "valid", "test")
DB_RANGE = "noise_db_range"  # file in it: the SNRs, as ESPnet's option of that name
FEWEST_NOISES = 3  # one for each set
PEAK = 0.99  # of a mixture, full scale being 1


def prepare(
    clean_dir: Folder,
    noise_dir: Folder,
    corpus_dir: Folder,
    data_dir: Folder,
    names: Mapping[str, str],
    given: Mapping[str, tuple[Folder | None, Folder | None]],
    snr_range: Sequence[float] = (0.0, 15.0),
    seed: int = 0,
    rir_dir: Folder | None = None,
    splits: Folder | None = None,
) -> None:
    """Write data directories of clean speech to be mixed with noise.

    The training set has the clean files as noisy ones, too; beside it, in
    ``<train_set>_noise``, are the noises to mix with them, and in ``<train_set>_rir`` the
    room responses.  A validation or test set without folders of its own is held out and
    mixed once: by ``splits``, or about a tenth of the clean files, as
    :func:`pairs.prepare` chooses them, and of the noises.

    Args:
        clean_dir: clean speech (.wav, .flac or .ogg), mono, of any rate.
        noise_dir: noises, likewise.
        corpus_dir: for the mixtures.
        data_dir, names, given: see :func:`pairs.prepare`.
        snr_range: lowest and highest SNR in dB.
        seed: of the mixtures; the same seed, the same samples.
        rir_dir: room impulse responses, likewise, or None.
        splits: see :func:`read_splits`; files that it does not name are left out.

    Raises a UserError if a folder is missing or empty, a file unreadable, of several
    channels or silent, there are too few noises, or the range is impossible.
    """
    low, high = _check_range(snr_range)
    if Path(noise_dir).resolve() == Path(clean_dir).resolve():
        raise UserError(f"{noise_dir}: is given for clean speech and noise alike")
    sets, missing = pairs.given_sets(names, given)
    if splits is not None:
        find = partial(_find_split, read_splits(splits), splits)
        clean, held_out = _split(clean_dir, find(clean_dir), names, missing)
        noise, noises_of = _split(noise_dir, find(noise_dir), names, missing)
        rooms = find(rir_dir)["train"] if rir_dir else {}
    else:
        clean, noise = pairs.find_files(clean_dir), pairs.find_files(noise_dir)
        rooms = pairs.find_files(rir_dir) if rir_dir else {}
        clean, held_out = pairs.hold_out(clean, missing, "clean files")
        noise, noises_of = _hold_out_noises(noise_dir, noise, missing)
    used = [clean, noise, rooms, *held_out.values(), *noises_of.values()]
    _check_sound(sorted({path for part in used for path in part.values()}))
    both = {utterance: (path, path) for utterance, path in clean.items()}
    found, tables = {**sets, names["train"]: both}, {}
    for name in missing:
        folder, clean = Path(corpus_dir).absolute() / name, held_out[name]
        made = _mixed(folder, clean, noises_of[name], (low, high), seed)
        found[name], tables[name] = made
    data = Path(data_dir)
    directories = [
        (DataDir.of_pairs(data / name, files), tables.get(name, {}))
        for name, files in found.items()
    ]
    noise_set = data / f"{names['train']}{NOISE_SUFFIX}"
    rir_set = data / f"{names['train']}{RIR_SUFFIX}"
    for path, part in ((noise_set, noise), (rir_set, rooms)):
        wav = {name: str(file) for name, file in part.items()}
        if wav:
            one = DataDir(path, wav, spk1=None, utt2spk={name: name for name in wav})
            directories.append((one, {}))
    pairs.write_checked(directories)
    write_text(noise_set / DB_RANGE, f"{low:g}_{high:g}\n")


def read_splits(path: Folder) -> dict[str, str]:
    """Read which set a file is for, by lines "<path> <train|valid|test>".

    A path is that of an audio file without its suffix, seen from the folder that holds
    it (clean_dir, noise_dir or rir_dir); a folder's name stands for all that it holds,
    but for what longer lines name.

    Raises a UserError for another word.
    """
    splits = {str(Path(name)): part for name, part in read_scp(path).items()}
    wrong = [f"{name} {part}" for name, part in splits.items() if part not in SETS]
    if wrong:
        raise UserError(f"{path}: {wrong[0]!r}: the set is one of {', '.join(SETS)}")
    return splits


def split_of(splits: Mapping[str, str], place: Path) -> str | None:
    """Give the set of a path without its suffix, by the longest line that covers it."""
    above = map(str, (place, *place.parents))
    return next((splits[path] for path in above if path in splits), None)


def _find_split(
    splits: Mapping[str, str], name: Folder, folder: Folder
) -> dict[str, dict[str, Path]]:
    """Find the files below a folder that each set is given: names are paths with "-".

    As in `list_audio`, links are followed and hidden files left out.
    """
    found: dict[str, dict[str, Path]] = {part: {} for part in SETS}
    root, used = Path(folder).absolute(), {}
    if not root.is_dir():
        raise UserError(f"{folder}: no such folder; correct its path")
    for file in sorted(glob("**/*", root_dir=root, recursive=True)):
        place = Path(file).with_suffix("")
        part = split_of(splits, place)
        if part is None or Path(file).suffix.lower() not in SUFFIXES:
            continue
        utterance = "-".join(place.parts)
        if re.search(r"[\s\udc80-\udcff]", utterance):
            raise UserError(
                f"{str(root / file)!r}: a path with blanks, or that is not UTF-8, cannot"
                " name an utterance; rename it"
            )
        if utterance in used:
            raise UserError(
                f"{root / file}: would have the name of {used[utterance]}, {utterance};"
                " rename one of them"
            )
        used[utterance] = found[part][utterance] = root / file
    if not found["train"]:
        raise UserError(f"{folder}: {name} names none of its files for training")
    return found


def _split(
    folder: Folder,
    found: dict[str, dict[str, Path]],
    names: Mapping[str, str],
    missing: Sequence[str],
) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    held_out = {names[part]: found[part] for part in SETS if names[part] in missing}
    for name, files in held_out.items():
        if not files:
            raise UserError(f"{folder}: --splits names none of its files for {name}")
    return found["train"], held_out


def mix(
    clean: np.ndarray, noise: np.ndarray, snr: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Add a noise to speech.

    Args:
        clean: speech [L], 16 kHz as the noise.
        noise: of any length: repeated if too short, a random part of it if longer.
        snr: dB.
        rng: chooses that part, which must not be silent (UserError).

    Returns clean and noisy speech [L], both scaled alike where the noisy one would
    exceed full scale.
    """
    part = loop(noise, len(clean), rng)
    power = np.mean(part**2, dtype=np.float64)
    if not power:
        raise UserError("the noise is silent for the length of an utterance")
    noisy = clean + part * np.sqrt(active_power(clean) / power / 10 ** (snr / 10))
    gain = min(1.0, PEAK / np.abs(noisy).max())
    return clean * gain, noisy * gain


def loop(noise: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Take ``length`` samples from a random place on, beginning again at the end."""
    start = rng.integers(max(len(noise) - length, 0) + 1)
    if len(noise) < length:
        start = rng.integers(len(noise))
    return looped(noise, start, length)


def _check_range(snr_range: Sequence[float]) -> tuple[float, float]:
    if len(snr_range) != 2 or not -50 <= snr_range[0] <= snr_range[1] <= 100:
        shown = " ".join(f"{value:g}" for value in snr_range)
        raise UserError(
            f"snr_range {shown!r}: give the lowest and the highest SNR in dB, as in '0 15'"
        )
    return snr_range[0], snr_range[1]


def _check_sound(paths: Iterable[Path]) -> None:
    silent = [path for path in paths if not read_audio(path)[0].any()]
    if silent:
        raise UserError(
            f"{silent[0]}: is silent throughout; remove it ({len(silent)} such files)"
        )


def _hold_out_noises(
    folder: Folder, noises: dict[str, Path], sets: Sequence[str]
) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    if sets and len(noises) < FEWEST_NOISES:
        raise UserError(
            f"{folder}: holds {len(noises)} noise(s), but {FEWEST_NOISES} are needed, so"
            " that validation and test have noises of their own; cut a long recording"
            " into parts"
        )
    left = dict(noises)
    needed = max(1, len(noises) // 10)
    chosen = pairs.deal([[name] for name in sorted(noises)], needed, len(sets))
    held_out = {
        name: {noise: left.pop(noise) for noise in part}
        for name, part in zip(sets, chosen, strict=True)
    }
    return left, held_out


def _mixed(
    audio_dir: Path,
    clean: Mapping[str, Path],
    noises: Mapping[str, Path],
    snr_range: tuple[float, float],
    seed: int,
) -> tuple[pairs.Pairs, Tables]:
    """Mix a set's utterances; return the files, and what was mixed at which SNR."""
    plan = {}
    for utterance in clean:
        # Seeded by the name, so that a further utterance changes no other one.
        rng = np.random.default_rng([seed, zlib.crc32(utterance.encode("utf-8"))])
        noise = list(noises)[rng.integers(len(noises))]
        plan[utterance] = noise, float(rng.uniform(*snr_range)), rng
    files = {}
    # One noise after the other: each, which may be long, is read and resampled once.
    for utterance in sorted(plan, key=lambda name: (plan[name][0], name)):
        noise, snr, rng = plan[utterance]
        path = noises[noise]
        try:
            waves = mix(_read(clean[utterance]), _read_noise(path), snr, rng)
        except UserError as error:
            raise UserError(f"{path}: {error}; cut that part away") from error
        files[utterance] = tuple(
            audio_dir / side / f"{utterance}.wav" for side in ("noisy", "clean")
        )
        for file, wave in zip(files[utterance], reversed(waves), strict=True):
            write_audio(file, wave, SAMPLE_RATE)
    return files, {
        "utt2noise": {name: noise for name, (noise, _, _) in plan.items()},
        "utt2snr": {name: f"{snr:.2f}" for name, (_, snr, _) in plan.items()},
    }


def _read(path: Path) -> np.ndarray:
    return resample(*read_audio(path), SAMPLE_RATE)


_read_noise = lru_cache(maxsize=2)(_read)
