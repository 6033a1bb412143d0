"""A user's own pairs: what is held out, and what is refused."""

import logging

import numpy as np
import pytest

from espnet2_bspmpnet.corpora import pairs
from espnet2_bspmpnet.data.audio import write_audio
from espnet2_bspmpnet.data.datadir import DataDir, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError

NAMES = {"train": "tr", "valid": "cv", "test": "tt"}
NONE_GIVEN = dict.fromkeys(("valid", "test"), (None, None))


def tone(path, length=160, rate=16000):
    write_audio(path, 0.1 * np.sin(np.arange(length)), rate)


def corpus(folder, names):
    """Write noisy and clean files of these names; return the two folders."""
    for side in ("noisy", "clean"):
        for name in names:
            tone(folder / side / f"{name}.wav")
    return {"noisy_dir": folder / "noisy", "clean_dir": folder / "clean"}


def prepare(folder, options, **given):
    """Prepare and return the three sets' utterances."""
    given = {**NONE_GIVEN, **given}
    pairs.prepare(**options, data_dir=folder / "data", names=NAMES, given=given)
    return [set(DataDir.read(folder / "data" / n).wav) for n in NAMES.values()]


def named(speakers, each):
    return [f"p{spk}_{utt:03d}" for spk in range(speakers) for utt in range(each)]


def test_whole_speakers_are_held_out_where_there_are_five(tmp_path):
    names = named(speakers=10, each=4)
    sets = prepare(tmp_path, corpus(tmp_path, names))
    assert set.union(*sets) == set(names)
    assert [len(part) for part in sets] == [32, 4, 4]
    speakers = [{name.split("_")[0] for name in part} for part in sets]
    assert [len(part) for part in speakers] == [8, 1, 1]
    assert len(set.union(*speakers)) == 10


def test_utterances_are_held_out_where_speakers_are_few(tmp_path):
    names = named(speakers=2, each=15)
    sets = prepare(tmp_path, corpus(tmp_path, names))
    assert [len(part) for part in sets] == [24, 3, 3]
    assert set.union(*sets) == set(names)


def test_at_least_two_are_held_out(tmp_path):
    sets = prepare(tmp_path, corpus(tmp_path, [f"clip{i}" for i in range(20)]))
    assert [len(part) for part in sets] == [16, 2, 2]


def test_one_dominant_speaker_is_no_reason_to_lose_the_training_set(tmp_path):
    names = ["a_1", "b_1", "c_1", "d_1", *(f"e_{i:02d}" for i in range(36))]
    sets = prepare(tmp_path, corpus(tmp_path, names))
    assert [len(part) for part in sets] == [32, 4, 4]


def test_the_choice_is_always_the_same(tmp_path):
    options = corpus(tmp_path, named(speakers=6, each=5))
    assert prepare(tmp_path / "one", options) == prepare(tmp_path / "two", options)


def test_few_pairs_serve_for_all_sets_and_a_warning_says_so(tmp_path, caplog):
    names = named(speakers=1, each=6)
    with caplog.at_level(logging.WARNING):
        sets = prepare(tmp_path, corpus(tmp_path, names))
    assert sets == [set(names)] * 3
    assert "only 6 training pairs" in caplog.text
    assert "NOT how the model does on other recordings" in caplog.text


def test_folders_of_their_own_are_used_and_nothing_is_held_out(tmp_path, caplog):
    options, given = corpus(tmp_path / "train", named(2, 3)), {}
    for part in ("valid", "test"):
        own = corpus(tmp_path / part, [f"{part}_{i}" for i in range(2)])
        given[part] = tuple(own.values())
    sets = prepare(tmp_path, options, **given)
    assert sets == [set(named(2, 3)), {"valid_0", "valid_1"}, {"test_0", "test_1"}]
    assert not caplog.records


def test_only_what_has_no_folder_is_held_out(tmp_path):
    options = corpus(tmp_path / "train", named(2, 10))
    own = tuple(corpus(tmp_path / "test", ["x_1"]).values())
    assert [len(part) for part in prepare(tmp_path, options, test=own)] == [18, 2, 1]


