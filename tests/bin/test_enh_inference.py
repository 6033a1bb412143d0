"""ESPnet's enh_inference with its input checked first and nothing clipped."""

import time

import numpy as np
import pytest
import soundfile
import torch

from espnet2_bspmpnet.bin.enh_inference import (
    Stopwatch,
    check_options,
    leave_out_enhanced,
    leave_out_unreadable,
    whole_file_writer,
)
from espnet2_bspmpnet.data.datadir import read_scp
from espnet2_bspmpnet.errors import UserError


@pytest.fixture
def options(tmp_path):
    """What enh_inference was given: two files, a model, a configuration."""
    lines = []
    for key in ("a", "b"):
        path = tmp_path / f"{key}.wav"
        soundfile.write(path, np.full(1600, 0.1), 16000)
        lines.append(f"{key} {path}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    (tmp_path / "config.yaml").touch()
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pth")
    return {
        "model_tag": None,
        "train_config": str(tmp_path / "config.yaml"),
        "model_file": str(tmp_path / "model.pth"),
        "inference_config": None,
        "key_file": None,
        "output_dir": str(tmp_path / "output.1"),
        "fs": 16000,
        "data_path_and_name_and_type": [
            (str(tmp_path / "wav.scp"), "speech_mix", "sound")
        ],
    }


def test_good_input_passes(options):
    check_options(options)
    assert leave_out_unreadable(options) == []
    assert options["key_file"] is None


@pytest.mark.parametrize("name", ["train_config", "model_file", "inference_config"])
def test_a_missing_file_is_named(options, name):
    options[name] = "/no/such/file"
    with pytest.raises(UserError, match=f"--{name}: /no/such/file does not exist"):
        check_options(options)


@pytest.mark.parametrize("kept", [0, 100, 600])
def test_a_torn_model_is_named(options, tmp_path, kept):
    model = tmp_path / "model.pth"
    model.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model.pth is damaged or no trained model"):
        check_options(options)


def test_no_model_at_all_is_told(options):
    options["model_file"] = None
    with pytest.raises(UserError, match="--model_file: name the trained model"):
        check_options(options)


def test_the_wrong_rate_is_named_with_the_mend_and_left_out(options, tmp_path):
    soundfile.write(tmp_path / "b.wav", np.full(800, 0.1), 8000)
    (error,) = leave_out_unreadable(options)
    assert "b.wav: 8000 Hz, but --fs is 16000; resample it first" in str(error)
    assert list(read_scp(options["key_file"])) == ["a"]


def test_only_the_keys_of_this_job_are_looked_at(options, tmp_path):
    soundfile.write(tmp_path / "b.wav", np.full(800, 0.1), 8000)
    (tmp_path / "keys.1.scp").write_text(f"a {tmp_path}/a.wav\n")
    options["key_file"] = str(tmp_path / "keys.1.scp")
    assert leave_out_unreadable(options) == []
    assert options["key_file"] == str(tmp_path / "keys.1.scp")


def test_where_no_file_is_good_all_are_named(options, tmp_path):
    for key in ("a", "b"):
        (tmp_path / f"{key}.wav").write_text("no audio")
    with pytest.raises(UserError, match="2 of 2 failed:\n.*a.wav.*\n.*b.wav"):
        leave_out_unreadable(options)


def test_what_an_earlier_start_has_enhanced_is_left_out(options, tmp_path):
    assert leave_out_enhanced(options)
    assert options["key_file"] is None
    (tmp_path / "output.1").mkdir()
    for name, value in (("spk1.scp", tmp_path / "a.wav"), ("utt2seconds", "0.1")):
        (tmp_path / "output.1" / name).write_text(f"a {value}\nb {value}")
    assert leave_out_enhanced(options)
    assert list(read_scp(options["key_file"])) == ["b"]
    for name in ("spk1.scp", "utt2seconds"):
        with (tmp_path / "output.1" / name).open("a") as file:
            file.write("\n")
    assert not leave_out_enhanced(options)


def test_loud_output_is_scaled_not_clipped_and_its_list_is_espnets(tmp_path):
    from espnet2.fileio.sound_scp import SoundScpReader, SoundScpWriter

    wave = 1.5 * np.sin(np.arange(16000) / 20).astype(np.float32)
    writer = whole_file_writer(SoundScpWriter, Stopwatch())(
        f"{tmp_path}/wavs/1", f"{tmp_path}/spk1.scp", format="wav"
    )
    writer["loud"] = 16000, wave
    writer["quiet"] = 16000, wave / 3
    writer.close()
    reader = SoundScpReader(tmp_path / "spk1.scp", dtype="float32")
    rate, loud = reader["loud"]
    assert rate == 16000
    assert np.allclose(loud, wave / 1.5, atol=1e-3)
    assert np.allclose(reader["quiet"][1], wave / 3, atol=1e-4)


def test_beside_the_list_stands_how_long_each_took(tmp_path):
    from espnet2.fileio.sound_scp import SoundScpWriter

    class Sleeper:
        def __call__(self, seconds):
            time.sleep(seconds)
            return "enhanced"

    stopwatch = Stopwatch()
    sleep = stopwatch.timing(Sleeper)()
    writer = whole_file_writer(SoundScpWriter, stopwatch)(
        f"{tmp_path}/wavs/1", f"{tmp_path}/spk1.scp", format="wav"
    )
    for key, seconds in (("long", 0.2), ("short", 0.05)):
        assert sleep(seconds) == "enhanced"
        writer[key] = 16000, np.zeros(160, np.float32)
        assert list(read_scp(tmp_path / "spk1.scp"))[-1] == key, "a kill would lose it"
    times = read_scp(tmp_path / "utt2seconds")
    assert list(times) == ["long", "short"]
    assert float(times["long"]) > 0.2 > float(times["short"]) > 0.05
