"""The mini corpus: what it promises about voices, noises, levels and repetition."""

import numpy as np
import pytest

from espnet2_bspmpnet.corpora.mini import corpus
from espnet2_bspmpnet.data.audio import read_audio
from espnet2_bspmpnet.data.datadir import DataDir, check_pairs, read_scp
from espnet2_bspmpnet.errors import UserError
from tests.speech import measure_snr

pytest.importorskip("espeakng_loader", reason="the extra [mini] is not installed")

SMALL = {"num_train": 4, "num_valid": 2, "num_test": 3}
SETS = {"train": "tr_mini", "valid": "cv_mini", "test": "tt_mini"}


def contents(folder):
    """Return every file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    corpus.prepare(folder / "corpus", folder / "data", **SMALL)
    return folder


def test_data_directories_are_whole_and_their_pairs_fit(made):
    for (name, data), number in zip(SETS.items(), SMALL.values(), strict=True):
        directory = DataDir.read(made / "data" / data)
        check_pairs(directory)
        assert len(directory.wav) == number
        for extra in ("text", "utt2snr", "utt2noise"):
            assert list(read_scp(directory.path / extra)) == sorted(directory.wav)
        log = read_scp(made / "corpus" / f"log_{name}set.txt")
        noise = read_scp(directory.path / "utt2noise")
        snr = read_scp(directory.path / "utt2snr")
        assert log == {utt: f"{noise[utt]} {snr[utt]}" for utt in directory.wav}


def test_files_have_the_snr_that_the_log_says_and_never_clip(made):
    for data in SETS.values():
        directory = DataDir.read(made / "data" / data)
        snr = read_scp(directory.path / "utt2snr")
        for utt in directory.wav:
            noisy, rate = read_audio(directory.wav[utt])
            clean, _ = read_audio(directory.spk1[utt])
            assert rate == 16000
            assert 1 < len(clean) / rate < 8
            assert np.abs(noisy).max() < 0.999
            assert np.abs(clean).max() < 0.999
            assert measure_snr(clean, noisy) == pytest.approx(float(snr[utt]), abs=0.2)


def test_files_do_not_depend_on_the_number_of_processes(made, tmp_path):
    corpus.prepare(tmp_path / "corpus", tmp_path / "data", nj=2, **SMALL)
    assert contents(tmp_path / "corpus") == contents(made / "corpus")


def test_an_utterance_does_not_depend_on_what_was_made_before():
    first, second = corpus.plan("train", 2, seed=0)
    alone = corpus.render(second)
    corpus.render(first)
    for left, right in zip(alone, corpus.render(second), strict=True):
        np.testing.assert_array_equal(left, right)


def test_another_seed_gives_other_speech_and_noise():
    plans = corpus.plan("test", 2, seed=0), corpus.plan("test", 2, seed=1)
    for utt, other in zip(*plans, strict=True):
        assert utt.text != other.text
        assert utt.voice != other.voice
        assert len(corpus.render(utt)[0]) != len(corpus.render(other)[0])


def test_more_utterances_leave_the_first_ones_as_they_are():
    assert corpus.plan("train", 50, seed=3)[:20] == corpus.plan("train", 20, seed=3)


def test_voices_and_noises_of_the_test_set_are_unseen_in_training():
    train, valid, test = (corpus.plan(name, 600, seed=0) for name in SETS)
    speakers = [{utt.voice.name for utt in plan} for plan in (train, valid, test)]
    assert [len(names) for names in speakers] == [32, 2, 8]
    assert not speakers[0] & speakers[1]
    assert not speakers[2] & (speakers[0] | speakers[1])
    variant, accent = (
        [
            {utt.voice.espeak.split("+")[part] for utt in plan}
            for plan in (train, valid, test)
        ]
        for part in (1, 0)
    )
    assert not variant[0] & variant[2] and not accent[0] & accent[2]
    assert {utt.noise for utt in train} == {utt.noise for utt in valid}
    assert len({utt.noise for utt in train}) >= 8
    assert not {utt.noise for utt in train} & {utt.noise for utt in test}


def test_every_noise_occurs_at_every_snr_equally_often():
    plan = corpus.plan("train", 80, seed=5)
    conditions = [(utt.noise, utt.snr) for utt in plan]
    assert {conditions.count(condition) for condition in conditions} == {2}
    assert {utt.snr for utt in plan} == {0, 5, 10, 15}
    assert {utt.snr for utt in corpus.plan("test", 20, 5)} == {2.5, 7.5, 12.5, 17.5}
    kinds = [utt.noise for utt in corpus.plan("test", 24, 5)]
    assert {kinds.count(kind) for kind in kinds} == {4, 5}


def test_speech_has_the_spectrum_of_recordings(made):
    power = 0
    for path in (made / "corpus" / "clean_trainset_wav").iterdir():
        wave, _ = read_audio(path)
        frames = wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512)
        power = power + np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)
    low, middle, high = (
        10 * np.log10(power[first:last].mean())
        for first, last in ((5, 19), (38, 64), (128, 224))  # 0.15-0.6, 1.2-2, 4-7 kHz
    )
    assert 10 < low - middle < 24
    assert 18 < low - high < 36


def test_a_finished_corpus_is_left_alone(made):
    before = times(made)
    corpus.prepare(made / "corpus", made / "data", **SMALL)
    after = times(made)
    assert all(after[path] == before[path] for path in before if path.suffix == ".wav")


def test_data_directories_of_other_data_are_replaced(made, tmp_path):
    corpus.prepare(made / "corpus", tmp_path, **SMALL)
    before = contents(tmp_path)
    other = {"x": "/my/x.wav"}
    DataDir(tmp_path / "tt_mini", other, other, {"x": "me"}).write()
    corpus.prepare(made / "corpus", tmp_path, **SMALL)
    assert contents(tmp_path) == before


def test_an_interrupted_corpus_is_completed_and_keeps_what_is_good(made, tmp_path):
    corpus.prepare(tmp_path / "corpus", tmp_path / "data", **SMALL)
    (tmp_path / "corpus" / ".done").unlink()
    lost, *kept = sorted((tmp_path / "corpus").glob("*/*.wav"))
    lost.unlink()
    torn = lost.with_name(f".{lost.name}.1.tmp")
    torn.write_bytes(b"RIFF")
    before = {path: path.stat().st_mtime_ns for path in kept}
    corpus.prepare(tmp_path / "corpus", tmp_path / "data", **SMALL)
    assert contents(tmp_path / "corpus") == contents(made / "corpus")
    partner = str(lost).replace("clean_", "noisy_")
    changed = {str(p) for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert changed <= {partner}


def test_changed_arguments_make_the_corpus_again(made, tmp_path):
    tree, data = tmp_path / "corpus", tmp_path / "data"
    one = {"num_train": 1, "num_valid": 1, "num_test": 1}
    corpus.prepare(tree, data, seed=1, **one)
    other = contents(tree)
    corpus.prepare(tree, data, seed=0, **SMALL)
    assert contents(tree) == contents(made / "corpus")
    assert len(DataDir.read(data / "tr_mini").wav) == SMALL["num_train"]
    corpus.prepare(tree, data, seed=1, **one)
    assert contents(tree) == other


def test_data_directories_can_go_to_another_place(made, tmp_path):
    before = times(made / "corpus")
    corpus.prepare(made / "corpus", tmp_path, **SMALL)
    assert DataDir.read(tmp_path / "tt_mini").wav
    after = times(made / "corpus")
    assert all(after[path] == before[path] for path in after if path.suffix == ".wav")


def test_a_folder_with_other_audio_is_refused(tmp_path):
    theirs = tmp_path / "clean_trainset_wav" / "p226_001.wav"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    with pytest.raises(UserError, match="did not make.*--corpus_dir"):
        corpus.prepare(tmp_path, tmp_path / "data", **SMALL)
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"nj": 0}, {"num_train": 0}, {"num_test": -2}]
)
def test_impossible_numbers_are_named(tmp_path, wrong):
    with pytest.raises(UserError, match=" ".join(map(str, *wrong.items()))):
        corpus.prepare(tmp_path / "c", tmp_path / "d", **{**SMALL, **wrong})


def test_a_missing_synthesiser_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="'python -m pip install espeakng-loader'"):
        corpus.prepare(tmp_path / "corpus", tmp_path / "data", **SMALL)
    assert not (tmp_path / "corpus").exists()
