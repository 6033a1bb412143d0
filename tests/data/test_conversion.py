"""Audio is converted once, pairs alike, and what is bad costs nobody else."""

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.audio import audio_info, read_audio
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.data.dataprep import (
    format_data,
    speed_perturb,
)
from espnet2_bspmpnet.errors import UserError
from tests.datadirs import LENGTHS, make, pitch, snapshot, tone


def test_formatting_brings_other_rates_and_containers_to_the_wanted_one(tmp_path):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump", fs=16000, audio_format="flac", nj=2)
    formatted = DataDir.read(tmp_path / "dump")
    for utterance, length in LENGTHS.items():
        for path in (formatted.wav[utterance], formatted.spk1[utterance]):
            info = audio_info(path)
            assert (info.rate, info.frames) == (16000, 2 * length)
            assert (info.format, info.subtype) == ("FLAC", "PCM_16")
    wave, rate = read_audio(formatted.wav["p2_a"])
    assert pitch(wave, rate) == pytest.approx(440.0)


def test_noisy_and_clean_keep_their_relation_when_the_peak_must_come_down(tmp_path):
    data = make(tmp_path, rate=8000)
    paths = DataDir.read(data)
    for path, gain in ((paths.wav["p1_a"], 3.0), (paths.spk1["p1_a"], 1.5)):
        soundfile.write(path, gain * tone(4000, 8000), 8000, "FLOAT")
    format_data(data, tmp_path / "dump")
    formatted = DataDir.read(tmp_path / "dump")
    noisy, clean = (
        read_audio(path)[0] for path in (formatted.wav["p1_a"], formatted.spk1["p1_a"])
    )
    assert np.abs(noisy).max() == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(noisy, 2 * clean, atol=1e-4)


def test_formatting_again_writes_no_audio_again(tmp_path):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump")
    before = snapshot(tmp_path / "dump" / "data")
    format_data(data, tmp_path / "dump")
    assert snapshot(tmp_path / "dump" / "data") == before


def test_what_is_missing_after_an_interruption_is_made_and_the_rest_is_kept(tmp_path):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump")
    whole = snapshot(tmp_path / "dump")
    audio = tmp_path / "dump" / "data" / "wav"
    (audio / "p1_a.wav").unlink()
    (audio / ".p1_a.wav.123.tmp").write_text("half of it")
    (tmp_path / "dump" / "wav.scp").unlink()
    format_data(data, tmp_path / "dump")
    again = snapshot(tmp_path / "dump")
    assert {name: content for name, (_, content) in again.items()} == {
        name: content for name, (_, content) in whole.items()
    }
    assert again["data/wav/p2_a.wav"] == whole["data/wav/p2_a.wav"]


def test_changed_sources_and_changed_arguments_are_noticed(tmp_path):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump")
    before = snapshot(tmp_path / "dump" / "data")
    for part in ("noisy", "clean"):
        soundfile.write(tmp_path / part / "p1_a.wav", np.zeros(3000), 8000)
    format_data(data, tmp_path / "dump")
    after = snapshot(tmp_path / "dump" / "data")
    assert after["wav/p1_a.wav"][1] != before["wav/p1_a.wav"][1]
    assert after["wav/p1_b.wav"] == before["wav/p1_b.wav"]
    assert read_scp(tmp_path / "dump" / "utt2num_samples")["p1_a"] == "6000"
    format_data(data, tmp_path / "dump", fs=24000)
    formatted = DataDir.read(tmp_path / "dump")
    assert {audio_info(path).rate for path in formatted.wav.values()} == {24000}


@pytest.mark.parametrize("part", [None, (1, 2)])
def test_a_bad_pair_is_named_and_the_others_are_made(tmp_path, part):
    data = make(tmp_path, rate=8000)
    format_data(data, tmp_path / "dump", fs=24000)
    soundfile.write(tmp_path / "clean" / "p1_a.wav", np.zeros(7), 8000)
    with pytest.raises(UserError) as raised:
        format_data(data, tmp_path / "dump", part=part)
    lines = str(raised.value).splitlines()
    count = "1 of 2" if part else "1 of 3"
    assert lines[0] == f"formatting {data}: {count} failed, the others are done:"
    assert lines[1].startswith("  p1_a: ") and "has 4000 samples but" in lines[1]
    rates = [
        audio_info(tmp_path / "dump" / "data" / "wav" / f"{name}.wav").rate
        for name in ("p1_a", "p1_b", "p2_a")
    ]
    assert rates == [24000, 24000 if part else 16000, 16000]
    assert not (tmp_path / "dump" / "wav.scp").exists()


def test_a_recording_damaged_in_its_middle_is_named_and_the_others_are_made(tmp_path):
    data = make(tmp_path, rate=8000, suffix="flac")
    damaged = tmp_path / "noisy" / "p1_a.flac"
    content = damaged.read_bytes()
    middle = len(content) // 2
    damaged.write_bytes(content[:middle] + bytes(500) + content[middle + 500 :])
    with pytest.raises(UserError, match="1 of 3 failed, .*\n.*p1_a.flac: .*damaged"):
        format_data(data, tmp_path / "dump")
    damaged.write_bytes(content)
    before = snapshot(tmp_path / "dump")
    format_data(data, tmp_path / "dump")
    assert before.items() <= snapshot(tmp_path / "dump").items()
    assert len(DataDir.read(tmp_path / "dump").wav) == 3


def test_speed_perturbation_changes_length_and_pitch_of_both_alike(tmp_path):
    data = make(tmp_path)
    speed_perturb(data, tmp_path / "sp", (0.9, 1.0, 1.1), nj=2)
    perturbed = DataDir.read(tmp_path / "sp")
    assert len(perturbed.wav) == 9
    for factor in (0.9, 1.1):
        for entries in (perturbed.wav, perturbed.spk1):
            wave, rate = read_audio(entries[f"sp{factor}-p2_a"])
            assert rate == 16000 and len(wave) == round(16000 / factor)
            assert pitch(wave, rate) == pytest.approx(440 * factor, abs=1.0)
