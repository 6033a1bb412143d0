"""A generated WHAMR! becomes data directories, one for each condition and split."""

import shutil

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.corpora.whamr import datasets
from espnet2_bspmpnet.data.datadir import DataDir, check_pairs, read_scp
from espnet2_bspmpnet.errors import UserError
from tests.miniatures.whamr import COUNTS


@pytest.mark.parametrize("mode", ["min", "max"])
def test_each_condition_has_its_sets_and_all_speak_of_the_anechoic_target(
    tree, sources, tmp_path, mode
):
    datasets.prepare(
        tree, tmp_path, mode=mode, counts=COUNTS, wham_noise=sources / "wham_noise"
    )
    for split, count in COUNTS.items():
        for condition, signal in (
            ("reverb", "s1_reverb"),
            ("noisy", "mix_single_anechoic"),
            ("noisy_reverb", "mix_single_reverb"),
        ):
            made = DataDir.read(tmp_path / f"{split}_{condition}")
            check_pairs(made)
            assert len(made.wav) == count
            top = tree / "wav16k" / mode / split
            for utterance, path in made.wav.items():
                name = f"{utterance.removesuffix('_' + condition)}.wav"
                assert path == str(top / signal / name)
                assert made.spk1[utterance] == str(top / "s1_anechoic" / name)
                assert made.utt2spk[utterance] == utterance[:3]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{s}_{c}" for s in COUNTS for c in datasets.CONDITIONS] + ["tr_all", "cv_all"]
    )
    snrs = read_scp(tmp_path / "tr_all/utt2snr")
    assert len(snrs) == 2 * COUNTS["tr"]  # not of reverb
    assert all(-6 <= float(snr) <= 3 for snr in snrs.values())


def test_all_is_every_conditions_utterances_each_under_its_own_id(tree, tmp_path):
    datasets.prepare(tree, tmp_path, counts=COUNTS)
    parts = [DataDir.read(tmp_path / f"tr_{c}").wav for c in datasets.CONDITIONS]
    every = DataDir.read(tmp_path / "tr_all").wav
    assert every == {**parts[0], **parts[1], **parts[2]}
    assert len(every) == 3 * COUNTS["tr"]
    assert not (tmp_path / "tr_all/utt2snr").exists()


def test_a_condition_alone_needs_only_its_folders(own_tree, tmp_path):
    for folder in own_tree.glob("wav16k/min/*/mix_single_reverb"):
        shutil.rmtree(folder)
    data = tmp_path / "data"
    with pytest.raises(UserError, match="mix_single_reverb: no such folder.*--cond"):
        datasets.prepare(own_tree, data, counts=COUNTS)
    assert not data.exists()
    datasets.prepare(own_tree, data, counts=COUNTS, conditions=["noisy", "reverb"])
    assert len(DataDir.read(data / "tr_all").wav) == 2 * COUNTS["tr"]


def one_file(tree, signal="s1_reverb"):
    """A file of the tree to be damaged."""
    return sorted(tree.glob(f"wav16k/min/cv/{signal}/*.wav"))[0]


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda tree: (tree / "wav16k").rename(tree / "wav8k"),
            "looked for wav16k/min in it, found wav8k/max, wav8k/min",
        ),
        (
            lambda tree: (tree / "wav16k").rename(tree / "other"),
            "looked for wav16k/min in it, found no wav",
        ),
        (shutil.rmtree, "no such folder"),
        (lambda tree: one_file(tree).unlink(), "ids differ: 1 only in .*s1_anechoic"),
        (
            lambda tree: [path.unlink() for path in tree.glob("*/min/cv/*/01*")],
            "has 1 utterances in place of 2.*--num_train",
        ),
        (
            lambda tree: soundfile.write(one_file(tree), np.zeros(99), 8000),
            "(?s)8000 Hz in place of 16000.*lengths differ .*s1_reverb 99",
        ),
        (
            lambda tree: soundfile.write(one_file(tree), np.zeros((99, 2)), 16000),
            "has 2 channels; generate mono audio",
        ),
        (
            lambda tree: one_file(tree).write_bytes(one_file(tree).read_bytes()[:9000]),
            "1 of 2 failed.*(?s:.*)truncated",
        ),
        (lambda tree: one_file(tree).write_bytes(b""), "is empty"),
    ],
)
def test_a_wrong_tree_is_reported_and_nothing_is_written(
    own_tree, tmp_path, damage, message
):
    damage(own_tree)
    with pytest.raises(UserError, match=message):
        datasets.prepare(own_tree, tmp_path / "data", counts=COUNTS)
    assert not (tmp_path / "data").exists()


def test_numbers_are_checked_unless_others_are_given(tree, tmp_path):
    with pytest.raises(UserError, match="has 6 utterances in place of 20000"):
        datasets.prepare(tree, tmp_path / "data")


def test_an_unknown_condition_is_refused(tree, tmp_path):
    with pytest.raises(
        UserError, match="conditions echo, mode min: use some of reverb"
    ):
        datasets.prepare(tree, tmp_path, counts=COUNTS, conditions=["echo"])
