"""A data directory is sorted, complete and its pairs fit together, or it is named."""

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.datadir import DataDir, check_pairs, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError


def make(path, count: int = 3, rate: int = 16000, length: int = 800) -> DataDir:
    """Make a data directory of real, short files beside it."""
    audio = path.parent / f"{path.name}_audio"
    audio.mkdir(parents=True)
    wav, spk1, utt2spk = {}, {}, {}
    generator = np.random.default_rng(0)
    for number in range(count):
        utterance = f"p{number % 2}_{number:03d}"
        wav[utterance] = str(audio / f"{utterance}_noisy.wav")
        spk1[utterance] = str(audio / f"{utterance}_clean.wav")
        utt2spk[utterance] = utterance[:2]
        for file in (wav[utterance], spk1[utterance]):
            wave = 0.1 * generator.standard_normal(length)
            soundfile.write(file, wave, rate)
    datadir = DataDir(path, wav, spk1, utt2spk)
    datadir.write()
    return datadir


def test_what_is_written_is_read(tmp_path):
    made = make(tmp_path / "tr")
    assert DataDir.read(tmp_path / "tr") == made


def test_files_are_sorted_by_id_in_the_order_of_the_c_locale(tmp_path):
    write_scp(tmp_path / "wav.scp", {"b": 1, "a": 2, "B": 3, "ä": 4, "a-1": 5})
    ids = list(read_scp(tmp_path / "wav.scp"))
    assert ids == sorted(ids, key=str.encode) == ["B", "a", "a-1", "b", "ä"]


def test_speakers_list_their_utterances(tmp_path):
    make(tmp_path / "tr")
    assert (tmp_path / "tr" / "spk2utt").read_text() == "p0 p0_000 p0_002\np1 p1_001\n"


def test_paths_may_contain_blanks(tmp_path):
    write_scp(tmp_path / "wav.scp", {"a": "/my data/a b.wav"})
    assert read_scp(tmp_path / "wav.scp") == {"a": "/my data/a b.wav"}


def test_noisy_audio_alone_will_do_where_no_reference_is_needed(tmp_path):
    make(tmp_path / "tt")
    (tmp_path / "tt" / "spk1.scp").unlink()
    assert DataDir.read(tmp_path / "tt", need_reference=False).spk1 is None
    with pytest.raises(UserError, match="spk1.scp: no such file"):
        DataDir.read(tmp_path / "tt")


def test_without_speakers_each_utterance_is_its_own(tmp_path):
    make(tmp_path / "tt", count=1)
    (tmp_path / "tt" / "utt2spk").unlink()
    assert DataDir.read(tmp_path / "tt").utt2spk == {"p0_000": "p0_000"}


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "wav.scp: the file is empty"),
        ("a\n", "wav.scp:1: malformed line 'a'; each line must read"),
        ("a x.wav\n\n", "wav.scp:2: malformed line ''"),
        ("a x.wav\na y.wav\n", "wav.scp:2: id a is there twice; remove one"),
        ("a sox x.wav - |\n", "wav.scp: a is a command .* but a file is needed"),
        (b"a \xff.wav\n", "wav.scp: not UTF-8 text"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, said):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "wav.scp").write_bytes(content)
    with pytest.raises(UserError, match=said):
        DataDir.read(tmp_path, need_reference=False)


def test_an_empty_or_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such data directory"):
        DataDir.read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"{tmp_path}: an empty data directory"):
        DataDir.read(tmp_path)


def test_ids_without_partner_are_listed_up_to_five(tmp_path):
    made = make(tmp_path / "tr", count=8)
    write_scp(tmp_path / "tr" / "spk1.scp", {"p0_000": made.spk1["p0_000"], "x": "x"})
    with pytest.raises(UserError) as raised:
        DataDir.read(tmp_path / "tr")
    message = str(raised.value)
    assert "7 only in" in message and "1 only in" in message and ": x" in message
    assert "p0_002, p0_004, p0_006, p1_001, p1_003 and 2 more" in message


def test_good_pairs_pass(tmp_path):
    check_pairs(make(tmp_path / "tr"))


@pytest.mark.parametrize(
    "rate, shape, subtype, said",
    [
        (8000, 800, "PCM_16", "has 16000 Hz but .* has 8000 Hz; resample one"),
        (16000, 801, "PCM_16", "has 800 samples but .* has 801"),
        (16000, 0, "PCM_16", "holds no samples"),
        (16000, (800, 2), "PCM_16", "has 2 channels"),
        (16000, 800, "FLOAT", "NaN"),
    ],
)
def test_a_pair_that_does_not_fit_is_named(tmp_path, rate, shape, subtype, said):
    made = make(tmp_path / "tr")
    wave = np.full(shape, np.nan if subtype == "FLOAT" else 0.1)
    soundfile.write(made.spk1["p1_001"], wave, rate, subtype)
    with pytest.raises(UserError, match=f"1 problem.*\n.*p1_001.*{said}"):
        check_pairs(made)


def test_all_problems_come_in_one_message_ten_of_them_by_name(tmp_path):
    made = make(tmp_path / "tr", count=12)
    for path in made.wav.values():
        soundfile.write(path, np.zeros(5), 16000)
    with pytest.raises(UserError) as raised:
        check_pairs(made)
    assert "12 problem(s)" in str(raised.value)
    assert str(raised.value).count("has 5 samples") == 10
    assert str(raised.value).endswith("and 2 more")


def test_lists_half_written_are_not_read_with_older_ones(tmp_path):
    def described(folder):
        return DataDir(
            tmp_path / "d", {"a": f"{folder}/n"}, {"a": f"{folder}/c"}, {"a": "a"}
        )

    described("old").write()
    (tmp_path / "d/spk2utt").unlink()
    (tmp_path / "d/spk2utt").mkdir()  # in the way, as a full disk would be
    with pytest.raises(UserError):
        described("new").write()
    with pytest.raises(UserError, match="it has no wav.scp; prepare the data again"):
        DataDir.read(tmp_path / "d")
