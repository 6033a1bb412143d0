"""What WHAMR! is generated from, in miniature: WSJ0's discs, the noise, the lists.

Names, folders, columns, rates and sample formats are those of the real ones; speech and
noise are formulas, the rooms are at the small end of the published ones.
"""

import csv
from pathlib import Path

import numpy as np
import soundfile

from tests.speech import RATE, speechlike

COUNTS = {"tr": 6, "cv": 2, "tt": 2}
FEW = {"tr": 3, "cv": 1, "tt": 1}
LISTS = "whamr_scripts/data"
_SPEAKERS = {"tr": ("01t", "02c", "40n"), "cv": ("01t", "20g"), "tt": ("050", "22h")}
_FOLDERS = {  # of a speaker, in LDC93S6A
    "01t": "11-1.1/wsj0/si_tr_s",
    "02c": "11-1.1/wsj0/si_tr_s",
    "20g": "11-2.1/wsj0/si_tr_s",
    "40n": "11-3.1/wsj0/si_tr_s",
    "050": "11-6.1/wsj0/si_dt_05",
    "22h": "11-14.1/wsj0/si_et_05",
}
_ROOM = ("room_x", "room_y", "room_z", "micL_x", "micL_y", "micR_x", "micR_y", "mic_z")
_ROOM += ("s1_x", "s1_y", "s1_z", "s2_x", "s2_y", "s2_z", "T60")


def write_sources(folder: Path, counts: dict[str, int] = COUNTS) -> None:
    """Write folder/{csr_1,wham_noise,whamr_scripts}/.

    Args:
        folder: to fill.
        counts: mixtures in each split.
    """
    for number, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng(number)
        _write_split(folder, split, [_mixture(split, n, rng) for n in range(count)])


def generate_from(folder: Path, **changes) -> dict:
    """Return the options of `generate` that name what `write_sources` wrote."""
    return {
        "wsj0": folder / "csr_1",
        "wham_noise": folder / "wham_noise",
        "lists": folder / LISTS,
        "counts": COUNTS,
        **changes,
    }


def _mixture(split: str, number: int, rng: np.random.Generator) -> dict:
    """Draw a mixture: two recordings, their levels, a room, and a noise."""
    speakers = _SPEAKERS[split]
    utterances, waves = [], []
    for place in range(2):
        speaker = speakers[(number + place) % len(speakers)]
        seed = 100 * list(_SPEAKERS).index(split) + 10 * number + place
        utterances.append(f"{speaker}o0{number}{'ab'[place]}{split[0]}")
        wave = speechlike(rng.uniform(1.4, 1.7), seed=seed)
        wave += 1e-3 * rng.standard_normal(len(wave))  # a recording is never silent
        waves.append(np.round(wave / abs(wave).max() * rng.uniform(0.2, 0.6) * 2**15))
    level = rng.uniform(0.1, 2.5)  # dB by which the first is louder, twice
    start, end = (int(n) for n in rng.integers(100, 4000, 2))
    noise = rng.standard_normal((start + max(map(len, waves)) + end, 2))
    noise = 0.02 * (noise + np.roll(noise, 1, axis=0))
    return {
        "name": f"{utterances[0]}_{level:.5g}_{utterances[1]}_{-level:.5g}.wav",
        "utterances": utterances,
        "waves": [wave / 2**15 for wave in waves],
        "noise": noise,
        "level": level,
        "start": start,
        "end": end,
        "snr": rng.uniform(-6, 3),
        "room": _room(rng, t60=(0.1, 0.3, 0.2)[number % 3]),
    }


def _room(rng: np.random.Generator, t60: float) -> dict[str, float]:
    size = [*rng.uniform(5, 6, 2), rng.uniform(3, 3.5)]
    centre = [size[0] / 2, size[1] / 2, rng.uniform(0.9, 1.8)]
    sources = []
    for _ in range(2):
        distance, angle = rng.uniform(0.66, 2), rng.uniform(0, 2 * np.pi)
        across = distance * np.array([np.cos(angle), np.sin(angle)])
        sources += [*(centre[:2] + across), rng.uniform(0.9, 1.8)]
    mics = [centre[0] - 0.08, centre[1], centre[0] + 0.08, centre[1], centre[2]]
    return dict(zip(_ROOM, [*size, *mics, *sources, t60], strict=True))


