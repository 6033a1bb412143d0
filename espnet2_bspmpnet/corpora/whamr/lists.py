"""The published lists of WHAMR!: who speaks, in which room, how loud, over which noise.

They come from two places: the scripts of WHAMR! (data/mix_2_spk_filenames_*.csv,
data/reverb_params_*.csv) and the WHAM! noise (metadata/mix_param_meta_*.csv,
metadata/scaling_*.npz).
"""

import csv
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet2_bspmpnet.corpora.whamr.rooms import Room
from espnet2_bspmpnet.data.datadir import check_same_ids
from espnet2_bspmpnet.errors import UserError

COUNTS = {"tr": 20000, "cv": 5000, "tt": 3000}
MODES = ("min", "max")


class Mixture(NamedTuple):
    """One utterance of WHAMR!, as far as its first speaker is concerned."""

    name: str  # of its file, e.g. "01to030v_0.76421_20ga010m_-0.76421.wav"
    split: str  # "tr", "cv" or "tt"
    speech: str  # file of the first speaker, e.g. "wsj0/si_tr_s/01t/01to030v.wav"
    other: str  # file of the second, who is not heard but whose length counts
    room: Room  # with the first speaker and the left microphone
    start: int  # samples of noise before the speech, where the mode is max
    wsjmix_gain: float  # factor that the speech had in wsj0-2mix
    speech_gain: float  # factor that it gets beyond that
    noise_gain: float  # factor that the noise gets
    snr: float  # loudness of the speech over that of the noise, in dB


def read_mixtures(
    lists: str | Path, wham_noise: str | Path, split: str, mode: str
) -> list[Mixture]:
    """Read the lists of a split, in their order.

    Args:
        lists: folder of mix_2_spk_filenames_*.csv and reverb_params_*.csv.
        wham_noise: folder of the WHAM! noise.
        split: "tr", "cv" or "tt".
        mode: "min" or "max", which have gains of their own.

    Raises a UserError if a list is missing, damaged or does not fit the others.
    """
    metadata = Path(wham_noise) / "metadata"
    files, spoken = _spoken(lists, split)
    rooms = Path(lists) / f"reverb_params_{split}.csv"
    acoustics = _read(rooms, "utterance_id", _ROOM, _SCRIPTS)
    levels = metadata / f"mix_param_meta_{split}.csv"
    levelled = _read(levels, "utterance_id", (_START, _SNR), _NOISE)
    check_same_ids(files, spoken, rooms, acoustics)
    check_same_ids(files, spoken, levels, levelled)
    starts = [int(level[_START]) for level in levelled.values()]
    gains = _gains(metadata / f"scaling_{split}.npz", mode, levels, starts)
    return [
        Mixture(
            name,
            split,
            *(spoken[name][column] for column in _SPEAKERS),
            _room(rooms, name, acoustics[name]),
            starts[row],
            float(gains["wsjmix"][row, 0]),
            float(gains["wham_speech"][row]),
            float(gains["wham_noise"][row]),
            level[_SNR],
        )
        for row, (name, level) in enumerate(levelled.items())
    ]


def read_recordings(lists: str | Path, split: str) -> set[str]:
    """Read which files of WSJ0 a split is made of, as in `Mixture`."""
    _, spoken = _spoken(lists, split)
    return {row[column] for row in spoken.values() for column in _SPEAKERS}


def read_snrs(wham_noise: str | Path, split: str) -> dict[str, float]:
    """Read the speech's loudness over the noise's, in dB, by file name."""
    path = Path(wham_noise) / "metadata" / f"mix_param_meta_{split}.csv"
    rows = _read(path, "utterance_id", (_SNR,), _NOISE)
    return {name: row[_SNR] for name, row in rows.items()}


_SCRIPTS = "unpack whamr_scripts.tar.gz again and name its data/"
_NOISE = "unpack wham_noise.zip again and name its wham_noise/"
_START = "noise_samples_beginning_16k"
_SNR = "target_speaker1_snr_db"
_SPEAKERS = ("s1_path", "s2_path")
_SIZE = ("room_x", "room_y", "room_z")
_MICROPHONE = ("micL_x", "micL_y", "mic_z")
_SOURCE = ("s1_x", "s1_y", "s1_z")
_ROOM = (*_SIZE, *_MICROPHONE, *_SOURCE, "T60")


def _read(
    path: Path, key: str, columns: tuple[str, ...], fix: str, kind: type = float
) -> dict[str, dict]:
    """Read columns of a list of which each line has a key of its own."""
    if not path.is_file():
        raise UserError(f"{path}: no such list; {fix}")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = {key, *columns} - set(reader.fieldnames or ())
        if lacking:
            raise UserError(f"{path}: has no column {min(lacking)}; {fix}")
        rows: dict[str, dict] = {}
        for row in reader:
            line = f"{path}:{reader.line_num}"
            if None in row.values() or row[key] in rows:
                raise UserError(f"{line}: cut short or there twice; {fix}")
            try:
                rows[row[key]] = {column: kind(row[column]) for column in columns}
            except ValueError as error:
                raise UserError(f"{line}: {error}; {fix}") from error
    if not rows:
        raise UserError(f"{path}: is empty; {fix}")
    return rows


def _spoken(lists: str | Path, split: str) -> tuple[Path, dict[str, dict]]:
    path = Path(lists) / f"mix_2_spk_filenames_{split}.csv"
    return path, _read(path, "output_filename", _SPEAKERS, _SCRIPTS, str)


def _room(path: Path, name: str, row: Mapping[str, float]) -> Room:
    places = (_SIZE, _MICROPHONE, _SOURCE)
    size, microphone, source = (tuple(row[x] for x in columns) for columns in places)
    room = Room(size, microphone, source, row["T60"])
    try:
        room.check()
    except ValueError as error:
        raise UserError(f"{path}: {name}: {error}; take the published list") from error
    return room


def _gains(
    path: Path, mode: str, levels: Path, starts: list[int]
) -> dict[str, np.ndarray]:
    """Read the gains of the utterances of `levels`, where speech has these starts."""
    if not path.is_file():
        raise UserError(f"{path}: no such list; {_NOISE}")
    count = len(starts)
    shapes = {"wsjmix": (count, 2), "wham_speech": (count,), "wham_noise": (count,)}
    gains = {}
    try:
        # The names in it are pickled, and pickles may run programs; they are those of
        # `levels`, from which the file was made, in the same order. The starts of speech,
        # which are there in plain numbers, show whether the order is another one.
        with np.load(path, allow_pickle=False) as file:
            for name, shape in shapes.items():
                gains[name] = file[f"scaling_{name}_16k_{mode}"]
                if gains[name].shape != shape:
                    raise ValueError(f"{name} has {len(gains[name])} rows, not {count}")
            if file["speech_start_sample_16k"].tolist() != starts:
                raise ValueError(f"not in the order of {levels.name}")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        message = f"{path}: damaged or another file ({error}); {_NOISE}"
        raise UserError(message) from error
    return gains
