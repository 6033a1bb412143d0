"""What is written is whole, unclipped, to the sample, and like the input."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data import recording_writer
from espnet2_bspmpnet.data.recording_writer import OutputFormat, RecordingWriter
from espnet2_bspmpnet.data.recordings import open_recording
from espnet2_bspmpnet.errors import MachineError, UserError

RATE = 16000
FRAMES = 48077  # no multiple of any codec's block
WAV = OutputFormat("WAV", "PCM_16", ".wav")
WAV_FLOAT = OutputFormat("WAV", "FLOAT", ".wav")


def signal(channels: int = 1, peak: float = 0.5, frames: int = FRAMES) -> np.ndarray:
    """Tones, another one in each channel, and noise: [channels, frames]."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((channels, frames))
    wave = noise + np.sin(
        0.05 * np.arange(frames) * np.arange(1, channels + 1)[:, None]
    )
    return (wave * peak / np.abs(wave).max()).astype(np.float32)


def write(
    path: Path,
    wave: np.ndarray,
    output_format: OutputFormat,
    rate: int = RATE,
    gain: float = 1.0,
    **options,
) -> RecordingWriter:
    with RecordingWriter(path, rate, len(wave), output_format, **options) as writer:
        for start in range(0, wave.shape[1], 10000):
            writer.write(wave[:, start : start + 10000])
        writer.close(gain)
    return writer


def read(path: Path) -> np.ndarray:
    with open_recording(path) as recording:
        return recording.read()


def step(subtype: str) -> float:
    return 2.0 ** (1 - int(subtype.split("_")[1].strip("US")))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "format, subtype",
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAVEX", "PCM_24"),
        ("W64", "PCM_32"),
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("AU", "PCM_16"),
        ("CAF", "ALAC_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("NIST", "PCM_16"),
    ],
)
def test_integers_are_rounded_to_the_nearest_step(tmp_path, format, subtype, channels):
    wave = signal(channels)
    write(tmp_path / "a", wave, OutputFormat(format, subtype, ""), 44100)
    with open_recording(tmp_path / "a") as recording:
        assert (recording.format, recording.subtype) == (format, subtype)
        assert (recording.rate, recording.channels) == (44100, channels)
        # Half a step, and float32's own rounding, which counts at 24 bits and more.
        error = np.abs(recording.read() - wave).max()
    assert error <= 0.5 * step(subtype) + 2.0**-25


@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF", "W64", "RF64"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_are_kept_as_they_are_above_full_scale_too(tmp_path, format, subtype):
    wave = signal(2, peak=3.0)
    writer = write(tmp_path / "a", wave, OutputFormat(format, subtype, ""))
    assert writer.gain_db == 0.0
    np.testing.assert_array_equal(read(tmp_path / "a"), wave)


@pytest.mark.parametrize("frames", [1, 577, FRAMES])
@pytest.mark.parametrize("rate", [8000, 48000])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_lossy_files_have_the_length_to_the_sample(tmp_path, subtype, rate, frames):
    wave = signal(2, frames=frames)
    format = "MP3" if subtype == "MPEG_LAYER_III" else "OGG"
    write(tmp_path / "a", wave, OutputFormat(format, subtype, ""), rate)
    found = read(tmp_path / "a")
    assert found.shape == wave.shape
    if frames == FRAMES:
        assert np.corrcoef(found[0], wave[0])[0, 1] > 0.98


def test_what_was_read_is_written_to_the_same_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", signal(2, peak=1.0).T, RATE, "PCM_16")
    wave = read(tmp_path / "a.wav")
    write(tmp_path / "b.wav", wave, WAV)
    np.testing.assert_array_equal(read(tmp_path / "b.wav"), wave)


