"""VoiceBank+DEMAND: what becomes of it, and what is wrong with other folders."""

import hashlib
import logging
import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.corpora import vctk_noisy
from espnet2_bspmpnet.corpora.vctk_noisy import prepare
from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.errors import UserError
from tests.file_server import serving
from tests.miniatures.vctk_noisy import names, pack, write

TRAIN, TEST = sorted(names("trainset_28spk", 10)), sorted(names("testset", 4))
SETS = {
    "tr_28spk": TRAIN,
    "tr_26spk": [name for name in TRAIN if name[:4] not in ("p226", "p287")],
    "cv_2spk": [name for name in TRAIN if name[:4] in ("p226", "p287")],
    "tt_2spk": TEST,
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The miniature; not to be changed."""
    return write(tmp_path_factory.mktemp("miniature") / "database")


@pytest.fixture(scope="module")
def archives(unpacked):
    """The miniature's archives; not to be changed."""
    return pack(unpacked, unpacked.parent / "archives")


@pytest.fixture
def damaged(unpacked, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(unpacked, tmp_path / "database")


def make(folder, root, check_counts=False, **options):
    """Prepare, and return the folder of data directories."""
    prepare(folder / "data", folder / "downloads", root, None, check_counts, **options)
    return folder / "data"


def utterances(data):
    return {name: sorted(DataDir.read(data / name).wav) for name in SETS}


def test_the_sets_are_those_of_the_field_with_all_that_is_known(unpacked, tmp_path):
    data = make(tmp_path, unpacked)
    assert utterances(data) == SETS
    noises, snrs = {}, {}
    for log in ("log_trainset_28spk.txt", "log_testset.txt"):
        for line in (unpacked / log).read_text().splitlines():
            name, noises[name], snrs[name] = line.split()
    for name, ids in SETS.items():
        directory = DataDir.read(data / name)
        assert directory.utt2spk == {utt: utt.partition("_")[0] for utt in ids}
        assert read_scp(data / name / "utt2noise") == {utt: noises[utt] for utt in ids}
        assert read_scp(data / name / "utt2snr") == {utt: snrs[utt] for utt in ids}
        texts = "testset_txt" if name == "tt_2spk" else "trainset_28spk_txt"
        assert read_scp(data / name / "text") == {
            utt: (unpacked / texts / f"{utt}.txt").read_text().strip() for utt in ids
        }
        for list_ in ("wav.scp", "spk1.scp", "utt2spk", "spk2utt", "text", "utt2snr"):
            lines = (data / name / list_).read_bytes().splitlines()
            assert lines == sorted(lines)  # as LC_ALL=C sorts
    speakers = read_scp(data / "cv_2spk/spk2utt")
    assert speakers["p287"].split() == ["p287_001", "p287_002"]


def test_noisy_and_clean_are_resampled_to_16_khz(unpacked, tmp_path):
    directory = DataDir.read(make(tmp_path, unpacked, nj=2) / "tr_26spk")
    for folder, scp in (("noisy", directory.wav), ("clean", directory.spk1)):
        for name, path in scp.items():
            source = unpacked / f"{folder}_trainset_28spk_wav" / f"{name}.wav"
            wave, rate = soundfile.read(path)
            assert rate == 16000
            expected = resample(soundfile.read(source)[0], 48000, 16000)
            assert np.abs(wave - expected).max() < 2**-15


def test_files_at_16_khz_are_taken_as_they_are(tmp_path):
    root = write(tmp_path / "database", rate=16000)
    data = make(tmp_path, root)
    wav = DataDir.read(data / "tt_2spk").wav
    assert wav["p232_001"] == str(root / "noisy_testset_wav/p232_001.wav")
    assert not (data / "tt_2spk/data").exists()


def test_resampled_folders_go_by_the_name_that_other_recipes_give_them(tmp_path):
    root = write(tmp_path / "database", rate=16000)
    for folder in root.glob("*_wav"):
        folder.rename(f"{folder}_16k")
    assert utterances(make(tmp_path, root))["tt_2spk"] == TEST


def nested(unpacked, folder):
    """As one gets by unpacking each archive into a folder of its name."""
    for part in unpacked.iterdir():
        inner = folder / (part.name if part.is_dir() else "logfiles") / part.name
        inner.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, inner)
    return folder


def below(unpacked, folder):
    shutil.copytree(unpacked, folder / "DS_10283_2791")
    return folder


@pytest.mark.parametrize("arrange", [nested, below, pack])
def test_folders_one_level_deeper_and_archives_are_found(unpacked, tmp_path, arrange):
    root = arrange(unpacked, tmp_path / "arranged")
    data = make(tmp_path, root)
    assert utterances(data) == SETS
    assert (tmp_path / "downloads").exists() == (arrange is pack)


@pytest.fixture
def mirror(archives, monkeypatch):
    """A server with the archives."""
    from huggingface_hub import close_session, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")
    close_session()
    with serving({path.name: path.read_bytes() for path in archives.iterdir()}) as one:
        yield one
    close_session()


def test_what_is_not_there_is_downloaded_once(mirror, tmp_path):
    for _ in range(2):
        prepare(tmp_path / "data", tmp_path / "downloads", None, mirror.url, False)
    assert utterances(tmp_path / "data")["tt_2spk"] == TEST
    asked = sorted(path for path, _ in mirror.requests)
    assert asked == sorted(mirror.files)
    for archive in (tmp_path / "downloads").glob("*.zip"):
        archive.unlink()  # to save space
    prepare(tmp_path / "data", tmp_path / "downloads", None, mirror.url, False)
    assert len(mirror.requests) == len(asked)


def test_logs_and_texts_that_a_folder_lacks_are_downloaded(mirror, damaged, tmp_path):
    for log in damaged.glob("log_*"):
        log.unlink()
    shutil.rmtree(damaged / "testset_txt")
    prepare(tmp_path / "data", tmp_path / "downloads", damaged, mirror.url, False)
    asked = sorted(path for path, _ in mirror.requests)
    assert asked == ["logfiles.zip", "testset_txt.zip"]


def test_a_second_call_resamples_nothing(unpacked, tmp_path):
    data = make(tmp_path, unpacked)
    before = {path: path.stat().st_ino for path in data.rglob("*.wav")}
    make(tmp_path, unpacked)
    assert {path: path.stat().st_ino for path in data.rglob("*.wav")} == before


def test_that_counts_are_not_checked_is_said(unpacked, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        make(tmp_path, unpacked)
    assert "not compared with those of the published database" in caplog.text


def test_a_part_of_the_database_is_refused_by_default(unpacked, tmp_path):
    said = (
        "missing speakers: p231, p233, p236, p239, p243 and 18 more; 10 pairs in place"
        " of 11572; .*--check_counts false"
    )
    with pytest.raises(UserError, match=said):
        make(tmp_path, unpacked, check_counts=True)
    assert not (tmp_path / "data/tr_28spk/wav.scp").exists()


def test_a_half_downloaded_archive_is_named(archives, tmp_path):
    root = shutil.copytree(archives, tmp_path / "archives")
    with pytest.raises(UserError, match=r"has \d+ bytes in place of 115932, so it was"):
        make(tmp_path, root, check_counts=True)
    path = root / "clean_testset_wav.zip"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="clean_testset_wav.zip: the archive is trunca"):
        make(tmp_path, root)
    assert not (tmp_path / "downloads/clean_testset_wav").exists()


def test_a_damaged_archive_is_named(archives, tmp_path, monkeypatch):
    root = shutil.copytree(archives, tmp_path / "archives")
    path = root / "logfiles.zip"
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(vctk_noisy._PUBLISHED, "logfiles", (None, md5))
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"its md5 is .* instead of {md5}; remove it"):
        make(tmp_path, root, check_counts=True)


