"""The mini corpus: noisy and clean speech made on the spot, offline.

It has the form of VoiceBank+DEMAND: 16 kHz files in {clean,noisy}_trainset_wav (and
validset, testset), log files that give noise and SNR of each utterance, ten kinds of
noise at 0, 5, 10 and 15 dB for training and five others at 2.5, 7.5, 12.5 and
17.5 dB for testing, with voices that the training set does not hold. As in that
corpus, SNR is the level of active speech over that of the noise; active are the 20 ms
frames at most 30 dB below the loud ones (see `voices.active`).

Speech comes from eSpeak NG, noise from formulas; nothing is a recording. Every
utterance depends on (seed, set, index) alone: neither the number of processes nor an
interruption changes a sample.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.corpora.mini import espeak, noises
from espnet2_bspmpnet.corpora.mini.sentences import compose
from espnet2_bspmpnet.corpora.mini.voices import (
    SAMPLE_RATE,
    Voice,
    active,
    utter,
    voices,
)
from espnet2_bspmpnet.data.audio import write_audio
from espnet2_bspmpnet.data.datadir import DataDir, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.parallel import parallel_map

_VERSION = 1  # raise it whenever a sample of the corpus changes
# Streams of random numbers; `voices.voices` has the first.
_DEAL_VOICES, _DEAL_NOISES, _DEAL_SNRS, _TEXT, _SPEECH, _NOISE = range(2, 8)
_TRAIN_SNR = (0.0, 5.0, 10.0, 15.0)  # dB
_TEST_SNR = (2.5, 7.5, 12.5, 17.5)  # dB


@dataclass(frozen=True)
class _Set:
    data: str  # its data directory
    noises: tuple[str, ...]
    snrs: tuple[float, ...]


_SETS = {
    "train": _Set("tr_mini", tuple(noises.TRAIN), _TRAIN_SNR),
    "valid": _Set("cv_mini", tuple(noises.TRAIN), _TRAIN_SNR),
    "test": _Set("tt_mini", tuple(noises.TEST), _TEST_SNR),
}


@dataclass(frozen=True)
class Utterance:
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
        num_train: utterances for training, some three seconds each.
        num_valid: for validation.
        num_test: for testing.

    Raises:
        UserError: the synthesiser is missing, a number is out of range, or
            `corpus_dir` holds another corpus.
    """
    corpus_dir, data_dir = Path(corpus_dir).absolute(), Path(data_dir).absolute()
    numbers = {"train": num_train, "valid": num_valid, "test": num_test}
    _check_numbers(seed, nj, numbers)
    made_with = {"version": _VERSION, "seed": seed}
    wanted = {**made_with, **numbers}
    sets = {name: plan(name, number, seed) for name, number in numbers.items()}
    if _is_done(corpus_dir, sets, wanted):
        logging.info("%s: the mini corpus is complete already", corpus_dir)
    else:
        espeak.loader()
        _clear(corpus_dir, sets, made_with)
        _synthesise(corpus_dir, sets, nj)
    for name, utterances in sets.items():  # in place of other data's, perhaps
        _describe(corpus_dir, data_dir, name, utterances)
    _write_json(corpus_dir / ".done", wanted)


