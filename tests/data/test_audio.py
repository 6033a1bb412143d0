"""Audio is read as it was written, or an error names the file and the fix."""

import logging
import os
import sys
import time

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.audio import (
    audio_info,
    list_audio,
    looped,
    read_audio,
    resample,
    write_audio,
)
from espnet2_bspmpnet.errors import UserError
from tests.processes import completed


def noise(length: int = 16000, peak: float = 0.5) -> np.ndarray:
    wave = np.random.default_rng(0).standard_normal(length)
    return peak * wave / np.abs(wave).max()


def tone(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize("subtype, bits", [("PCM_16", 16), ("PCM_24", 24)])
def test_what_is_written_is_read_to_half_a_step(tmp_path, suffix, subtype, bits):
    path = tmp_path / "made" / f"a.{suffix}"
    write_audio(path, noise(), 16000, subtype)
    wave, rate = read_audio(path)
    assert wave.dtype == np.float32 and rate == 16000
    # Half a step, and float32's own rounding, which counts at 24 bits.
    assert np.abs(wave - noise()).max() <= 0.5 * 2.0 ** (1 - bits) + 2.0**-25


def test_reading_and_writing_again_changes_no_byte(tmp_path):
    write_audio(tmp_path / "a.wav", noise(peak=1.0), 16000)
    write_audio(tmp_path / "b.wav", *read_audio(tmp_path / "a.wav"))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_rounding_has_no_bias(tmp_path):
    write_audio(tmp_path / "a.wav", noise(160000), 16000)
    error = read_audio(tmp_path / "a.wav")[0] - noise(160000)
    assert abs(error.mean()) * 2**15 < 0.01


def test_the_same_samples_are_the_same_bytes_at_another_time(tmp_path):
    write_audio(tmp_path / "a.wav", noise(), 16000, "FLOAT")
    time.sleep(1.1)  # libsndfile's clock counts seconds
    write_audio(tmp_path / "b.wav", noise(), 16000, "FLOAT")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_peak_above_full_scale_is_scaled_and_not_clipped(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write_audio(tmp_path / "loud.wav", noise(peak=2.0), 16000)
    wave, _ = read_audio(tmp_path / "loud.wav")
    assert np.abs(wave).max() == pytest.approx(1.0, abs=1e-4)
    assert np.corrcoef(wave, noise())[0, 1] > 0.999999
    assert "loud.wav" in caplog.text and "scaled by 0.5" in caplog.text


def test_floats_keep_a_peak_above_full_scale(tmp_path, caplog):
    write_audio(tmp_path / "loud.wav", noise(peak=2.0), 16000, "FLOAT")
    assert np.abs(read_audio(tmp_path / "loud.wav")[0]).max() == pytest.approx(2.0)
    assert not caplog.text


def test_the_header_gives_length_rate_and_format(tmp_path):
    write_audio(tmp_path / "a.flac", noise(123), 8000)
    info = audio_info(tmp_path / "a.flac")
    assert (info.frames, info.rate, info.channels) == (123, 8000, 1)
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")


def damaged(tmp_path, kind: str):
    """Make a file that cannot be used."""
    path = tmp_path / f"{kind}.wav"
    if kind == "bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no audio at all, but it has some length\n" * 10)
    elif kind == "samples":
        soundfile.write(path, np.zeros(0), 16000)
    elif kind == "stereo":
        soundfile.write(path, np.zeros((100, 2)), 16000)
    elif kind == "nan":
        wave = noise().astype(np.float32)
        wave[7] = np.nan
        soundfile.write(path, wave, 16000, "FLOAT")
    elif kind in ("cut", "cut_flac"):
        path = path.with_suffix(".wav" if kind == "cut" else ".flac")
        soundfile.write(path, noise(), 16000)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    "kind, said",
    [
        ("missing", "no such audio file; correct its path"),
        ("bytes", r"the file is empty \(0 bytes\); replace or remove it"),
        ("text", "cannot be read as audio .*; replace it or convert it"),
        ("samples", "holds no samples; replace or remove it"),
        ("stereo", "has 2 channels, but mono is needed; pick or mix one"),
        ("nan", "holds NaN or infinite samples; replace it"),
        ("cut", "truncated or damaged .*; copy it again or remove it"),
        ("cut_flac", "truncated or damaged .*; copy it again or remove it"),
    ],
)
def test_a_bad_file_is_named_with_the_fix(tmp_path, kind, said):
    path = damaged(tmp_path, kind)
    with pytest.raises(UserError, match=f"^{path}: .*{said}"):
        read_audio(path)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_came_through_a_pipe_is_not_taken_for_cut(tmp_path, length):
    path = tmp_path / "piped.wav"
    write_audio(path, noise(), 16000)
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = length.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_audio(path)[0]) == 16000