def test_an_archive_of_something_else_is_named(archives, tmp_path):
    root = shutil.copytree(archives, tmp_path / "archives")
    with zipfile.ZipFile(root / "testset_txt.zip", "w") as archive:
        archive.writestr("readme.md", "another archive")
    with pytest.raises(UserError, match=r"testset_txt: holds no \.txt files"):
        make(tmp_path, root)


def test_for_a_wrong_folder_the_message_lists_what_was_looked_for(damaged, tmp_path):
    shutil.rmtree(damaged / "clean_testset_wav")
    said = (
        r"no clean_testset_wav/ with \.wav files, nor a \.zip of that name, in it or one"
        r" folder deeper \(it holds clean_trainset_28spk_wav, .*10\.7488/ds/2117"
    )
    with pytest.raises(UserError, match=said):
        make(tmp_path, damaged)
    with pytest.raises(UserError, match="VCTK_NOISY=.*/elsewhere: no such folder"):
        make(tmp_path, tmp_path / "elsewhere")


def test_clean_files_without_noisy_ones_are_named(damaged, tmp_path):
    (damaged / "noisy_testset_wav/p257_002.wav").unlink()
    said = "1 only in .*clean_testset_wav, not in .*noisy_testset_wav: p257_002"
    with pytest.raises(UserError, match=said):
        make(tmp_path, damaged)


