"""Generate WHAMR! from WSJ0 and the WHAM! noise, by its published lists.

Of the eleven folders that the published scripts fill there are the five that speech
enhancement needs: one speaker, one microphone, 16 kHz. As there, the speech goes through
the room at the level of the recording, and then gets the level that it has in WHAM!, by
one factor for anechoic and reverberant speech:

    s1 = (speech * response) * sqrt(E(gained speech) / E(speech * anechoic response)).

Mode "max" keeps all of the noise, which begins before the speech and ends after it;
"min" keeps what both speakers of wsj0-2mix say, hence the second's length counts.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import fftconvolve

from espnet2_bspmpnet.corpora.whamr import rooms, sphere
from espnet2_bspmpnet.corpora.whamr.lists import (
    COUNTS,
    MODES,
    Mixture,
    read_mixtures,
    read_recordings,
)
from espnet2_bspmpnet.corpora.whamr.sources import NOISE, SCRIPTS, fetch_unpacked
from espnet2_bspmpnet.corpora.whamr.wsj0 import find_speech
from espnet2_bspmpnet.data.audio import audio_info, write_audio
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.download import check_space
from espnet2_bspmpnet.files.parallel import parallel_map
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

SIGNALS = (
    "noise",
    "s1_anechoic",
    "s1_reverb",
    "mix_single_anechoic",
    "mix_single_reverb",
)
_VERSION = 1  # raise it whenever a sample of the corpus changes
_SAMPLE = 200  # files that the needed space is estimated from
_BYTES = 4  # a sample, in float32


class _Job(NamedTuple):
    mixture: Mixture
    speech: Path
    other: Path
    noise: Path
    folder: Path  # of the mode
    mode: str

    def target(self, signal: str) -> Path:
        return self.folder / self.mixture.split / signal / self.mixture.name

    def is_done(self) -> bool:
        return all(self.target(signal).is_file() for signal in SIGNALS)


def generate(
    wsj0: str | Path,
    whamr_dir: str | Path,
    mode: str = "min",
    nj: int = 1,
    counts: Mapping[str, int] = COUNTS,
    wham_noise: str | Path | None = None,
    lists: str | Path | None = None,
    download_dir: str | Path = "downloads",
    url: str | None = None,
) -> None:
    """Write WHAMR_DIR/wav16k/MODE/{tr,cv,tt}/{noise,s1_anechoic,...}/*.wav.

    What is there already is kept, so that an interrupted call can be repeated.

    Args:
        wsj0: folder of WSJ0, see `wsj0.find_speech`.
        whamr_dir: folder to make.
        mode: "min" or "max".
        nj: number of processes.
        counts: how many utterances each split's lists must have.
        wham_noise: folder of the WHAM! noise, with tr/, cv/, tt/ and metadata/.
        lists: folder of the published lists, data/ of WHAMR!'s scripts.
        download_dir: gets those of these two that are None.
        url: folder that they come from; None takes the authors' own.

    Raises:
        UserError: a file is missing, damaged or of another rate, a list does not fit,
            a download failed, there is too little space, or `whamr_dir` was generated
            by other lists.
    """
    if mode not in MODES:
        raise UserError(f"mode {mode!r} is unknown; use {' or '.join(MODES)}")
    rooms.require_pyroomacoustics()
    lists = Path(lists or fetch_unpacked(SCRIPTS, download_dir, url) / "data")
    recordings = {name for split in counts for name in read_recordings(lists, split)}
    # What has to be bought is looked for before 18 GB are downloaded.
    speech = find_speech(wsj0, sorted(recordings))
    sphere.check_decodable(next(iter(speech.values())))
    wham_noise = Path(wham_noise or fetch_unpacked(NOISE, download_dir, url))
    mixtures = _read_lists(lists, wham_noise, counts, mode)
    _check_noises(wham_noise, mixtures)
    folder = Path(whamr_dir).absolute() / "wav16k" / mode
    _claim(folder, mixtures)
    jobs = [
        _Job(
            mixture=mixture,
            speech=speech[mixture.speech],
            other=speech[mixture.other],
            noise=wham_noise / mixture.split / mixture.name,
            folder=folder,
            mode=mode,
        )
        for mixture in mixtures
    ]
    missing = [job for job in jobs if not job.is_done()]
    logging.info("%s: %d of %d utterances to generate", folder, len(missing), len(jobs))
    if missing:
        fix = "free some space, or generate on another disk"
        check_space(folder, _estimate(missing), "generating WHAMR!", fix)
        parallel_map(_generate, missing, nj, "WHAMR!")


def mix(
    mixture: Mixture,
    speech: np.ndarray,
    other_length: int,
    noise: np.ndarray,
    mode: str = "min",
) -> dict[str, np.ndarray]:
    """Make the signals of an utterance.

    Args:
        mixture: what the lists say of it.
        speech: the first speaker's recording [L1], 16 kHz.
        other_length: samples of the second speaker's.
        noise: the noise [L], 16 kHz.
        mode: "min" or "max".

    Returns each of `SIGNALS`, [min(L1, other_length)] or, for max, [L]. Raises a
    ValueError if the noise is too short.
    """
    start, both = mixture.start, min(len(speech), other_length)
    if len(noise) < start + both:
        raise ValueError(f"has {len(noise)} samples, but {start + both} are needed")
    length = len(noise) if mode == "max" else both
    noise = noise * mixture.noise_gain
    if mode == "min":
        noise, start = noise[start : start + length], 0
    gained = _quantised(speech * mixture.wsjmix_gain) * mixture.speech_gain
    speech = _quantised(speech)
    responses = rooms.impulse_responses(mixture.room)
    anechoic, reverb = (fftconvolve(speech, response) for response in responses)
    level = np.sqrt(np.sum(gained**2) / np.sum(anechoic**2))
    signals = {
        "noise": noise,
        "s1_anechoic": _placed(anechoic * level, start, length),
        "s1_reverb": _placed(reverb * level, start, length),
    }
    for room in ("anechoic", "reverb"):
        signals[f"mix_single_{room}"] = noise + signals[f"s1_{room}"]
    return signals


def _quantised(wave):
    # wsj0-2mix was written with 16 bits.
    return np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1) / 2**15


def _placed(wave, start, length):
    """Put a wave at a place between zeros, and cut off what is beyond the end."""
    wave = wave[: length - start]
    return np.pad(wave, (start, length - start - len(wave)))


def _read_lists(
    lists: Path, wham_noise: Path, counts: Mapping[str, int], mode: str
) -> list[Mixture]:
    mixtures = []
    for split, count in counts.items():
        listed = read_mixtures(lists, wham_noise, split, mode)
        if len(listed) != count:
            raise UserError(
                f"{lists}: lists {len(listed)} utterances for {split} in place of "
                f"{count}; take the published lists, or say how many there should be "
                "(--num_train, --num_valid, --num_test)"
            )
        mixtures += listed
    return mixtures


def _check_noises(wham_noise: Path, mixtures: list[Mixture]) -> None:
    there: dict[str, set[str]] = {}
    for split in {mixture.split for mixture in mixtures}:
        folder = wham_noise / split
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; the WHAM! noise has tr/, cv/, tt/ and "
                "metadata/: unpack wham_noise.zip and name its wham_noise/"
            )
        there[split] = {path.name for path in folder.iterdir()}
    missing = [m for m in mixtures if m.name not in there[m.split]]
    if missing:
        raise UserError(
            f"{wham_noise}: {len(missing)} noise files are missing, the first is "
            f"{missing[0].split}/{missing[0].name}; unpack wham_noise.zip again"
        )


def _claim(folder: Path, mixtures: list[Mixture]) -> None:
    """Note by which lists a folder is made; refuse audio that other lists have made."""
    lists = hashlib.sha256("\n".join(map(repr, mixtures)).encode()).hexdigest()
    made_with = json.dumps({"version": _VERSION, "lists": lists}) + "\n"
    marker = folder / ".made_with.json"
    before = marker.read_text(encoding="utf-8") if marker.is_file() else None
    if before != made_with and any(folder.glob("*/*/*.wav")):
        raise UserError(
            f"{folder}: holds audio that other lists or another program made; name "
            "an empty or new folder, or use it as it is by WHAMR="
        )
    for unfinished in folder.glob("*/*/.*.tmp"):
        unfinished.unlink()
    write_text(marker, made_with)


