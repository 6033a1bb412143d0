"""Enhancing lists: input checked first, nothing clipped, every file on its list at once."""

from argparse import Namespace

import numpy as np
import pytest
import soundfile
import torch

from espnet2_bspmpnet.data.datadir import read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.separate_speech import (
    Output,
    check_options,
    choose_utterances,
)


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
    return Namespace(
        batch_size=1,
        ngpu=0,
        model_tag=None,
        train_config=str(tmp_path / "config.yaml"),
        model_file=str(tmp_path / "model.pth"),
        inference_config=None,
    )


@pytest.fixture
def choose(tmp_path):
    """Return a function that chooses from the list of the two files."""

    def choose(key_file=None, done=()):
        lists = [(str(tmp_path / "wav.scp"), "speech_mix", "sound")]
        return choose_utterances(lists, key_file, 16000, done)

    return choose


def test_good_input_passes(options, choose):
    check_options(options)
    assert choose() == (["a", "b"], [])


@pytest.mark.parametrize("name", ["train_config", "model_file", "inference_config"])
def test_a_missing_file_is_named(options, name):
    setattr(options, name, "/no/such/file")
    with pytest.raises(UserError, match=f"--{name}: /no/such/file does not exist"):
        check_options(options)


@pytest.mark.parametrize("kept", [0, 100, 600])
def test_a_torn_model_is_named(options, tmp_path, kept):
    model = tmp_path / "model.pth"
    model.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model.pth is damaged or no trained model"):
        check_options(options)


def test_a_missing_model_file_is_reported(options):
    options.model_file = None
    with pytest.raises(UserError, match="--model_file: name the trained model"):
        check_options(options)


@pytest.mark.parametrize("name", ["batch_size", "ngpu"])
def test_recordings_are_enhanced_one_at_a_time(options, name):
    setattr(options, name, 2)
    with pytest.raises(UserError, match=f"--{name}: at most 1"):
        check_options(options)


def test_the_wrong_rate_is_named_with_the_fix_and_left_out(options, choose, tmp_path):
    soundfile.write(tmp_path / "b.wav", np.full(800, 0.1), 8000)
    utterances, (error,) = choose()
    assert utterances == ["a"]
    assert "b.wav: 8000 Hz, but --fs is 16000; resample it first" in str(error)


def test_only_the_keys_of_this_job_are_looked_at(options, choose, tmp_path):
    soundfile.write(tmp_path / "b.wav", np.full(800, 0.1), 8000)
    (tmp_path / "keys.1.scp").write_text(f"a {tmp_path}/a.wav\n")
    assert choose(str(tmp_path / "keys.1.scp")) == (["a"], [])


def test_where_no_file_is_good_all_are_named(options, choose, tmp_path):
    for key in ("a", "b"):
        (tmp_path / f"{key}.wav").write_text("no audio")
    with pytest.raises(UserError, match="2 of 2 failed:\n.*a.wav.*\n.*b.wav"):
        choose()


def test_what_an_earlier_start_has_enhanced_is_left_out(options, choose):
    assert choose(done={"a"}) == (["b"], [])
    assert choose(done={"a", "b"}) == ([], [])


def test_loud_output_is_scaled_not_clipped_and_its_list_is_espnets(tmp_path):
    from espnet2.fileio.sound_scp import SoundScpReader

    wave = 1.5 * np.sin(np.arange(16000) / 20).astype(np.float32)
    output = Output(tmp_path, 1, "wav")
    output.write("loud", [wave], 16000, 0.1)
    output.write("quiet", [wave / 3], 16000, 0.1)
    reader = SoundScpReader(tmp_path / "spk1.scp", dtype="float32")
    rate, loud = reader["loud"]
    assert rate == 16000
    assert np.allclose(loud, wave / 1.5, atol=1e-3)
    assert np.allclose(reader["quiet"][1], wave / 3, atol=1e-4)


def test_an_utterance_is_on_its_lists_as_soon_as_it_is_written(tmp_path):
    """A kill would lose it otherwise; lists of an earlier start are not continued."""
    wave = np.zeros(160, np.float32)
    for name in ("spk1.scp", "spk2.scp", "utt2seconds"):
        (tmp_path / name).write_text("torn")
    output = Output(tmp_path, 2, "flac")
    for number, (key, seconds) in enumerate({"long": 0.2, "short": 0.05}.items(), 1):
        output.write(key, [wave, wave], 16000, seconds)
        for speaker in (1, 2):
            scp = read_scp(tmp_path / f"spk{speaker}.scp")
            assert len(scp) == number
            assert scp[key] == f"{tmp_path}/wavs/{speaker}/{key}.flac"
    assert read_scp(tmp_path / "utt2seconds") == {"long": "0.2000", "short": "0.0500"}