def test_the_same_samples_are_the_same_bytes_at_another_time(tmp_path):
    formats = [("WAV", "FLOAT"), ("AIFF", "DOUBLE"), ("WAVEX", "FLOAT")]
    formats += [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
    formats += [("FLAC", "PCM_16"), ("CAF", "ALAC_16"), ("RF64", "FLOAT")]
    tags = {"title": "long " * 2000}

    def contents() -> dict[tuple[str, str], bytes]:
        found = {}
        for format in formats:
            write(tmp_path / "a", signal(), OutputFormat(*format, ""), tags=tags)
            found[format] = (tmp_path / "a").read_bytes()
        return found

    first = contents()
    time.sleep(1.1)  # libsndfile's clock counts seconds
    assert contents() == first


def test_a_peak_above_full_scale_brings_all_channels_down(tmp_path):
    wave = signal(2)
    wave[1] *= 4  # to 2
    writer = write(tmp_path / "a.wav", wave, WAV)
    assert writer.gain_db == pytest.approx(-20 * np.log10(2), abs=0.01)
    np.testing.assert_allclose(read(tmp_path / "a.wav"), wave / 2, atol=2**-14)
    assert np.abs(read(tmp_path / "a.wav")).max() < 1


def test_a_full_scale_square_stays(tmp_path):
    square = np.where(np.arange(1000) % 100 < 50, 1.0, -1.0)[None]
    writer = write(tmp_path / "a.wav", square, WAV)
    assert writer.gain_db == 0.0
    assert set(read(tmp_path / "a.wav")[0]) == {np.float32(1 - 2**-15), -1.0}


@pytest.mark.parametrize("peak", [0.01, 2.0])
@pytest.mark.parametrize("output_format", [WAV, WAV_FLOAT])
def test_normalising_brings_the_peak_to_1_dbfs_below(tmp_path, output_format, peak):
    writer = write(
        tmp_path / "a.wav", signal(2, peak=peak), output_format, normalize=True
    )
    level = 20 * np.log10(np.abs(read(tmp_path / "a.wav")).max())
    assert level == pytest.approx(-1, abs=0.01)
    assert writer.gain_db == pytest.approx(-1 - 20 * np.log10(peak), abs=0.01)


def test_silence_is_normalised_to_silence(tmp_path):
    write(tmp_path / "a.wav", np.zeros((1, 10)), WAV, normalize=True)
    assert not read(tmp_path / "a.wav").any()


def test_a_gain_at_the_end_counts_before_full_scale(tmp_path):
    writer = write(tmp_path / "a.wav", signal(), WAV_FLOAT, gain=4.0)
    assert writer.gain_db == 0.0
    np.testing.assert_allclose(read(tmp_path / "a.wav"), 4 * signal(), rtol=1e-6)
    writer = write(tmp_path / "a.wav", signal(), WAV, gain=4.0)
    assert writer.gain_db == pytest.approx(-20 * np.log10(2), abs=0.01)
    np.testing.assert_allclose(read(tmp_path / "a.wav"), 2 * signal(), atol=2**-14)


def test_long_recordings_wait_on_the_disk_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_writer, "_MEMORY", 1000)
    with RecordingWriter(tmp_path / "a.wav", RATE, 2, WAV_FLOAT) as writer:
        writer.write(signal(2))
        assert list(tmp_path.iterdir()) == []
        writer.write(signal(2))
    wave = np.concatenate([signal(2), signal(2)], axis=1)
    np.testing.assert_array_equal(read(tmp_path / "a.wav"), wave)


def test_tags_are_written_where_the_format_has_them(tmp_path):
    tags = {"title": "Grüße", "artist": "Ω"}
    for format, expected in [(WAV, tags), (OutputFormat("AU", "PCM_16", ".au"), {})]:
        write(tmp_path / "a", signal(), format, tags=tags)
        with open_recording(tmp_path / "a") as recording:
            assert recording.tags == expected


def test_what_a_wav_cannot_hold_becomes_an_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_writer, "_LARGEST_WAV", 2 * FRAMES)
    write(tmp_path / "a.wav", signal(), WAV)
    assert soundfile.info(tmp_path / "a.wav").format == "WAV"
    write(tmp_path / "a.wav", signal(2), WAV)
    assert soundfile.info(tmp_path / "a.wav").format == "RF64"


# --- the format


def like(tmp_path, format, subtype, rate=RATE, channels=1, name="a.Name", **wishes):
    path = tmp_path / name
    soundfile.write(path, np.zeros((100, channels)), rate, subtype, format=format)
    with open_recording(path) as recording:
        return OutputFormat.like(recording, **wishes)


