"""The mini corpus: noisy and clean speech made on the spot, offline.

It has the form of VoiceBank+DEMAND: 16 kHz files in {clean,noisy}_trainset_wav (and
validset, testset), log files that give noise and SNR of each utterance, ten kinds of
noise at 0, 5, 10 and 15 dB for training and five others at 2.5, 7.5, 12.5 and
17.5 dB for testing, with voices that the training set does not hold. As in that
corpus, SNR is the level of active speech over that of the noise (see `speech_level`).

Speech comes from eSpeak NG, noise from formulas; nothing is a recording. Every
utterance depends on (seed, set, index) alone: neither the number of processes nor an
interruption changes a sample.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from espnet2_bspmpnet.corpora.mini import espeak, noises
from espnet2_bspmpnet.corpora.mini.sentences import compose
from espnet2_bspmpnet.corpora.mini.voices import Voice, utter, voices
from espnet2_bspmpnet.data.audio import write_audio
from espnet2_bspmpnet.data.datadir import DataDir, write_scp
from espnet2_bspmpnet.data.speech_level import FRAME, active, active_power
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.parallel import parallel_map
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

_VERSION = 1  # raise it whenever a sample of the corpus changes
# Streams of random numbers; `voices.voices` has the first.
_DEAL_VOICES, _DEAL_NOISES, _DEAL_SNRS, _TEXT, _SPEECH, _NOISE = range(2, 8)


class _Set(NamedTuple):
    data: str  # its data directory
    noises: tuple[str, ...]
    snrs: tuple[float, ...]  # dB


_SETS = {
    "train": _Set("tr_mini", tuple(noises.TRAIN), (0.0, 5.0, 10.0, 15.0)),
    "valid": _Set("cv_mini", tuple(noises.TRAIN), (0.0, 5.0, 10.0, 15.0)),
    "test": _Set("tt_mini", tuple(noises.TEST), (2.5, 7.5, 12.5, 17.5)),
}


class Utterance(NamedTuple):
    """What is said, by whom, and in which noise."""

    name: str
    key: tuple[int, int, int]  # seed, set, index: the root of all its randomness
    voice: Voice
    text: str
    noise: str
    snr: float  # dB


def prepare(
    corpus_dir: str | Path,
    data_dir: str | Path,
    seed: int = 0,
    nj: int = 1,
    num_train: int = 600,
    num_valid: int = 24,
    num_test: int = 24,
) -> None:
    """Make the corpus and its data directories tr_mini, cv_mini and tt_mini.

    What is there and fits the arguments is kept, so that an interrupted call can be
    repeated and a repeated call does nothing.

    Args:
        corpus_dir: for audio and logs.
        data_dir: for the data directories.
        seed: another seed gives other speakers, sentences and noises.
        nj: number of processes.
        num_train, num_valid, num_test: utterances, some three seconds each.

    Raises a UserError if the synthesiser is missing, a number is out of range, or
    `corpus_dir` holds another corpus.
    """
    corpus_dir, data_dir = Path(corpus_dir).absolute(), Path(data_dir).absolute()
    numbers = {"train": num_train, "valid": num_valid, "test": num_test}
    counts = [(f"num_{name}", number, 1) for name, number in numbers.items()]
    for name, number, least in (("seed", seed, 0), ("nj", nj, 1), *counts):
        if number < least:
            raise UserError(f"{name} {number}: give {least} or more")
    made_with = {"version": _VERSION, "seed": seed}
    sets = {name: plan(name, number, seed) for name, number in numbers.items()}
    audio = {name: _audio(corpus_dir, name, plan) for name, plan in sets.items()}
    jobs = [
        (utterance, audio[name][utterance.name])
        for name, utterances in sets.items()
        for utterance in utterances
    ]
    done = corpus_dir / ".done"
    if _read_json(done) == made_with | numbers and all(map(_is_made, jobs)):
        logging.info("%s: the mini corpus is complete already", corpus_dir)
    else:
        espeak.loader()
        _clear(corpus_dir, {path for _, paths in jobs for path in paths}, made_with)
        missing = [job for job in jobs if not _is_made(job)]
        parallel_map(_write_pair, missing, nj, "mini corpus")
    for name, utterances in sets.items():  # in place of other data's, perhaps
        log = {u.name: f"{u.noise} {u.snr:g}" for u in utterances}
        write_scp(corpus_dir / f"log_{name}set.txt", log)
        directory = DataDir.of_pairs(data_dir / _SETS[name].data, audio[name])
        directory.write(_tables(utterances))
    _write_json(done, made_with | numbers)


def plan(name: str, number: int, seed: int) -> list[Utterance]:
    """Return a number of utterances of "train", "valid" or "test", without a sound yet.

    Voices and noises are dealt like cards: each is used once before any comes again;
    so are the SNRs at which a noise returns.
    """
    root = (seed, list(_SETS).index(name))
    speakers = voices(name, seed)
    kinds, snrs = _SETS[name].noises, _SETS[name].snrs
    utterances = []
    for index in range(number):
        voice = _deal(speakers, index, (_DEAL_VOICES, *root))
        noise = _deal(kinds, index, (_DEAL_NOISES, *root))
        snr = _deal(snrs, index // len(kinds), (_DEAL_SNRS, *root, kinds.index(noise)))
        text = compose(np.random.default_rng([_TEXT, *root, index]))
        utterance = f"{voice.name}_{index + 1:03d}"
        utterances.append(Utterance(utterance, (*root, index), voice, text, noise, snr))
    return utterances


def render(utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy and clean speech, float64 [L] at 16 kHz, within [-1, 1]."""
    rng = np.random.default_rng([_SPEECH, *utterance.key])
    speech = _pad(utter(utterance.voice, utterance.text, rng), rng)
    # Recordings are levelled by their peaks (VoiceBank: -6 dB), and never silent.
    clean = speech * 10 ** (rng.uniform(-9, -4) / 20) / np.abs(speech).max()
    clean += 10 ** (rng.uniform(-74, -56) / 20) * noises.floor(rng, len(clean))

    rng = np.random.default_rng([_NOISE, *utterance.key])
    noise = noises.make(utterance.noise, rng, len(clean))
    level = 10 * np.log10(active_power(clean))  # dB
    noisy = clean + noise * 10 ** ((level - utterance.snr) / 20)
    gain = min(1.0, 0.99 / np.abs(noisy).max())
    return noisy * gain, clean * gain