def test_what_cannot_be_written_is_refused_before_anything_is_touched(tmp_path):
    good = tmp_path / "a.wav"
    write_audio(good, noise(), 16000)
    before = good.read_bytes()
    with pytest.raises(UserError, match="a.wav: not written, .* NaN"):
        write_audio(good, np.array([0.0, np.nan]), 16000)
    with pytest.raises(UserError, match="a.mp3: .* use .wav or .flac"):
        write_audio(tmp_path / "a.mp3", noise(), 16000)
    with pytest.raises(UserError, match="FLAC cannot hold FLOAT; use .*PCM_16"):
        write_audio(tmp_path / "a.flac", noise(), 16000, "FLOAT")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert good.read_bytes() == before


def test_a_write_that_fails_leaves_nothing_and_ends_with_its_error(tmp_path):
    script = (
        "import gc, resource, sys, numpy\n"
        "from espnet2_bspmpnet.data.audio import write_audio\n"
        "def main():\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "    try: write_audio('x.wav', numpy.zeros(9999), 16000)\n"
        "    except OSError as error: kept = error\n"
        "    return kept.strerror\n"
        "said = main()\n"
        "gc.collect()\n"
        "sys.exit(said)\n"
    )
    done = completed([sys.executable, "-c", script], cwd=tmp_path, env=None)
    assert (done.returncode, done.stderr) == (1, "File too large\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate_in, rate_out", [(48000, 16000), (8000, 16000)])
def test_a_tone_keeps_its_pitch_and_level_when_resampled(rate_in, rate_out):
    wave = resample(tone(1000, rate_in), rate_in, rate_out)
    assert wave.dtype == np.float32 and len(wave) == rate_out
    middle = slice(1000, -1000)
    assert np.abs(wave - tone(1000, rate_out))[middle].max() < 1e-4


def test_what_the_new_rate_cannot_hold_dies():
    wave = resample(tone(10000, 48000), 48000, 16000)
    assert np.abs(wave[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("length", [1, 2, 159, 16001])
@pytest.mark.parametrize("rates", [(16000, 22050), (44100, 16000), (9, 10)])
def test_the_resampled_length_is_the_ratio_rounded_but_never_nothing(length, rates):
    expected = max(1, round(length * rates[1] / rates[0]))
    assert len(resample(noise(length), *rates)) == expected


def test_the_same_audio_is_not_written_again(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, noise(), 16000)
    os.utime(path, (1, 1))
    write_audio(path, noise(), 16000)
    assert path.stat().st_mtime == 1
    write_audio(path, -noise(), 16000)
    assert path.stat().st_mtime > 1


def test_equal_rates_change_nothing():
    np.testing.assert_array_equal(
        resample(noise(), 16000, 16000), noise().astype(np.float32)
    )


def test_audio_below_a_folder_is_listed_by_name(tmp_path):
    names = ("b.wav", "deep/a.flac", "c.WAV", ".hidden.wav", ".bin/d.wav", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_audio(tmp_path) == {
        "a": tmp_path / "deep" / "a.flac",
        "b": tmp_path / "b.wav",
        "c": tmp_path / "c.WAV",
    }


def test_a_folder_that_cannot_serve_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        list_audio(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no audio files"):
        list_audio(tmp_path)
    (tmp_path / "x").mkdir()
    for name in ("a.wav", "x/a.flac"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="x/a.flac: same name as .*a.wav"):
        list_audio(tmp_path)


def test_linked_folders_are_looked_into(tmp_path):
    for folder in ("elsewhere", "here"):
        (tmp_path / folder).mkdir()
    (tmp_path / "elsewhere/a.wav").touch()
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "here")
    (tmp_path / "here/speaker").symlink_to(tmp_path / "elsewhere")
    found = {"a": tmp_path / "here/speaker/a.wav"}
    assert list_audio(tmp_path / "here") == found


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    for folder in ("open", "shut"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.wav").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "shut")
    with pytest.raises(UserError, match="shut: no permission to look into it"):
        list_audio(tmp_path)


def test_a_name_that_is_no_text_is_reported(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"Stra\xdfe.wav")
    try:
        os.close(os.open(name, os.O_CREAT))
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    with pytest.raises(UserError, match=r"Stra\\udcdfe.wav.* is not UTF-8 text"):
        list_audio(tmp_path)


@pytest.mark.parametrize("start, length", [(0, 3), (4, 3), (-2, 9), (2, 0)])
def test_looped_audio_begins_again_at_its_end(start, length):
    wave = np.arange(5.0)
    expected = [wave[(start + n) % 5] for n in range(length)]
    assert looped(wave, start, length).tolist() == expected
