"""A user's own folders of clean speech and of noise, mixed: data directories.

For training nothing is mixed beforehand: ESPnet adds another noise at another level
each time an utterance comes.  Validation and test need mixtures that stay: they are
made here, of noises that training does not hear.  SNR is the level of active speech
over that of the noise; active are the 20 ms frames at most 30 dB below the loud ones.
As in training, that counts at the model's rate: what is above it is nobody's noise.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.corpora import pairs
from espnet2_bspmpnet.corpora.mini.voices import active
from espnet2_bspmpnet.data.audio import list_audio, read_audio, resample, write_audio
from espnet2_bspmpnet.data.datadir import DataDir
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

NOISE_SUFFIX = "_noise"  # of the data directory of a training set's noises
DB_RANGE = "noise_db_range"  # file in it: the SNRs, as ESPnet's option of that name
FEWEST_NOISES = 3  # one for each set
PEAK = 0.99  # of a mixture, full scale being 1


def prepare(
    clean_dir: str | Path,
    noise_dir: str | Path,
    corpus_dir: str | Path,
    data_dir: str | Path,
    train_set: str,
    valid_set: str,
    test_set: str,
    snr_range: Sequence[float] = (0.0, 15.0),
    seed: int = 0,
    valid_noisy_dir: str | Path | None = None,
    valid_clean_dir: str | Path | None = None,
    test_noisy_dir: str | Path | None = None,
    test_clean_dir: str | Path | None = None,
) -> None:
    """Write data directories of clean speech to be mixed with noise.

    The training set has the clean files as noisy ones, too; beside it, in
    ``<train_set>_noise``, are the noises to mix with them.  A validation or test set
    without folders of its own is held out and mixed once: about a tenth of the clean
    files, as :func:`pairs.prepare` chooses them, and of the noises.

    Args:
        clean_dir: clean speech (.wav, .flac or .ogg), mono, of any rate.
        noise_dir: noises, likewise.
        corpus_dir: for the mixtures.
        data_dir: for the data directories.
        train_set: name of the training set.
        valid_set: name of the validation set.
        test_set: name of the test set.
        snr_range: lowest and highest SNR in dB.
        seed: of the mixtures; the same seed, the same samples.
        valid_noisy_dir: noisy files of the validation set.
        valid_clean_dir: clean ones, by the same names.
        test_noisy_dir: noisy files of the test set.
        test_clean_dir: clean ones.

    Raises:
        UserError: a folder is missing or empty, a file unreadable, of several channels
            or silent, too few noises, or an impossible range.
    """
    low, high = _check_range(snr_range)
    pairs.check_names(train_set, valid_set, test_set)
    if Path(noise_dir).resolve() == Path(clean_dir).resolve():
        raise UserError(f"{noise_dir}: is given for clean speech and noise alike")
    clean, noise = _listed(clean_dir), _listed(noise_dir)
    _check_sound([*clean.values(), *noise.values()])
    given = pairs.given_sets(
        {
            valid_set: ("valid", valid_noisy_dir, valid_clean_dir),
            test_set: ("test", test_noisy_dir, test_clean_dir),
        }
    )
    missing = [name for name in given if given[name] is None]
    clean, held_out = pairs.hold_out(clean, missing, "clean files")
    noise, noises_of = _hold_out_noises(noise_dir, noise, missing)
    directories = [
        pairs.data_directory(Path(data_dir) / name, found)
        for name, found in given.items()
        if found is not None
    ]
    tables = {}
    for name in missing:
        directory, tables[Path(data_dir) / name] = _mixed(
            Path(corpus_dir).absolute() / name,
            Path(data_dir) / name,
            held_out[name],
            list(noises_of[name].items()),
            (low, high),
            seed,
        )
        directories.append(directory)
    both = {utterance: (path, path) for utterance, path in clean.items()}
    directories.append(pairs.data_directory(Path(data_dir) / train_set, both))
    names = {name: str(path) for name, path in noise.items()}
    noises = Path(data_dir) / f"{train_set}{NOISE_SUFFIX}"
    directories.append(DataDir(noises, names, None, {name: name for name in names}))
    pairs.write_checked(directories, tables)
    write_text(noises / DB_RANGE, f"{low:g}_{high:g}\n")


def mix(
    clean: np.ndarray, noise: np.ndarray, snr: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Add a noise to speech.

    Args:
        clean: speech [L], 16 kHz as the noise.
        noise: of any length: repeated where it is too short, a
            random part of it where it is longer.
        snr: dB.
        rng: chooses that part.

    Returns:
        clean and noisy speech [L], both scaled alike where the noisy one would exceed
        full scale.

    Raises:
        UserError: the noise is silent there.
    """
    part = loop(noise, len(clean), rng)
    power = np.mean(part**2, dtype=np.float64)
    if not power:
        raise UserError("the noise is silent for the length of an utterance")
    speech = _active_power(clean)
    noisy = clean + part * np.sqrt(speech / power / 10 ** (snr / 10))
    gain = min(1.0, PEAK / np.abs(noisy).max())
    return clean * gain, noisy * gain