def _pad(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut silence off both ends and put a random little back."""
    frames = np.flatnonzero(active(speech)) * FRAME
    # A little more than what counts as active: soft consonants begin and end it.
    speech = speech[max(frames[0] - 960, 0) : frames[-1] + 1920]
    fade = np.minimum(1, np.arange(1, len(speech) + 1) / 80)  # 5 ms: no clicks
    before, after = (rng.uniform(0, 0.3, 2) * SAMPLE_RATE).astype(int)
    return np.pad(speech * fade * fade[::-1], (before, after))


def _deal(cards: Sequence, index: int, root: tuple[int, ...]) -> Any:
    turn, place = divmod(index, len(cards))
    return cards[np.random.default_rng([*root, turn]).permutation(len(cards))[place]]


_Files = tuple[Path, Path]  # noisy and clean


def _audio(corpus_dir: Path, name: str, plan: list[Utterance]) -> dict[str, _Files]:
    noisy, clean = (corpus_dir / f"{side}_{name}set_wav" for side in ("noisy", "clean"))
    return {u.name: (noisy / f"{u.name}.wav", clean / f"{u.name}.wav") for u in plan}


def _is_made(job: tuple[Utterance, _Files]) -> bool:
    return all(path.is_file() for path in job[1])


def _write_pair(job: tuple[Utterance, _Files]) -> None:
    utterance, paths = job
    for path, wave in zip(paths, render(utterance), strict=True):
        write_audio(path, wave, SAMPLE_RATE)


def _clear(corpus_dir: Path, wanted: set[Path], made_with: dict[str, int]) -> None:
    """Remove what other arguments made, and nothing else."""
    marker = corpus_dir / ".made_with"
    before = _read_json(marker)
    found = {
        path
        for name in _SETS
        for side in ("clean", "noisy")
        for path in corpus_dir.glob(f"{side}_{name}set_wav/*")
    }
    if found and before is None:
        raise UserError(
            f"{corpus_dir}: holds audio that mini_corpus did not make; give an empty "
            "or new folder as --corpus_dir"
        )
    (corpus_dir / ".done").unlink(missing_ok=True)
    for path in found - wanted if before == made_with else found:
        path.unlink()
    _write_json(marker, made_with)


def _tables(utterances: list[Utterance]) -> dict[str, dict[str, str]]:
    spoken = {u.name: u.text.replace(",", "").rstrip(".").upper() for u in utterances}
    return {
        "text": spoken,
        "utt2noise": {u.name: u.noise for u in utterances},
        "utt2snr": {u.name: f"{u.snr:g}" for u in utterances},
    }


def _read_json(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
