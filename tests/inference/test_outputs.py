"""An output has its input's format unless its name says otherwise, and never its place."""

import errno
import os

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.commands import enhance
from espnet2_bspmpnet.data.recording_writer import BITS, CONTAINERS
from espnet2_bspmpnet.data.recordings import open_recording
from espnet2_bspmpnet.errors import MachineError, UserError
from espnet2_bspmpnet.inference.events import Task
from espnet2_bspmpnet.inference.outputs import Outputs

WAVE = 0.5 * np.sin(np.arange(800, dtype=np.float32))[None]


def written(path, output, outputs, wave=WAVE):
    """Write to the output of a recording; give what libsndfile says of it."""
    with open_recording(path) as recording:
        gain, note = outputs.write(Task(str(path), str(output)), recording, [wave])
    info = soundfile.info(output)
    assert info.samplerate == recording.rate and info.frames == wave.shape[1]
    assert bool(note) == (info.subtype == "PCM_16" and path.name == "gsm.wav")
    return info.format, info.subtype, round(gain, 1)


@pytest.fixture
def noisy(tmp_path):
    soundfile.write(tmp_path / "noisy.wav", WAVE[0], 8000, "PCM_24")
    return tmp_path / "noisy.wav"


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("a.wav", {}, ("WAV", "PCM_24", 0)),
        ("a.WAV", {"bits": "16"}, ("WAV", "PCM_16", 0)),
        ("a.flac", {}, ("FLAC", "PCM_24", 0)),
        ("a.ogg", {}, ("OGG", "VORBIS", 0)),
        ("a.opus", {}, ("OGG", "OPUS", 0)),
        ("a.aif", {"bits": "16"}, ("AIFF", "PCM_16", 0)),
        ("a.wav", {"bits": "float"}, ("WAV", "FLOAT", 0)),
        ("a.wav", {"normalize": True}, ("WAV", "PCM_24", 5)),
        ("a", {}, ("WAV", "PCM_24", 0)),
        ("a", {"container": "flac"}, ("FLAC", "PCM_24", 0)),
    ],
)
@pytest.mark.parametrize("parts", [None, "parts"])
def test_the_format_is_the_inputs_or_as_the_name_says(
    tmp_path, noisy, name, options, expected, parts
):
    outputs = Outputs(**options, parts=parts and str(tmp_path / parts))
    assert written(noisy, tmp_path / "out" / "s" / name, outputs) == expected
    assert os.listdir(tmp_path / "out" / "s") == [name]
    assert not parts or not os.listdir(tmp_path / parts)


def test_a_format_that_cannot_be_written_becomes_the_one_of_its_name(tmp_path):
    path = tmp_path / "gsm.wav"
    soundfile.write(path, WAVE[0], 8000, "GSM610")
    assert written(path, tmp_path / "out.wav", Outputs()) == ("WAV", "PCM_16", 0)


def test_the_command_names_all_formats():
    assert list(CONTAINERS) == enhance.FORMATS and list(BITS) == enhance.BITS


@pytest.mark.parametrize("name", ["a.m4a", "a.txt"])
def test_other_names_are_refused(tmp_path, noisy, name):
    with pytest.raises(
        UserError, match=f"{name}: files of this kind cannot be written"
    ):
        written(noisy, tmp_path / name, Outputs())


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_an_input_is_never_overwritten(tmp_path, noisy, link):
    before, output = noisy.read_bytes(), noisy
    if link:
        output = tmp_path / "out.wav"
        link(noisy, output)
    with pytest.raises(UserError, match="would overwrite it"):
        written(noisy, output, Outputs())
    assert noisy.read_bytes() == before


def test_what_cannot_be_moved_into_place_leaves_nothing(tmp_path, noisy, monkeypatch):
    outputs = Outputs(parts=str(tmp_path / "parts"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.wav").mkdir()
    with pytest.raises(MachineError, match="out/a.wav: this is a folder"):
        written(noisy, tmp_path / "out/a.wav", outputs)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MachineError, match=r"out/b\\nc.wav': the disk is full"):
        written(noisy, tmp_path / "out/b\nc.wav", outputs)
    assert os.listdir(tmp_path / "out") == ["a.wav"]


def test_errors_name_the_output_and_not_its_part(tmp_path, noisy):
    outputs = Outputs(parts=str(tmp_path / "parts"))
    with pytest.raises(UserError, match="^.*/out.wav: not written, because the signal"):
        written(noisy, tmp_path / "out.wav", outputs, WAVE * np.float32(np.nan))
