"""Recordings of all kinds come in to the sample, or the file's name and the fix do."""

import contextlib
import io
import os
import shutil
import stat
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.recordings import open_recording, printable
from espnet2_bspmpnet.errors import UserError

RATE = 16000
FRAMES = 48077  # no multiple of any codec's block
needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not installed"
)


def signal(frames: int = FRAMES, channels: int = 1) -> np.ndarray:
    """Tones, another one in each channel, and noise: [frames, channels]."""
    noise = 0.02 * np.random.default_rng(0).standard_normal((frames, channels))
    tones = np.sin(0.05 * np.arange(frames)[:, None] * np.arange(1, channels + 1))
    return (0.3 * tones + noise).astype(np.float32)


def written(
    path: Path, format: str, subtype: str, rate: int = RATE, channels: int = 1
) -> Path:
    soundfile.write(path, signal(FRAMES, channels), rate, subtype, format=format)
    return path


def mp3_without_length(path: Path) -> bytes:
    """Take away an MP3's first frame, which states the length: like one of a stream."""
    content = written(path, "MP3", "MPEG_LAYER_III").read_bytes()
    assert b"Xing" in content[:64]
    content = content[content.index(content[:2], 4) :]
    path.write_bytes(content)
    return content


FORMATS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "GSM610"),
    ("WAVEX", "PCM_16"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AU", "ALAW"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("NIST", "PCM_16"),
    ("SDS", "PCM_16"),
]


@pytest.mark.parametrize("format, subtype", FORMATS)
def test_any_format_is_read_by_position_in_any_order(tmp_path, format, subtype):
    path = written(tmp_path / "a", format, subtype)
    with soundfile.SoundFile(path) as file:
        expected = file.read(file.frames, dtype="float32")
    with open_recording(path) as recording:
        assert (recording.format, recording.subtype) == (format, subtype)
        assert (recording.rate, recording.channels) == (RATE, 1)
        assert recording.frames == len(expected)
        np.testing.assert_array_equal(recording.read()[0], expected)
        blocks = list(recording.blocks(5000))
        assert {len(block[0]) for block in blocks[:-1]} == {5000}
        np.testing.assert_array_equal(np.concatenate(blocks, axis=1)[0], expected)
        last = recording.frames - 1
        ranges = [(30000, 40000), (35000, 45000), (9, 9), (7, 8), (0, 3000)]
        for start, stop in [*ranges, (last, last + 1)]:
            np.testing.assert_array_equal(
                recording.read(start, stop)[0], expected[start:stop]
            )


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 22050, 44100, 96000, 768000])
def test_any_rate(tmp_path, rate):
    with open_recording(written(tmp_path / "a.wav", "WAV", "PCM_16", rate)) as found:
        assert (found.rate, found.frames) == (rate, FRAMES)


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("format, subtype", [("WAV", "FLOAT"), ("OGG", "VORBIS")])
def test_channels_come_in_their_order(tmp_path, format, subtype, channels):
    path = written(tmp_path / "a", format, subtype, channels=channels)
    with open_recording(path) as recording:
        wave = recording.read(100, 20000)
    assert wave.shape == (channels, 19900) and wave.flags.c_contiguous
    assert wave.dtype == np.float32
    for found, expected in zip(wave, signal(FRAMES, channels).T):
        assert np.corrcoef(found, expected[100:20000])[0, 1] > 0.9


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(1000),
        np.full(1000, 0.5),
        np.where(np.arange(1000) % 100 < 50, 1.0, -1.0),
        np.array([0.25]),
    ],
    ids=["all zeros", "DC", "full-scale square", "one sample"],
)
def test_unusual_signals_are_no_faults(tmp_path, wave):
    soundfile.write(tmp_path / "a.wav", wave, RATE, "FLOAT")
    with open_recording(tmp_path / "a.wav") as recording:
        np.testing.assert_array_equal(recording.read(), wave[None].astype(np.float32))


