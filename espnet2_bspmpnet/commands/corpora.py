"""Commands of stage 1: a corpus on disk becomes data directories."""

import argparse
from collections.abc import Callable

from espnet2_bspmpnet.commands.options import (
    add_nj,
    arguments,
    boolean,
    numbers,
    positive,
    words,
)
from espnet2_bspmpnet.sample_rate import sampling_rate

PARTS = {"train": "tr", "valid": "cv", "test": "tt"}  # and what WHAMR! calls them


def mini_corpus(options: argparse.Namespace) -> None:
    """Synthesise the embedded corpus and its data directories."""
    from espnet2_bspmpnet.corpora.mini import corpus

    corpus.prepare(**arguments(options))


def pairs_corpus(options: argparse.Namespace) -> None:
    """Make data directories from your own folders of noisy and clean files."""
    from espnet2_bspmpnet.corpora import pairs

    pairs.prepare(**_with_sets(arguments(options)))


def mixed_corpus(options: argparse.Namespace) -> None:
    """Make data directories from your own folders of clean speech and of noise."""
    from espnet2_bspmpnet.corpora import mixed

    mixed.prepare(**_with_sets(arguments(options)))


def pairs_set(options: argparse.Namespace) -> None:
    """Make one data directory of pairs, such as a further test set."""
    from espnet2_bspmpnet.corpora import pairs

    pairs.prepare_set(**arguments(options))


def vctk_noisy(options: argparse.Namespace) -> None:
    """Make the data directories of VoiceBank+DEMAND; download it if need be."""
    from espnet2_bspmpnet.corpora import vctk_noisy

    vctk_noisy.prepare(**arguments(options))


def whamr_generate(options: argparse.Namespace) -> None:
    """Generate WHAMR! from WSJ0 and the WHAM! noise, which is downloaded if need be."""
    from espnet2_bspmpnet.corpora.whamr import mixing

    mixing.generate(**_with_counts(arguments(options)))


def whamr(options: argparse.Namespace) -> None:
    """Make data directories from a generated WHAMR!, and check it."""
    from espnet2_bspmpnet.corpora.whamr import datasets

    datasets.prepare(**_with_counts(arguments(options)))


def _with_sets(values: dict) -> dict:
    names = {part: values.pop(f"{part}_set") for part in PARTS}
    given = {
        part: (values.pop(f"{part}_noisy_dir"), values.pop(f"{part}_clean_dir"))
        for part in ("valid", "test")
    }
    return {**values, "names": names, "given": given}


def _with_counts(values: dict) -> dict:
    counts = {split: values.pop(f"num_{part}") for part, split in PARTS.items()}
    return {**values, "counts": counts}


def add_commands(add: Callable) -> None:
    """Add these commands to the command line by `add(function)`."""
    argument = add(mini_corpus)
    argument("--corpus_dir", required=True, help="for audio and logs")
    argument("--data_dir", required=True, help="for the data directories")
    argument("--seed", type=int, default=0, help="same seed, same samples")
    for part, count in zip(PARTS, (600, 24, 24)):
        what = f"utterances of the {part} set"
        argument(f"--num_{part}", type=positive, default=count, help=what)
    add_nj(argument)
    _add_own_data(add)

    argument = add(vctk_noisy)
    argument("--data_dir", required=True, help="for the data directories")
    argument("--downloads", required=True, help="for archives and what is unpacked")
    argument("--root", help="where the database is; by default it is downloaded")
    argument("--url", help="folder on another server that has the archives")
    unchecked = "false: take archives and numbers of files as they are"
    argument("--check_counts", type=boolean, default=True, help=unchecked)
    argument("--fs", type=sampling_rate, default="16k", help="sampling rate")
    add_nj(argument)
    _add_whamr(add)


def _add_own_data(add: Callable) -> None:
    for function in (pairs_corpus, mixed_corpus, pairs_set):
        argument = add(function)
        if function is mixed_corpus:
            argument("--clean_dir", required=True, help="folder of clean speech")
            argument("--noise_dir", required=True, help="folder of noises")
            argument("--rir_dir", help="folder of room impulse responses")
            argument("--splits", help='file of "<path> <train|valid|test>"')
            argument("--corpus_dir", required=True, help="for mixtures that stay")
            what = "lowest and highest SNR in dB"
            argument("--snr_range", type=numbers, default="0 15", help=what)
            argument("--seed", type=int, default=0, help="same seed, same mixtures")
        else:
            argument("--noisy_dir", required=True, help="folder of noisy files")
            argument("--clean_dir", required=True, help="of clean files, same names")
        if function is pairs_set:
            argument("--data_dir", required=True, help="to make, such as data/tt_mine")
        else:
            _add_sets(argument)


def _add_sets(argument: Callable) -> None:
    argument("--data_dir", required=True, help="for the data directories")
    for part in ("valid", "test"):
        argument(f"--{part}_noisy_dir", help=f"noisy files of the {part} set")
        argument(f"--{part}_clean_dir", help=f"clean files of the {part} set")
    for part in PARTS:
        argument(f"--{part}_set", required=True, help=f"name of the {part} set")


def _add_whamr(add: Callable) -> None:
    for function in (whamr_generate, whamr):
        argument = add(function)
        argument("--whamr_dir", required=True, help="holds wav16k/")
        modes = ("min", "max")
        argument("--mode", choices=modes, default="min", help="length of mixtures")
        for part, count in zip(PARTS, (20000, 5000, 3000)):
            what = f"utterances that the {part} set must have"
            argument(f"--num_{part}", type=positive, default=count, help=what)
        argument("--wham_noise", help="folder of the WHAM! noise")
        add_nj(argument)
        if function is whamr:
            argument("--data_dir", required=True, help="for the data directories")
            every = "reverb noisy noisy_reverb"
            argument("--conditions", type=words, default=every, help="which to prepare")
        else:
            argument("--wsj0", required=True, help="folder of WSJ0 (LDC93S6A)")
            argument("--lists", help="data/ of WHAMR!'s scripts; default: downloaded")
            argument("--download_dir", default="downloads", help="for downloads")
            argument("--url", help="address of a folder with copies of these")