def plan(name: str, number: int, seed: int) -> list[Utterance]:
    """Return the utterances of a set, without a sound yet.

    Voices and noises are dealt like cards: each is used once before any comes again;
    so are the SNRs at which a noise returns.

    Args:
        name: "train", "valid" or "test".
        number: of utterances.
        seed: of the corpus.
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
        utterances.append(
            Utterance(
                f"{voice.name}_{index + 1:03d}", (*root, index), voice, text, noise, snr
            )
        )
    return utterances


def render(utterance: Utterance) -> tuple[np.ndarray, np.ndarray]:
    """Return clean and noisy speech, float64 [L] at 16 kHz, within [-1, 1].

    Args:
        utterance: what to make.
    """
    rng = np.random.default_rng([_SPEECH, *utterance.key])
    speech = _pad(utter(utterance.voice, utterance.text, rng), rng)
    # Recordings are levelled by their peaks (VoiceBank: -6 dB), and never silent.
    clean = speech * 10 ** (rng.uniform(-9, -4) / 20) / np.abs(speech).max()
    floor = 10 ** (rng.uniform(-74, -56) / 20) * noises.floor(rng, len(clean))
    clean = clean + floor

    rng = np.random.default_rng([_NOISE, *utterance.key])
    noise = noises.make(utterance.noise, rng, len(clean))
    noisy = clean + noise * 10 ** ((_active_level(clean) - utterance.snr) / 20)
    gain = min(1.0, 0.99 / np.abs(noisy).max())
    return clean * gain, noisy * gain


def measure_snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    """Return level of active speech over level of the noise, in dB.

    Args:
        clean: [L].
        noisy: [L].
    """
    return _active_level(clean) - 10 * np.log10(np.mean((noisy - clean) ** 2))


def _active_level(clean):
    frames = clean[: len(clean) // 320 * 320].reshape(-1, 320)
    return 10 * np.log10(np.mean(frames[active(clean)] ** 2))


def _pad(speech, rng):
    """Cut silence off both ends and put a random little back."""
    frames = np.flatnonzero(active(speech)) * 320
    # A little more than what counts as active: soft consonants begin and end it.
    speech = speech[max(frames[0] - 960, 0) : frames[-1] + 1920]
    fade = np.minimum(1, np.arange(1, len(speech) + 1) / 80)  # 5 ms: no clicks
    before, after = (rng.uniform(0, 0.3, 2) * SAMPLE_RATE).astype(int)
    return np.pad(speech * fade * fade[::-1], (before, after))


def _deal(cards: Sequence, index: int, root: tuple[int, ...]):
    turn, place = divmod(index, len(cards))
    return cards[np.random.default_rng([*root, turn]).permutation(len(cards))[place]]


def _check_numbers(seed, nj, numbers):
    if seed < 0:
        raise UserError(f"seed {seed} is negative: give 0 or more")
    if nj < 1:
        raise UserError(f"nj {nj}: at least one process is needed")
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"num_{name} {number}: at least one utterance is needed")


def _audio(corpus_dir, name, utterance):
    return tuple(
        corpus_dir / f"{side}_{name}set_wav" / f"{utterance.name}.wav"
        for side in ("clean", "noisy")
    )


def _is_done(corpus_dir, sets, wanted):
    return _read_json(corpus_dir / ".done") == wanted and all(
        path.is_file()
        for name, utterances in sets.items()
        for utterance in utterances
        for path in _audio(corpus_dir, name, utterance)
    )


def _clear(corpus_dir, sets, made_with):
    """Remove what other arguments made, and nothing else."""
    marker = corpus_dir / ".made_with"
    before = _read_json(marker)
    found = {
        path
        for name in sets
        for side in ("clean", "noisy")
        for path in corpus_dir.glob(f"{side}_{name}set_wav/*")
    }
    if found and before is None:
        raise UserError(
            f"{corpus_dir}: holds audio that mini_corpus did not make; give an empty "
            "or new folder as --corpus_dir"
        )
    (corpus_dir / ".done").unlink(missing_ok=True)
    if before == made_with:
        found -= {
            path
            for name, utterances in sets.items()
            for utterance in utterances
            for path in _audio(corpus_dir, name, utterance)
        }
    for path in found:
        path.unlink()
    _write_json(marker, made_with)


def _synthesise(corpus_dir, sets, nj):
    jobs = [
        (utterance, paths)
        for name, utterances in sets.items()
        for utterance in utterances
        for paths in [_audio(corpus_dir, name, utterance)]
        if not all(path.is_file() for path in paths)
    ]
    parallel_map(_write_pair, jobs, nj, "mini corpus")


def _write_pair(job):
    utterance, paths = job
    for path, wave in zip(paths, render(utterance), strict=True):
        write_audio(path, wave, SAMPLE_RATE)


def _describe(corpus_dir, data_dir, name, utterances):
    """Write a set's log and data directory."""
    write_scp(
        corpus_dir / f"log_{name}set.txt",
        {u.name: f"{u.noise} {u.snr:g}" for u in utterances},
    )
    audio = {u.name: _audio(corpus_dir, name, u) for u in utterances}
    target = data_dir / _SETS[name].data
    write_scp(target / "text", {u.name: _words(u.text) for u in utterances})
    write_scp(target / "utt2noise", {u.name: u.noise for u in utterances})
    write_scp(target / "utt2snr", {u.name: f"{u.snr:g}" for u in utterances})
    DataDir(
        target,
        wav={utt: str(noisy) for utt, (_, noisy) in audio.items()},
        spk1={utt: str(clean) for utt, (clean, _) in audio.items()},
        utt2spk={u.name: u.voice.name for u in utterances},
    ).write()


def _words(text):
    return text.replace(",", "").rstrip(".").upper()


def _read_json(path):
    return json.loads(path.read_text()) if path.is_file() else None


def _write_json(path, content):
    write_text(path, json.dumps(content, indent=1) + "\n")