def _estimate(jobs: list[_Job]) -> int:
    """Estimate the bytes that jobs will write, from some of them."""
    some = jobs[:: max(1, len(jobs) // _SAMPLE)]
    is_max = jobs[0].mode == "max"
    files = [(job.noise,) if is_max else (job.speech, job.other) for job in some]
    lengths = [min(map(sphere.count_samples, those)) for those in files]
    return round(np.mean(lengths) * _BYTES * len(SIGNALS) * len(jobs))


def _generate(job: _Job) -> None:
    speech = sphere.read_speech(job.speech, SAMPLE_RATE)
    noise, other = _first_channel(job.noise), sphere.count_samples(job.other)
    try:
        signals = mix(job.mixture, speech, other, noise, job.mode)
    except ValueError as error:
        raise UserError(f"{job.noise}: {error}; unpack wham_noise.zip again") from error
    for name, wave in signals.items():
        write_audio(job.target(name), wave, SAMPLE_RATE, "FLOAT")


def _first_channel(path: Path) -> np.ndarray:
    """Read the left microphone's noise, float64 [L]."""
    rate = audio_info(path).rate
    if rate != SAMPLE_RATE:
        raise UserError(
            f"{path}: has {rate} Hz in place of {SAMPLE_RATE}; take wham_noise.zip, not"
            " the noise's 48 kHz version"
        )
    wave, _ = soundfile.read(path, always_2d=True)
    if not np.isfinite(wave).all():
        raise UserError(f"{path}: holds NaN or infinite samples; unpack it again")
    return wave[:, 0]