@pytest.mark.parametrize(
    "name", ["Grüße 你好.flac", "two\nlines.flac", "-i.flac", os.fsdecode(b"\xdf.flac")]
)
def test_any_name(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    soundfile.write(io.FileIO(name, "wb"), signal(), RATE, format="FLAC")
    with open_recording(name) as recording:
        assert recording.frames == FRAMES
        assert recording.path == Path(name)
        assert recording.name.isprintable()


def test_printable_names_are_kept_and_others_escaped():
    assert printable("Grüße 你好.wav") == "Grüße 你好.wav"
    assert printable("two\nlines") == r"'two\nlines'"
    assert printable(os.fsdecode(b"\xdf")) == r"'\udcdf'"


def test_a_resource_fork_beside_an_mp3_is_not_taken_for_it(tmp_path):
    path = written(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    (tmp_path / "._a.mp3").write_bytes(bytes(300))  # as macOS puts on other disks
    with open_recording(path) as recording:
        assert recording.frames == FRAMES


def test_the_standard_input_and_streams_are_copied_and_read(tmp_path, monkeypatch):
    content = written(tmp_path / "a.flac", "FLAC", "PCM_16").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    for source in ("-", io.BytesIO(content)):
        with open_recording(source, scratch=tmp_path / "scratch") as recording:
            assert (recording.path, recording.format) == (None, "FLAC")
            assert recording.read(FRAMES - 5).shape == (1, 5)
        assert list((tmp_path / "scratch").iterdir()) == []


def test_a_named_pipe_is_copied_and_read(tmp_path):
    content = written(tmp_path / "a.wav", "WAV", "PCM_16").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    thread = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[content])
    thread.start()
    with open_recording(tmp_path / "pipe") as recording:
        assert recording.frames == FRAMES
    thread.join()


def test_tags_are_given(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.flac", "w", RATE, 1) as file:
        file.title = "Grüße"
        file.write(signal())
    with open_recording(tmp_path / "a.flac") as recording:
        assert recording.tags == {"title": "Grüße"}


# --- lengths that a header does not state


def test_an_mp3_that_does_not_state_its_length_is_read_whole(tmp_path):
    """libsndfile estimates it from the first frame, and drops what comes after."""
    loud_first = np.concatenate([signal(), np.zeros((10 * FRAMES, 1), np.float32)])
    path = tmp_path / "a.mp3"
    soundfile.write(path, loud_first, RATE, format="MP3")
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 4) :])
    assert soundfile.info(path).frames < 0.8 * len(loud_first)
    with open_recording(path) as recording:
        # Without the header, the silence that codecs put at both ends stays.
        assert 0 < recording.frames - len(loud_first) < 4 * 1152
        wave = recording.read()
        assert np.abs(wave[0, : FRAMES // 2]).max() > 0.2
        np.testing.assert_array_equal(recording.read(500, 9000), wave[:, 500:9000])


def test_mp3s_put_together_are_read_whole(tmp_path):
    path = written(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    path.write_bytes(2 * path.read_bytes())
    with open_recording(path) as recording:
        assert recording.frames >= 2 * FRAMES


def test_an_mp3_behind_large_tags_is_read_whole(tmp_path):
    path = tmp_path / "a.mp3"
    size = 300_000  # of a picture
    sevens = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    tags = b"ID3\3\0\0" + sevens + bytes(size)
    path.write_bytes(tags + mp3_without_length(path))
    with open_recording(path) as recording:
        assert recording.frames >= FRAMES


def test_a_flac_from_a_pipe_is_counted(tmp_path):
    path = written(tmp_path / "a.flac", "FLAC", "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of its number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with open_recording(path) as recording:
        assert recording.frames == FRAMES
        tail = recording.read(FRAMES - 100)[0]
    np.testing.assert_allclose(tail, signal()[-100:, 0], atol=2**-15)


@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
@pytest.mark.parametrize("length", [0, 0x7FFF0000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_is_not_taken_for_truncated(tmp_path, format, length):
    path = written(tmp_path / "a.wav", format, "PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = length.to_bytes(4, "little")
    place = content.index(b"data") + 4
    content[place : place + 4] = length.to_bytes(4, "little")
    path.write_bytes(content)
    with open_recording(path) as recording:
        assert recording.read().shape == (1, FRAMES)


def test_an_rf64_from_a_pipe_is_not_taken_for_empty(tmp_path):
    path = written(tmp_path / "a.wav", "RF64", "PCM_16")
    content = bytearray(path.read_bytes())
    content[20:44] = bytes(24)  # the lengths of file and samples, and their number
    path.write_bytes(content)
    with open_recording(path) as recording:
        assert recording.read().shape == (1, FRAMES)


# --- long recordings


@pytest.mark.parametrize(
    "format, rate, channels", [("WAV", 16000, 1), ("RF64", 96000, 6)]
)
def test_two_hours_are_read_within_little_memory(tmp_path, format, rate, channels):
    frames, path = 7200 * rate, tmp_path / "long.wav"
    with soundfile.SoundFile(
        path, "w", rate, channels, "PCM_24", format=format
    ) as file:
        file.seek(frames - 1)  # and nothing is written before
        file.write(np.full((1, channels), 0.5))
    tracemalloc.start()
    with open_recording(path) as recording:
        assert recording.frames == frames
        assert recording.read(frames // 2, frames // 2 + 160_000).max() == 0
        assert recording.read(frames - 1)[:, 0] == pytest.approx([0.5] * channels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# --- faults


def header_only(path: Path) -> None:
    soundfile.write(path, np.zeros((0, 1)), RATE)


def header_and_title(path: Path) -> None:
    header_only(path)
    title = b"LIST\x10\0\0\0INFOINAM\4\0\0\0abcd"
    content = path.read_bytes() + title
    size = (len(content) - 8).to_bytes(4, "little")
    path.write_bytes(content[:4] + size + content[8:])


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: None, "no such file; correct its path"),
        (Path.touch, r"the file is empty \(0 bytes\); replace or remove it"),
        (Path.mkdir, "is a folder, not a file; name a recording"),
        (header_only, "holds no samples; replace or remove it"),
        (header_and_title, "holds no samples; replace or remove it"),
        (lambda path: path.symlink_to(path), r"cannot be opened \(.*symbolic links\)"),
        (lambda path: path.symlink_to("/dev/null"), "is a device, not a file"),
    ],
    ids=[
        "vanished",
        "zero length",
        "folder",
        "header only",
        "title only",
        "symlink loop",
        "device",
    ],
)
def test_a_file_without_samples_is_named(tmp_path, make, said):
    path = tmp_path / "a.wav"
    make(path)
    with pytest.raises(UserError, match=f"^{path}: {said}"):
        open_recording(path)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.999])
@pytest.mark.parametrize(
    "format, subtype",
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "FLOAT"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("NIST", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
def test_a_truncated_file_is_named(tmp_path, format, subtype, kept):
    path = written(tmp_path / "a", format, subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with (
        pytest.raises(UserError, match=f"^{path}: the file is truncated or damaged"),
        open_recording(path) as recording,
    ):
        for _ in recording.blocks(RATE):
            pass


def test_a_truncated_file_is_named_wherever_it_is_read(tmp_path):
    path = written(tmp_path / "a.flac", "FLAC", "PCM_16")
    path.write_bytes(path.read_bytes()[:30000])
    with open_recording(path) as recording:
        recording.read(0, 100)
        with pytest.raises(UserError, match="a.flac: the file is truncated"):
            recording.read(FRAMES - 100)


def test_a_header_that_is_longer_than_the_log_hides_no_truncation(tmp_path):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        file.title, file.comment = "title " * 900, "comment " * 900
        file.write(signal())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="truncated"):
        open_recording(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_time_of_the_first_sample_that_is_no_number_is_given(tmp_path, value):
    wave = signal(channels=2)
    wave[24000:, 1] = value
    soundfile.write(tmp_path / "a.wav", wave, RATE, "FLOAT")
    with open_recording(tmp_path / "a.wav") as recording:
        assert recording.read(0, 24000).shape == (2, 24000)
        with pytest.raises(UserError, match=r"a.wav: holds NaN .* first at 1\.500 s;"):
            list(recording.blocks(10000))


@contextlib.contextmanager
def without_privileges():
    """Be nobody for a while, as root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    written(tmp_path / "a.wav", "WAV", "PCM_16").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with (
        without_privileges(),
        pytest.raises(
            UserError, match="a.wav: no permission to read it; ask its owner"
        ),
    ):
        open_recording("a.wav")


# --- what libsndfile cannot read: the ffmpeg program


def stand_in(folder: Path, monkeypatch, script: str) -> Path:
    """Put a program called ffmpeg on PATH, and nothing else; make a file for it."""
    program = folder / "bin/ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(program.parent))
    path = folder / "film.mp4"
    path.write_bytes(b"\0\0\0\x20ftypisom, which libsndfile does not know" * 9)
    return path


def test_without_ffmpeg_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = stand_in(tmp_path, monkeypatch, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"^{path}: .* install ffmpeg, otherwise .*$"):
        open_recording(path)


@pytest.mark.parametrize(
    "subtype, expected",
    [("PCM_16", "PCM_16"), ("PCM_24", "PCM_24"), ("FLOAT", "PCM_16")],
)
def test_ffmpeg_decodes_once_to_a_file_that_goes(
    tmp_path, monkeypatch, subtype, expected
):
    sound = written(tmp_path / "a.wav", "WAV", subtype, 44100, 2)
    wave, _ = soundfile.read(sound, dtype="float32")
    soundfile.write(tmp_path / "a.au", wave, 44100, "FLOAT")
    path = stand_in(
        tmp_path,
        monkeypatch,
        f"echo run >> {tmp_path}/log; exec /bin/cat {tmp_path}/a.au",
    )
    scratch = tmp_path / "scratch"
    with open_recording(path, scratch) as recording:
        assert (recording.format, recording.subtype) == (None, expected)
        assert (recording.rate, recording.channels) == (44100, 2)
        for _ in range(2):
            np.testing.assert_array_equal(recording.read(), wave.T)
    assert list(scratch.iterdir()) == []
    assert (tmp_path / "log").read_text() == "run\n"


@pytest.mark.parametrize(
    "script, said",
    [
        (
            "echo '[mov @ 0x5] moov atom not found' >&2; exit 1",
            "cannot be read as audio",
        ),
        ("echo 'Stream map matches no streams.' >&2; exit 1", "holds no audio track"),
        (
            "echo '[mkv @ 0x5] File ended early' >&2",
            "truncated or damaged .*ended early",
        ),
    ],
)
def test_what_ffmpeg_complains_about_is_reported(tmp_path, monkeypatch, script, said):
    path = stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(UserError, match=f"^{path}: .*{said}"):
        open_recording(path)


def test_a_full_disk_is_no_fault_of_the_film(tmp_path, monkeypatch):
    from espnet2_bspmpnet.errors import MachineError

    path = stand_in(
        tmp_path, monkeypatch, "echo 'out: No space left on device' >&2; exit 1"
    )
    with pytest.raises(MachineError, match=f"^{tmp_path}: the disk is full"):
        open_recording(path, tmp_path)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "-a\n.aac", "a.mp4"])
def test_ffmpeg_reads_video_and_other_audio(tmp_path, name):
    sound = written(tmp_path / "a.wav", "WAV", "PCM_16", 44100, 2)
    picture = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64"]
    command = ["ffmpeg", "-v", "error", "-i", sound]
    command += picture if name == "a.mp4" else []
    subprocess.run([*command, f"file:{tmp_path / name}"], check=True)
    with open_recording(tmp_path / name) as recording:
        assert recording.format is None
        assert (recording.rate, recording.channels) == (44100, 2)
        assert recording.frames == pytest.approx(FRAMES, abs=5000)
        wave = recording.read()
    spectrum = np.abs(np.fft.rfft(wave[:, 5000:40000]))
    tones = np.argmax(spectrum, axis=1) * 2 * np.pi / 35000
    np.testing.assert_allclose(tones, [0.05, 0.1], atol=1e-3)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.mkv"])
def test_a_truncated_film_is_named(tmp_path, name):
    sound = written(tmp_path / "a.wav", "WAV", "PCM_16", 44100, 2)
    path = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", sound, path], check=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"^{path}: "):
        open_recording(path)


@needs_ffmpeg
def test_what_is_no_audio_is_named(tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("this is no audio at all, but it has some length\n" * 10)
    with pytest.raises(UserError, match=f"^{path}: cannot be read as audio"):
        open_recording(path)
