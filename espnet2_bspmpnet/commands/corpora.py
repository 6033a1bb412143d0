"""Commands of stage 1: a corpus on disk becomes data directories."""

import argparse
from collections.abc import Callable

from espnet2_bspmpnet.commands.options import (
    add_nj,
    arguments,
    boolean,
    numbers,
    positive,
    sampling_rate,
    words,
)


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


def _with_sets(arguments: dict) -> dict:
    names = {part: arguments.pop(f"{part}_set") for part in ("train", "valid", "test")}
    given = {
        part: tuple(arguments.pop(f"{part}_{side}_dir") for side in ("noisy", "clean"))
        for part in ("valid", "test")
    }
    return {**arguments, "names": names, "given": given}


def _with_counts(arguments: dict) -> dict:
    counts = {
        split: arguments.pop(f"num_{name}")
        for split, name in (("tr", "train"), ("cv", "valid"), ("tt", "test"))
    }
    return {**arguments, "counts": counts}


def add_commands(add: Callable) -> None:
    """Add these commands to the command line by `add(function)`."""
    argument = add(mini_corpus)
    argument("--corpus_dir", required=True, help="for audio and logs")
    argument("--data_dir", required=True, help="for the data directories")
    argument("--seed", type=int, default=0, help="same seed, same samples")
    argument("--num_train", type=positive, default=600, help="training utterances")
    argument("--num_valid", type=positive, default=24, help="validation utterances")
    argument("--num_test", type=positive, default=24, help="test utterances")
    add_nj(argument)

    for function in (pairs_corpus, mixed_corpus):
        argument = add(function)
        if function is pairs_corpus:
            argument("--noisy_dir", required=True, help="folder of noisy files")
            argument(
                "--clean_dir", required=True, help="folder of clean files, same names"
            )
        else:
            argument("--clean_dir", required=True, help="folder of clean speech")
            argument("--noise_dir", required=True, help="folder of noises")
            argument("--corpus_dir", required=True, help="for mixtures that stay")
            argument(
                "--snr_range",
                type=numbers,
                default="0 15",
                help="lowest and highest SNR in dB",
            )
            argument("--seed", type=int, default=0, help="same seed, same mixtures")
        for part in ("valid", "test"):
            argument(f"--{part}_noisy_dir", help=f"noisy files of the {part} set")
            argument(f"--{part}_clean_dir", help=f"clean files of the {part} set")
        argument("--data_dir", required=True, help="for the data directories")
        for part in ("train", "valid", "test"):
            argument(f"--{part}_set", required=True, help=f"name of the {part} set")

    argument = add(pairs_set)
    argument("--noisy_dir", required=True, help="folder of noisy files")
    argument("--clean_dir", required=True, help="folder of clean files, same names")
    argument("--data_dir", required=True, help="to make, such as data/tt_mine")

    argument = add(vctk_noisy)
    argument("--data_dir", required=True, help="for the data directories")
    argument("--downloads", required=True, help="for archives and what is unpacked")
    argument("--root", help="where the database is; by default it is downloaded")
    argument("--url", help="a server's folder that has the archives, too")
    argument(
        "--check_counts",
        type=boolean,
        default=True,
        help="false: take archives and numbers of files as they are",
    )
    argument("--fs", type=sampling_rate, default="16k", help="sampling rate")
    add_nj(argument)

    for function in (whamr_generate, whamr):
        argument = add(function)
        argument("--whamr_dir", required=True, help="holds wav16k/")
        argument(
            "--mode", choices=("min", "max"), default="min", help="length of mixtures"
        )
        for name, count in (("train", 20000), ("valid", 5000), ("test", 3000)):
            argument(
                f"--num_{name}",
                type=positive,
                default=count,
                help=f"utterances that the {name} set must have",
            )
        argument("--wham_noise", help="folder of the WHAM! noise")
        add_nj(argument)
        if function is whamr:
            argument("--data_dir", required=True, help="for the data directories")
            argument(
                "--conditions",
                type=words,
                default="reverb noisy noisy_reverb",
                help="which to prepare",
            )
        else:
            argument("--wsj0", required=True, help="folder of WSJ0 (LDC93S6A)")
            argument("--lists", help="data/ of WHAMR!'s scripts; default: downloaded")
            argument("--download_dir", default="downloads", help="for downloads")
            argument("--url", help="address of a folder with copies of these")