def test_files_at_another_rate_are_named(damaged, tmp_path):
    for side in ("noisy", "clean"):
        path = damaged / f"{side}_testset_wav/p232_002.wav"
        soundfile.write(path, np.zeros(44100), 44100)
    with pytest.raises(UserError, match=r"p232_002\.wav has 44100 Hz, but this corpus"):
        make(tmp_path, damaged)


def test_pairs_of_unequal_length_are_named(damaged, tmp_path):
    soundfile.write(damaged / "clean_testset_wav/p232_002.wav", np.zeros(1000), 48000)
    with pytest.raises(
        UserError, match=r"p232_002\.wav has \d+ samples but .* has 1000"
    ):
        make(tmp_path, damaged)
    assert not (tmp_path / "data/tt_2spk/wav.scp").exists()


def test_files_of_other_names_are_named(damaged, tmp_path):
    for side in ("noisy", "clean"):
        folder = damaged / f"{side}_testset_wav"
        (folder / "p232_001.wav").rename(folder / "p232_001_mic1.wav")
    with pytest.raises(UserError, match="p232_001_mic1: not named as in this database"):
        make(tmp_path, damaged)


def test_speakers_of_another_set_are_named(damaged, tmp_path):
    for side in ("noisy", "clean"):
        source = damaged / f"{side}_trainset_28spk_wav/p226_001.wav"
        shutil.copy(source, damaged / f"{side}_testset_wav")
    with pytest.raises(UserError, match="noisy_testset_wav: p226 are no speakers of"):
        make(tmp_path, damaged)


def test_missing_validation_speakers_are_named(damaged, tmp_path):
    for path in damaged.rglob("p2[28][67]_*.wav"):
        path.unlink()
    with pytest.raises(UserError, match="nothing is left for cv_2spk"):
        make(tmp_path, damaged)


@pytest.mark.parametrize(
    "line, said",
    [
        ("", "has no line for p232_001; unpack logfiles.zip"),
        ("p232_001 bus\n", "log_testset.txt:4: malformed line 'p232_001 bus'"),
        ("p232_001 bus loud\n", "malformed line 'p232_001 bus loud'"),
    ],
)
def test_a_log_without_a_files_line_is_named(damaged, tmp_path, line, said):
    log = damaged / "log_testset.txt"
    log.write_text("".join(log.read_text().splitlines(True)[1:]) + line)
    with pytest.raises(UserError, match=said):
        make(tmp_path, damaged)


def test_missing_transcripts_are_reported_and_left_out(damaged, tmp_path, caplog):
    (damaged / "testset_txt/p232_002.txt").unlink()
    with caplog.at_level(logging.WARNING):
        data = make(tmp_path, damaged)
    assert "testset_txt: no transcript of p232_002" in caplog.text
    assert sorted(read_scp(data / "tt_2spk/text")) == sorted({*TEST} - {"p232_002"})