def _write_split(folder: Path, split: str, mixtures: list[dict]) -> None:
    for mixture in mixtures:
        for utterance, wave in zip(mixture["utterances"], mixture["waves"]):
            _write_recording(folder / "csr_1", utterance, wave)
        path = folder / "wham_noise" / split / mixture["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, mixture["noise"], RATE, subtype="FLOAT")
    lists = folder / LISTS
    _write_csv(
        lists / f"mix_2_spk_filenames_{split}.csv",
        ("output_filename", "s1_path", "s2_path"),
        [(m["name"], *map(_listed, m["utterances"])) for m in mixtures],
    )
    _write_csv(
        lists / f"reverb_params_{split}.csv",
        ("utterance_id", *_ROOM),
        [(m["name"], *m["room"].values()) for m in mixtures],
    )
    _write_metadata(folder / "wham_noise" / "metadata", split, mixtures)


def _listed(utterance: str) -> str:
    subset = Path(_FOLDERS[utterance[:3]]).name
    return f"wsj0/{subset}/{utterance[:3]}/{utterance}.wav"


def _write_recording(csr_1: Path, utterance: str, wave: np.ndarray) -> None:
    speaker = utterance[:3]
    path = csr_1 / _FOLDERS[speaker] / speaker / f"{utterance}.wv1"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE, format="NIST", subtype="PCM_16")
    # The second microphone, a trap: WHAMR! is made of the first.
    second = path.with_suffix(".wv2")
    soundfile.write(second, 0.7 * wave, RATE, format="NIST", subtype="PCM_16")


def _write_metadata(metadata: Path, split: str, mixtures: list[dict]) -> None:
    metadata.mkdir(parents=True, exist_ok=True)
    names = [mixture["name"] for mixture in mixtures]
    _write_csv(
        metadata / f"mix_param_meta_{split}.csv",
        (
            "utterance_id",
            "noise_samples_beginning_16k",
            "noise_samples_end_16k",
            "target_speaker1_snr_db",
        ),
        [(m["name"], m["start"], m["end"], m["snr"]) for m in mixtures],
    )
    _write_csv(
        metadata / f"noise_meta_{split}.csv",
        (
            "utterance_id",
            "Noise Band",
            "File ID",
            "L to R Width (cm)",
            "Reverberation Level",
            "Location ID",
            "Location Day ID",
        ),
        [(name, 0, 1, 16, "m", 1, 1) for name in names],
    )
    gains = {"speech_start_sample_16k": np.array([m["start"] for m in mixtures])}
    gains["utterance_id"] = np.array(names, dtype=object)  # pickled, as published
    for rate in ("8k", "16k"):
        for mode in ("min", "max"):
            values = np.array([_gains(m, rate == "8k", mode) for m in mixtures])
            gains[f"scaling_wsjmix_{rate}_{mode}"] = values[:, :2]
            gains[f"scaling_wham_speech_{rate}_{mode}"] = values[:, 2]
            gains[f"scaling_wham_noise_{rate}_{mode}"] = values[:, 3]
    np.savez(metadata / f"scaling_{split}.npz", **gains)


def _gains(mixture: dict, halved: bool, mode: str) -> tuple[float, ...]:
    """Two gains of wsj0-2mix, then those of speech and noise; all differ, as the real."""
    signs = (1, -1)
    wsjmix = [
        0.5 / abs(wave).max() * 10 ** (sign * mixture["level"] / 20)
        for wave, sign in zip(mixture["waves"], signs)
    ]
    if halved:
        wsjmix = [gain / 2 for gain in wsjmix]
    first = wsjmix[0] * mixture["waves"][0]
    quieter = 0.9 if mode == "max" else 1.0  # where the sum would clip
    ratio = np.sqrt(np.mean(mixture["noise"][:, 0] ** 2) / np.mean(first**2))
    return *wsjmix, quieter * ratio * 10 ** (mixture["snr"] / 20), quieter


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