def test_paths_are_absolute_and_speakers_come_from_the_names(tmp_path, monkeypatch):
    corpus(tmp_path, ["p1_a_x", "solo"])
    monkeypatch.chdir(tmp_path)
    pairs.prepare("noisy", "clean", "data", NAMES, NONE_GIVEN)
    directory = DataDir.read("data/tr")
    assert directory.wav["solo"] == str(tmp_path / "noisy" / "solo.wav")
    assert directory.spk1["solo"] == str(tmp_path / "clean" / "solo.wav")
    assert read_scp("data/tr/utt2spk") == {"p1_a_x": "p1", "solo": "solo"}


def test_formats_may_differ_within_a_pair(tmp_path):
    tone(tmp_path / "noisy" / "a.flac")
    tone(tmp_path / "clean" / "a.wav")
    options = {"noisy_dir": tmp_path / "noisy", "clean_dir": tmp_path / "clean"}
    assert prepare(tmp_path, options) == [{"a"}] * 3


def test_files_without_a_partner_are_named(tmp_path):
    options = corpus(tmp_path, ["a", "b"])
    tone(tmp_path / "noisy" / "lonely.wav")
    tone(tmp_path / "clean" / "orphan.wav")
    with pytest.raises(UserError, match="lonely.*orphan"):
        prepare(tmp_path, options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: tone(path, length=100), "100"),
        (lambda path: tone(path, rate=8000), "8000"),
        (lambda path: path.write_bytes(b"no audio"), "cannot be read"),
        (lambda path: path.write_bytes(b""), "empty"),
    ],
)
def test_pairs_that_do_not_fit_are_named(tmp_path, damage, message):
    options = corpus(tmp_path, ["a", "b"])
    damage(tmp_path / "clean" / "b.wav")
    with pytest.raises(UserError, match=f"(?s)b.wav.*{message}"):
        prepare(tmp_path, options)
    assert not (tmp_path / "data").exists()


def test_a_missing_or_empty_folder_is_named(tmp_path):
    options = corpus(tmp_path, ["a"])
    with pytest.raises(UserError, match="nowhere"):
        prepare(tmp_path, {**options, "clean_dir": tmp_path / "nowhere"})
    (tmp_path / "hollow").mkdir()
    with pytest.raises(UserError, match="hollow"):
        prepare(tmp_path, {**options, "noisy_dir": tmp_path / "hollow"})


def test_noisy_and_clean_must_be_two_folders(tmp_path):
    options = corpus(tmp_path, ["a"])
    with pytest.raises(UserError, match="noisy and clean files alike"):
        prepare(tmp_path, {**options, "noisy_dir": options["clean_dir"]})


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_folder_without_its_partner_is_refused(tmp_path, part):
    options = corpus(tmp_path, ["a"])
    with pytest.raises(UserError, match=f"--{part}_noisy_dir and --{part}_clean_dir"):
        prepare(tmp_path, options, **{part: (None, options["clean_dir"])})


def test_the_sets_must_have_different_names(tmp_path):
    options = corpus(tmp_path, ["a"])
    with pytest.raises(UserError, match="different names"):
        names = {"train": "x", "valid": "x", "test": "y"}
        pairs.prepare(**options, data_dir=tmp_path, names=names, given=NONE_GIVEN)


def test_names_with_blanks_are_refused(tmp_path):
    options = corpus(tmp_path, ["my clip"])
    with pytest.raises(UserError, match="my clip.wav.*rename"):
        prepare(tmp_path, options)


def test_one_set_alone_is_a_data_directory_of_all_its_pairs(tmp_path):
    names = named(speakers=2, each=2)
    pairs.prepare_set(**corpus(tmp_path, names), data_dir=tmp_path / "data/tt_mine")
    made = DataDir.read(tmp_path / "data/tt_mine")
    assert set(made.wav) == set(made.spk1) == set(names)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tt_mine"]


def test_what_is_said_of_other_data_goes(tmp_path):
    for name in ("utt2snr", "utt2noise"):
        write_scp(tmp_path / "set" / name, {"other": "5"})
    pairs.prepare_set(**corpus(tmp_path, ["p1_a"]), data_dir=tmp_path / "set")
    made = {path.name for path in (tmp_path / "set").iterdir()}
    assert made == {"wav.scp", "spk1.scp", "utt2spk", "spk2utt"}