def loop(noise: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Take ``length`` samples from a random place on, beginning again at the end."""
    start = rng.integers(max(len(noise) - length, 0) + 1)
    if len(noise) < length:
        start = rng.integers(len(noise))
    return np.take(noise, np.arange(start, start + length), mode="wrap")


def _check_range(snr_range: Sequence[float]) -> tuple[float, float]:
    if len(snr_range) != 2 or not -50 <= snr_range[0] <= snr_range[1] <= 100:
        shown = " ".join(f"{value:g}" for value in snr_range)
        raise UserError(
            f"snr_range {shown!r}: give the lowest and the highest SNR in dB, as in '0 15'"
        )
    return snr_range[0], snr_range[1]


def _listed(folder: str | Path) -> dict[str, Path]:
    found = list_audio(folder)
    pairs.check_utterance_names(found.values())
    return {name: path.absolute() for name, path in found.items()}


def _check_sound(paths: Sequence[Path]) -> None:
    silent = [path for path in paths if not read_audio(path)[0].any()]
    if silent:
        raise UserError(
            f"{silent[0]}: is silent throughout; remove it ({len(silent)} such files)"
        )


def _hold_out_noises(
    folder: str | Path, noises: dict[str, Path], sets: Sequence[str]
) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    if not sets:
        return noises, {}
    if len(noises) < FEWEST_NOISES:
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
    data_dir: Path,
    clean: Mapping[str, Path],
    noises: Sequence[tuple[str, Path]],
    snr_range: tuple[float, float],
    seed: int,
) -> tuple[DataDir, dict[str, dict[str, str]]]:
    """Mix a set's utterances; describe them, and what was mixed at which SNR."""
    plan = {}
    for utterance in clean:
        # Of the name, so that an utterance more changes no other one.
        rng = np.random.default_rng([seed, zlib.crc32(utterance.encode("utf-8"))])
        noise = noises[rng.integers(len(noises))]
        plan[utterance] = *noise, float(rng.uniform(*snr_range)), rng
    files = {}
    # One noise after the other: each, which may be long, is read and resampled once.
    for utterance in sorted(plan, key=lambda name: (plan[name][0], name)):
        _, path, snr, rng = plan[utterance]
        try:
            waves = mix(_read(clean[utterance]), _read_noise(path), snr, rng)
        except UserError as error:
            raise UserError(f"{path}: {error}; cut that part away") from error
        files[utterance] = tuple(
            audio_dir / side / f"{utterance}.wav" for side in ("noisy", "clean")
        )
        for file, wave in zip(files[utterance], reversed(waves), strict=True):
            write_audio(file, wave, SAMPLE_RATE)
    tables = {
        "utt2noise": {name: made[0] for name, made in plan.items()},
        "utt2snr": {name: f"{made[2]:.2f}" for name, made in plan.items()},
    }
    return pairs.data_directory(data_dir, files), tables


def _read(path: Path) -> np.ndarray:
    return resample(*read_audio(path), SAMPLE_RATE)


_read_noise = lru_cache(maxsize=2)(_read)


def _active_power(clean: np.ndarray) -> float:
    if len(clean) < 320:
        return float(np.mean(clean**2, dtype=np.float64))
    frames = clean[: len(clean) // 320 * 320].reshape(-1, 320)
    return float(np.mean(frames[active(clean)] ** 2, dtype=np.float64))
