"""A user's own clean speech and noises: mixed in each epoch of training, once for tests."""

import logging

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.corpora import mixed
from espnet2_bspmpnet.data.audio import read_audio, resample
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.errors import UserError
from tests.speech import measure_snr, speechlike

NAMES = {"train": "tr", "valid": "cv", "test": "tt"}


def put(path, wave, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twenty clean files of ten speakers and five noises, of several rates."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for number in range(20):
        rate = (16000, 22050)[number % 2]
        wave = speechlike(0.6 + 0.02 * number, rate, number)
        put(folder / "clean" / f"s{number % 10}_{number:02d}.wav", wave, rate)
    for number in range(5):
        wave = 0.1 * random.standard_normal(4000 + 16000 * number)
        put(folder / "noise" / f"n{number}.wav", wave, 16000)
    return {"clean_dir": folder / "clean", "noise_dir": folder / "noise"}


def prepare(folder, options, test=(None, None), **more):
    mixed.prepare(
        **options,
        corpus_dir=folder / "corpus",
        data_dir=folder / "data",
        names=NAMES,
        given={"valid": (None, None), "test": test},
        **more,
    )
    return {name: DataDir.read(folder / "data" / name) for name in NAMES.values()}


def noises(folder):
    return set(read_scp(folder / "data/tr_noise/wav.scp"))


def test_training_has_clean_speech_to_be_mixed_with_noises_of_its_own(
    folders, tmp_path
):
    sets = prepare(tmp_path, folders, snr_range=(-5.0, 12.5))
    assert [len(one.wav) for one in sets.values()] == [16, 2, 2]
    assert sets["tr"].wav == sets["tr"].spk1
    assert (tmp_path / "data/tr_noise/noise_db_range").read_text() == "-5_12.5\n"
    heard = [noises(tmp_path)]
    for name in ("cv", "tt"):
        heard.append(set(read_scp(tmp_path / "data" / name / "utt2noise").values()))
    assert len(heard[0]) == 3
    assert sum(map(len, heard)) == len(set.union(*heard)) == 5
    speakers = [set(one.utt2spk.values()) for one in sets.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 10
    noise_set = DataDir.read(tmp_path / "data/tr_noise", need_reference=False)
    assert noise_set.spk1 is None


def test_mixtures_that_stay_have_the_snr_that_is_written_down(folders, tmp_path):
    sets = prepare(tmp_path, folders, snr_range=(0.0, 10.0))
    for name in ("cv", "tt"):
        snrs = read_scp(tmp_path / "data" / name / "utt2snr")
        for utterance, path in sets[name].wav.items():
            noisy, rate = read_audio(path)
            clean, clean_rate = read_audio(sets[name].spk1[utterance])
            assert rate == clean_rate == 16000
            snr = measure_snr(clean, noisy)
            assert snr == pytest.approx(float(snrs[utterance]), abs=0.1)
            assert 0 <= snr <= 10


def test_noise_that_the_model_does_not_hear_does_not_count(folders, tmp_path):
    for number in range(3):
        hiss = 0.1 * np.random.default_rng(number).standard_normal(48000)
        put(tmp_path / f"hiss/n{number}.wav", hiss, 48000)
    for number in range(3):
        put(tmp_path / f"clean/a_{number}.wav", speechlike(0.5, 48000, number), 48000)
    options = {"clean_dir": tmp_path / "clean", "noise_dir": tmp_path / "hiss"}
    tests = prepare(tmp_path, options, snr_range=(5.0, 5.0))["tt"]
    for utterance in tests.wav:
        wave = {
            side: resample(*read_audio(getattr(tests, side)[utterance]), 16000)
            for side in ("wav", "spk1")
        }
        assert measure_snr(wave["spk1"], wave["wav"]) == pytest.approx(5, abs=0.1)


def test_the_same_seed_gives_the_same_mixtures_and_another_one_others(
    folders, tmp_path
):
    def samples(name, seed):
        tests = prepare(tmp_path / name, folders, seed=seed)["tt"]
        return [read_audio(path)[0].tobytes() for path in tests.wav.values()]

    one, again, other = samples("a", 0), samples("b", 0), samples("c", 1)
    assert one == again
    assert not set(one) & set(other)


def test_folders_of_their_own_are_taken_as_they_are(folders, tmp_path):
    for side in ("noisy", "clean"):
        put(tmp_path / "real" / side / "x_1.wav", speechlike(0.5))
    own = tmp_path / "real/noisy", tmp_path / "real/clean"
    sets = prepare(tmp_path, folders, test=own)
    assert sets["tt"].wav == {"x_1": str(tmp_path / "real/noisy/x_1.wav")}
    assert len(sets["tr"].wav) == 18 and len(noises(tmp_path)) == 4
    assert not (tmp_path / "data/tt/utt2snr").exists()


def test_few_clean_files_serve_for_all_sets_and_a_warning_says_so(tmp_path, caplog):
    for number in range(3):
        put(tmp_path / f"clean/a_{number}.wav", speechlike(0.5, seed=number))
        put(tmp_path / f"noise/n_{number}.wav", speechlike(0.5, seed=9 + number))
    options = {"clean_dir": tmp_path / "clean", "noise_dir": tmp_path / "noise"}
    with caplog.at_level(logging.WARNING):
        sets = prepare(tmp_path, options)
    assert {len(one.wav) for one in sets.values()} == {3}
    assert "only 3 training clean files" in caplog.text
    assert len(noises(tmp_path)) == 1  # those are held out all the same


def test_a_noise_is_looped_where_it_is_too_short_and_cut_where_it_is_longer():
    rng = np.random.default_rng(0)
    looped = mixed.loop(np.arange(5.0), 12, rng)
    assert (np.diff(looped) % 5 == 1).all() and len(looped) == 12
    starts = {mixed.loop(np.arange(20.0), 5, rng)[0] for _ in range(200)}
    assert starts == set(range(16))  # never over the end


def test_a_loud_mixture_is_scaled_with_its_clean_speech():
    clean = np.tile([0.9, -0.9], 4000)
    rng = np.random.default_rng(0)
    scaled, noisy = mixed.mix(clean, rng.standard_normal(9000), 0.0, rng)
    assert np.abs(noisy).max() == pytest.approx(mixed.PEAK)
    assert scaled[0] / clean[0] < 1
    assert measure_snr(scaled, noisy) == pytest.approx(0, abs=0.01)


# What is refused


@pytest.fixture
def copied(folders, tmp_path):
    """A copy of the folders that a test may spoil."""
    copies = {}
    for name, folder in folders.items():
        copies[name] = tmp_path / folder.name
        copies[name].mkdir()
        for path in folder.iterdir():
            (copies[name] / path.name).write_bytes(path.read_bytes())
    return copies


def refuse(copied, tmp_path, message, **more):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, copied, **more)
    assert not (tmp_path / "data/tr").exists()


@pytest.mark.parametrize("which", ["clean", "noise"])
@pytest.mark.parametrize(
    "name, wave, message",
    [
        ("silence.wav", np.zeros(8000), r"silence.wav: is silent throughout"),
        ("stereo.wav", np.ones((800, 2)) / 2, r"stereo.wav: has 2 channels"),
        ("my file.wav", np.ones(800) / 2, r"my file.wav: a file name with blanks"),
        ("nothing.wav", np.ones(0), r"nothing.wav: holds no samples"),
    ],
)
def test_a_file_that_will_not_do_is_named(copied, tmp_path, which, name, wave, message):
    put(copied[f"{which}_dir"] / name, wave)
    refuse(copied, tmp_path, message)


def test_an_empty_or_missing_folder_is_named(copied, tmp_path):
    (tmp_path / "hollow").mkdir()
    for wrong, message in (
        (tmp_path / "hollow", "hollow: holds no audio"),
        (tmp_path / "nowhere", "nowhere: no such folder"),
    ):
        refuse({**copied, "noise_dir": wrong}, tmp_path, message)
    refuse(
        {**copied, "noise_dir": copied["clean_dir"]},
        tmp_path,
        "given for clean speech and noise alike",
    )


def test_too_few_noises_to_hold_some_out_are_refused_with_the_fix(copied, tmp_path):
    for number in (2, 3, 4):
        (copied["noise_dir"] / f"n{number}.wav").unlink()
    refuse(copied, tmp_path, "holds 2 noise.*cut a long recording into parts")


def test_a_noise_that_is_silent_for_an_utterance_is_refused(copied, tmp_path):
    for path in copied["noise_dir"].iterdir():
        wave = np.zeros(16000)
        wave[5] = 0.1
        put(path, wave)
    refuse(copied, tmp_path, "the noise is silent for the length of an utterance")


@pytest.mark.parametrize("wrong", [(5.0,), (15.0, 0.0), (0.0, 1000.0)])
def test_an_impossible_range_is_refused(copied, tmp_path, wrong):
    refuse(copied, tmp_path, "snr_range .*lowest and the highest", snr_range=wrong)


# Rooms, and sets that a list gives


SPLITS = """\
read train
read/b/2 valid
read/c test
told/9 test
street train
street/wet valid
hall test
small train
small/dim test
"""


@pytest.fixture
def listed(tmp_path):
    """Folders of nested files, and a list of their sets."""
    files = {
        "clean": ("read/a/1", "read/b/1", "read/b/2", "read/c/1", "told/8", "told/9"),
        "noise": ("street/1", "street/wet/1", "hall/1", "hall/2", "left/1"),
        "rir": ("small/1", "small/dim/1"),
    }
    random = np.random.default_rng(0)
    for folder, names in files.items():
        for number, name in enumerate(names):
            wave = speechlike(0.6, seed=number)
            if folder != "clean":
                wave = 0.1 * random.standard_normal(8000)
            put(tmp_path / folder / f"{name}.wav", wave)
    (tmp_path / "splits").write_text(SPLITS)
    folders = {f"{folder}_dir": tmp_path / folder for folder in files}
    return {**folders, "splits": tmp_path / "splits"}


def test_sets_are_those_of_a_list_and_what_it_does_not_name_is_left_out(
    listed, tmp_path
):
    """A folder's line is for all below it, a longer one wins; names are paths."""
    sets = prepare(tmp_path, listed)
    assert {name: list(one.wav) for name, one in sets.items()} == {
        "tr": ["read-a-1", "read-b-1"],
        "cv": ["read-b-2"],
        "tt": ["read-c-1", "told-9"],
    }
    assert sets["tr"].wav["read-b-1"] == str(tmp_path / "clean/read/b/1.wav")
    assert noises(tmp_path) == {"street-1"}
    for name, heard in (("cv", {"street-wet-1"}), ("tt", {"hall-1", "hall-2"})):
        mixed_with = read_scp(tmp_path / "data" / name / "utt2noise")
        assert set(mixed_with.values()) <= heard


def test_rooms_for_training_are_listed_beside_the_noises(listed, tmp_path):
    prepare(tmp_path, listed)
    rooms = DataDir.read(tmp_path / "data/tr_rir", need_reference=False)
    assert rooms.wav == {"small-1": str(tmp_path / "rir/small/1.wav")}


def test_without_a_list_all_rooms_are_for_training(folders, tmp_path):
    for number in range(2):
        put(tmp_path / f"rooms/r{number}.wav", np.eye(1, 800)[0], 48000)
    prepare(tmp_path, folders, rir_dir=tmp_path / "rooms")
    assert set(read_scp(tmp_path / "data/tr_rir/wav.scp")) == {"r0", "r1"}
    prepare(tmp_path / "dry", folders)
    assert not (tmp_path / "dry/data/tr_rir").exists()


def test_a_list_may_name_folders_as_shells_complete_them(listed, tmp_path):
    listed["splits"].write_text(SPLITS.replace("read/c ", "./read/c/ "))
    assert "read-c-1" in prepare(tmp_path, listed)["tt"].wav


def test_with_a_list_links_are_followed_and_hidden_files_left_out(listed, tmp_path):
    put(tmp_path / "clean/read/.trash/1.wav", speechlike(0.5))
    put(tmp_path / "clean/read/.2.wav", speechlike(0.5))
    put(tmp_path / "elsewhere/3.wav", speechlike(0.5))
    (tmp_path / "clean/read/d").symlink_to(tmp_path / "elsewhere")
    names = set(prepare(tmp_path, listed)["tr"].wav)
    assert names == {"read-a-1", "read-b-1", "read-d-3"}


def test_sets_with_folders_of_their_own_need_no_lines(listed, tmp_path):
    listed["splits"].write_text("read train\nread/b valid\nstreet train\nhall valid\n")
    for side in ("noisy", "clean"):
        put(tmp_path / "real" / side / "x_1.wav", speechlike(0.5))
    own = tmp_path / "real/noisy", tmp_path / "real/clean"
    del listed["rir_dir"]
    sets = prepare(tmp_path, listed, test=own)
    assert [len(one.wav) for one in sets.values()] == [2, 2, 1]


@pytest.mark.parametrize(
    "wrong, right, message",
    [
        (
            "told/9 test",
            "told/9 tests",
            "splits: 'told/9 tests': the set is one of train",
        ),
        ("told/9 test", "told/9", "splits:4: malformed line 'told/9'"),
        ("street train", "street valid", "noise: .*splits names none .* for training"),
        ("small train", "small valid", "rir: .*splits names none .* for training"),
        ("read/b/2 valid", "", "clean: --splits names none of its files for cv"),
        ("hall test", "", "noise: --splits names none of its files for tt"),
    ],
)
def test_a_list_that_gives_a_set_nothing_is_named(
    listed, tmp_path, wrong, right, message
):
    listed["splits"].write_text(
        SPLITS.replace(f"{wrong}\n", f"{right}\n" * bool(right))
    )
    refuse(listed, tmp_path, message)


@pytest.mark.parametrize(
    "name, message",
    [
        ("read/a-1", "a/1.wav: would have the name of .*a-1.wav, read-a-1; rename one"),
        ("read/my file", "my file.wav': a path with blanks"),
        ("read/my room/1", "my room/1.wav': a path with blanks"),
    ],
)
def test_with_a_list_a_file_that_cannot_name_an_utterance_is_refused(
    listed, tmp_path, name, message
):
    put(tmp_path / f"clean/{name}.wav", speechlike(0.5))
    refuse(listed, tmp_path, message)


def test_a_missing_folder_or_list_and_a_silent_room_are_named(listed, tmp_path):
    (tmp_path / "none").mkdir()
    for option, path, message in (
        ("rir_dir", tmp_path / "nowhere", "nowhere: no such folder"),
        ("splits", tmp_path / "none/splits", "none/splits: no such file"),
    ):
        refuse({**listed, option: path}, tmp_path, message)
    put(tmp_path / "rir/small/1.wav", np.zeros(800))
    refuse(listed, tmp_path, "rir/small/1.wav: is silent throughout")