@pytest.mark.parametrize(
    "format, subtype, rate, channels",
    [
        ("WAV", "PCM_U8", 8000, 1),
        ("WAV", "FLOAT", 768000, 12),
        ("RF64", "PCM_24", 96000, 6),
        ("FLAC", "PCM_24", 192000, 8),
        ("OGG", "VORBIS", 11025, 6),
        ("OGG", "OPUS", 24000, 2),
        ("MP3", "MPEG_LAYER_III", 22050, 2),
        ("AIFF", "ULAW", 8000, 2),
        ("NIST", "PCM_16", 16000, 1),
    ],
)
def test_the_output_is_like_the_input(tmp_path, format, subtype, rate, channels):
    assert like(tmp_path, format, subtype, rate, channels) == OutputFormat(
        format, subtype, ".Name"
    )


@pytest.mark.parametrize(
    "format, subtype, expected",
    [
        ("WAV", "IMA_ADPCM", ("WAV", "PCM_16", ".Name")),  # whole blocks only
        ("WAV", "GSM610", ("WAV", "PCM_16", ".Name")),
        ("CAF", "ALAC_20", ("CAF", "PCM_24", ".Name")),
        ("PAF", "PCM_24", ("WAV", "PCM_24", ".wav")),
    ],
)
def test_the_nearest_format_is_taken_and_reported(tmp_path, format, subtype, expected):
    found = like(tmp_path, format, subtype)
    assert (found.format, found.subtype, found.suffix) == expected
    assert found.note == (
        f"{tmp_path}/a.Name: its format cannot be written, so the output is "
        f"{expected[0]} {expected[1]}"
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_what_only_ffmpeg_reads_becomes_a_wav(tmp_path, subtype):
    soundfile.write(tmp_path / "film.mp4", np.zeros(9), RATE, subtype, format="WAV")
    with open_recording(tmp_path / "film.mp4") as recording:
        recording.format = None
        found = OutputFormat.like(recording)
    assert (found.format, found.subtype, found.suffix) == ("WAV", subtype, ".wav")
    assert found.note.startswith(f"{tmp_path}/film.mp4: its format cannot be written")


@pytest.mark.parametrize(
    "own, wishes, expected",
    [
        (("WAV", "PCM_24"), {"container": "flac"}, ("FLAC", "PCM_24", ".flac")),
        (("WAV", "FLOAT"), {"container": "flac"}, ("FLAC", "PCM_24", ".flac")),
        (("WAV", "FLOAT"), {"container": "wav"}, ("WAV", "FLOAT", ".Name")),
        (("FLAC", "PCM_16"), {"bits": "24"}, ("FLAC", "PCM_24", ".Name")),
        (("FLAC", "PCM_16"), {"bits": "float"}, ("WAV", "FLOAT", ".wav")),
        (("OGG", "VORBIS"), {"bits": "16"}, ("WAV", "PCM_16", ".wav")),
        (("OGG", "VORBIS"), {"container": "wav"}, ("WAV", "PCM_16", ".wav")),
        (("OGG", "VORBIS"), {"container": "opus"}, ("OGG", "OPUS", ".opus")),
        (("WAV", "PCM_16"), {"container": "ogg"}, ("OGG", "VORBIS", ".ogg")),
        (("AU", "ULAW"), {"container": "mp3"}, ("MP3", "MPEG_LAYER_III", ".mp3")),
        (
            ("FLAC", "PCM_16"),
            {"container": "wav", "bits": "32"},
            ("WAV", "PCM_32", ".wav"),
        ),
    ],
)
def test_another_format_is_taken_if_asked_for(tmp_path, own, wishes, expected):
    found = like(tmp_path, *own, **wishes)
    assert (found.format, found.subtype, found.suffix) == expected
    assert found.note == ""


@pytest.mark.parametrize(
    "rate, channels, wishes, said",
    [
        (44100, 1, {"container": "opus"}, "opus cannot hold 1 channels, 44100 Hz;"),
        (RATE, 3, {"container": "mp3"}, "mp3 cannot hold 3 channels, 16000 Hz;"),
        (RATE, 9, {"container": "flac"}, "flac cannot hold 9 channels, 16000 Hz;"),
        (RATE, 256, {"container": "ogg"}, "ogg cannot hold 256 channels, 16000 Hz;"),
        (768000, 1, {"container": "ogg"}, "ogg cannot hold 1 channels, 768000 Hz;"),
        (
            RATE,
            1,
            {"container": "flac", "bits": "32"},
            "flac cannot hold 32 bits, 1 ch",
        ),
        (RATE, 1, {"container": "mp3", "bits": "16"}, "mp3 cannot hold 16 bits, 1 ch"),
    ],
)
def test_an_impossible_wish_is_refused(tmp_path, rate, channels, wishes, said):
    with pytest.raises(UserError, match=f"^{tmp_path}/a.Name: {said}"):
        like(tmp_path, "WAV", "PCM_16", rate, channels, **wishes)


# --- whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_recording_leaves_the_old_one(tmp_path, error, monkeypatch):
    (tmp_path / "a.wav").write_text("the old one")

    def interrupt(*anything: object) -> None:
        raise error

    with (
        pytest.raises(error),
        RecordingWriter(tmp_path / "a.wav", RATE, 1, WAV) as file,
    ):
        file.write(signal())
        interrupt()
    monkeypatch.setattr(RecordingWriter, "_verify", interrupt)
    with pytest.raises(error):
        write(tmp_path / "a.wav", signal(), WAV)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_text() == "the old one"


def test_samples_that_are_not_finite_are_not_written(tmp_path):
    wave = signal()
    wave[0, 20000] = np.nan
    with pytest.raises(UserError, match="a.wav: not written, because .* NaN"):
        write(tmp_path / "a.wav", wave, WAV)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_not_written_whole_is_noticed(tmp_path, monkeypatch):
    encode = RecordingWriter._encode

    def encode_half(writer: RecordingWriter, path: Path, gain: float) -> None:
        encode(writer, path, gain)
        path.write_bytes(path.read_bytes()[:5000])

    monkeypatch.setattr(RecordingWriter, "_encode", encode_half)
    for name, format in [("a.wav", "WAV"), ("a.flac", "FLAC")]:
        with pytest.raises(MachineError, match=f"{name}: was not written whole"):
            write(tmp_path / name, signal(), OutputFormat(format, "PCM_16", ""))
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import sys, numpy
from espnet2_bspmpnet.data.recording_writer import *
for format in OutputFormat("WAV", "PCM_16", ""), OutputFormat("MP3", "MPEG_LAYER_III", ""):
    try:
        with RecordingWriter("disk/a", 16000, 1, format) as writer:
            writer.write(numpy.random.uniform(-1, 1, (1, 160000)))
    except MachineError as error:
        print(error)
import os
print(os.listdir("disk"))
"""


def test_a_full_disk_is_reported_and_nothing_left_on_it(tmp_path):
    mount = "mount -t tmpfs -o size=16k tmpfs disk"
    own_mounts = ["unshare", "-rm", "sh", "-c"]
    (tmp_path / "disk").mkdir()
    if (
        shutil.which("unshare") is None
        or subprocess.run(
            [*own_mounts, mount], cwd=tmp_path, capture_output=True
        ).returncode
    ):
        pytest.skip("cannot mount a small disk here")
    script = f'{mount} && exec "$0" -c "$1"'
    done = subprocess.run(
        [*own_mounts, script, sys.executable, FULL_DISK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(recording_writer.__file__).parents[2])},
    )
    message = "disk/a: the disk is full; free some space and run again\n"
    assert (done.stderr, done.stdout) == ("", 2 * message + "[]\n")


def test_a_format_that_does_not_fit_is_an_error(tmp_path):
    opus = OutputFormat("OGG", "OPUS", ".opus")
    with pytest.raises(
        UserError, match="a.opus: cannot be written .*Opus only supports"
    ):
        write(tmp_path / "a.opus", signal(), opus, 44100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["two\nlines.wav", "ü" * 125 + ".wav"])
def test_any_name_that_the_system_takes(tmp_path, name):
    write(tmp_path / "new" / name, signal(), WAV)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
