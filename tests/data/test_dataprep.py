"""Data directories walk through stages 2 to 5 and arrive as ESPnet expects them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from espnet2_bspmpnet.data.datadir import DataDir, read_scp, write_scp
from espnet2_bspmpnet.data.dataprep import (
    collect_stats,
    filter_data,
    format_data,
    speed_perturb,
)
from espnet2_bspmpnet.errors import UserError
from tests.datadirs import LENGTHS, make, snapshot


def test_formatting_names_what_is_right_already_by_its_absolute_path(
    tmp_path, monkeypatch
):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_scp("data/wav.scp", {name: f"noisy/{name}.wav" for name in LENGTHS})
    format_data("data", "dump")
    formatted = DataDir.read("dump")
    assert formatted.wav["p1_a"] == str(tmp_path / "noisy" / "p1_a.wav")
    assert not Path("dump/data").exists()


def test_formatting_counts_samples_and_carries_texts(tmp_path):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump", fs=16000)
    assert read_scp(tmp_path / "dump" / "utt2num_samples") == {
        name: str(2 * length) for name, length in LENGTHS.items()
    }
    for name in ("text", "utt2snr", "utt2spk", "spk2utt"):
        content = (tmp_path / "dump" / name).read_text()
        assert content == (data / name).read_text()


def test_an_empty_transcript_stays_empty(tmp_path):
    data = make(tmp_path)
    (data / "text").write_text("p1_a\np1_b b\n")
    format_data(data, tmp_path / "dump")
    assert (tmp_path / "dump" / "text").read_text() == "p1_a\np1_b b\n"


def test_what_is_said_of_other_data_is_not_carried(tmp_path):
    source = make(tmp_path)
    write_scp(source / "text", {"other": "WORDS"})
    write_scp(tmp_path / "dump" / "utt2noise", {"other": "bus"})
    format_data(source, tmp_path / "dump")
    assert not (tmp_path / "dump/text").exists()
    assert not (tmp_path / "dump/utt2noise").exists()
    assert read_scp(tmp_path / "dump/utt2snr")


def test_noisy_audio_alone_is_formatted_too(tmp_path):
    data = make(tmp_path, rate=8000)
    (data / "spk1.scp").unlink()
    format_data(data, tmp_path / "dump")
    assert not (tmp_path / "dump" / "spk1.scp").exists()
    assert list(DataDir.read(tmp_path / "dump", False).wav) == sorted(LENGTHS)


def test_lists_show_other_audio_of_the_same_names_and_lengths(tmp_path):
    source, dumped = make(tmp_path, rate=48000), tmp_path / "dump"
    format_data(source, dumped, fs=16000)
    before = snapshot(dumped)["utt2mtime"][1]
    format_data(source, dumped, fs=16000)
    assert snapshot(dumped)["utt2mtime"][1] == before
    os.utime(tmp_path / "clean/p1_a.wav", (1, 1))
    format_data(source, dumped, fs=16000)
    assert snapshot(dumped)["utt2mtime"][1] != before
    filter_data(dumped, tmp_path / "filtered", 0.0, 10.0, 16000)
    assert read_scp(tmp_path / "filtered/utt2mtime") == read_scp(dumped / "utt2mtime")


def test_what_an_earlier_formatting_has_left_over_is_removed_and_no_source(tmp_path):
    data, dump = make(tmp_path, rate=8000), tmp_path / "dump"
    format_data(data, dump, audio_format="flac")
    (dump / "data" / "wav" / "notes.txt").touch()
    format_data(data, dump, audio_format="wav")
    made = sorted(path.name for path in (dump / "data" / "wav").iterdir())
    assert made == ["notes.txt", "p1_a.wav", "p1_b.wav", "p2_a.wav"]
    before = snapshot(dump)
    replace(DataDir.read(dump), path=tmp_path / "lists").write()
    with pytest.raises(UserError, match="p1_a.wav: would be overwritten; choose"):
        format_data(tmp_path / "lists", dump, fs=8000)
    assert snapshot(dump) == before


@pytest.mark.parametrize("prepare", [format_data, speed_perturb])
def test_parts_and_a_last_call_give_what_one_call_gives(tmp_path, prepare):
    data = make(tmp_path, rate=8000)
    prepare(data, tmp_path / "whole")
    for number in (2, 1):
        assert not (tmp_path / "parts" / "wav.scp").exists()
        prepare(data, tmp_path / "parts", part=(number, 2))
    made = snapshot(tmp_path / "parts")
    prepare(data, tmp_path / "parts")
    finished = snapshot(tmp_path / "parts")
    assert made.items() <= finished.items(), "the last call made audio again"
    whole = {
        name: content for name, (_, content) in snapshot(tmp_path / "whole").items()
    }
    for name, (_, content) in finished.items():
        assert content.replace(b"/parts/", b"/whole/") == whole.pop(name)
    assert whole == {}


def test_source_and_target_must_differ(tmp_path):
    data = make(tmp_path)
    with pytest.raises(UserError, match="source and target are the same"):
        format_data(data, data)


def test_speed_perturbation_keeps_what_has_factor_one(tmp_path):
    data = make(tmp_path)
    speed_perturb(data, tmp_path / "sp", (0.9, 1.0))
    before, after = DataDir.read(data), DataDir.read(tmp_path / "sp")
    assert after.wav["p1_a"] == before.wav["p1_a"]
    assert after.utt2spk["p1_a"] == "p1"
    assert after.utt2spk["sp0.9-p1_a"] == "sp0.9-p1"
    assert read_scp(tmp_path / "sp" / "text")["sp0.9-p1_a"] == "some WORDS"


@pytest.mark.parametrize("factors", [(), (0.0, 1.0), (1.0, 1.0)])
def test_impossible_speeds_are_refused(tmp_path, factors):
    data = make(tmp_path)
    with pytest.raises(UserError, match="must be positive and differ"):
        speed_perturb(data, tmp_path / "sp", factors)


def test_too_short_and_too_long_utterances_are_dropped_and_named(tmp_path, caplog):
    format_data(make(tmp_path), tmp_path / "org")
    with caplog.at_level("INFO"):
        filter_data(tmp_path / "org", tmp_path / "dump", 0.3, 0.9, 16000)
    assert "2 of 3 utterances dropped" in caplog.text
    assert "p1_a p2_a" in caplog.text
    filtered = DataDir.read(tmp_path / "dump")
    assert list(filtered.wav) == ["p1_b"]
    for name in ("spk1.scp", "utt2spk", "utt2num_samples", "text", "utt2snr"):
        assert list(read_scp(tmp_path / "dump" / name)) == ["p1_b"]


def test_nothing_left_is_an_error(tmp_path):
    format_data(make(tmp_path), tmp_path / "org")
    with pytest.raises(UserError, match="no utterance is between 2 and 3 s"):
        filter_data(tmp_path / "org", tmp_path / "dump", 2, 3, 16000)


def test_an_unformatted_directory_is_named(tmp_path):
    with pytest.raises(UserError, match="utt2num_samples: no such file"):
        filter_data(make(tmp_path), tmp_path / "dump", 0, 3, 16000)


def test_shape_files_equal_those_of_espnets_own_collect_stats(tmp_path):
    format_data(make(tmp_path), tmp_path / "dump")
    collect_stats(tmp_path / "dump", tmp_path / "dump", tmp_path / "stats")
    espnets_collect_stats(tmp_path / "dump", tmp_path / "espnet")
    ours, theirs = snapshot(tmp_path / "stats"), snapshot(tmp_path / "espnet")
    assert len(ours) == 8
    assert {name: content for name, (_, content) in ours.items()} == {
        name: content for name, (_, content) in theirs.items()
    }


def espnets_collect_stats(dump: Path, output_dir: Path) -> None:
    from espnet2.main_funcs.collect_stats import collect_stats as reference
    from espnet2.train.collate_fn import CommonCollateFn
    from espnet2.train.dataset import ESPnetDataset
    from torch.utils.data import DataLoader

    dataset = ESPnetDataset(
        [
            (str(dump / "wav.scp"), "speech_mix", "sound"),
            (str(dump / "spk1.scp"), "speech_ref1", "sound"),
        ],
        float_dtype="float32",
    )
    ids = sorted(LENGTHS)
    iterators = [
        DataLoader(dataset, batch_sampler=[ids], collate_fn=CommonCollateFn())
        for _ in ("train", "valid")
    ]
    reference(None, *iterators, output_dir, 0, None, False)
