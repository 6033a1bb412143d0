"""SPHERE files: read as they are, or by a program where they are compressed."""

import os
import stat
import sys

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.corpora.whamr.sphere import (
    check_decodable,
    count_samples,
    read_speech,
)
from espnet2_bspmpnet.errors import UserError

WAVE = np.round(np.sin(np.arange(1000) / 7) * 9000)


@pytest.fixture
def plain(tmp_path):
    """An uncompressed file."""
    path = tmp_path / "01to030v.wv1"
    soundfile.write(path, WAVE.astype(np.int16), 16000, format="NIST")
    return path


@pytest.fixture
def shortened(plain):
    """A file whose header says that it is compressed."""
    content = plain.read_bytes()
    assert b"sample_coding -s3 pcm\n" in content
    coding = b"sample_coding -s26 pcm,embedded-shorten-v1.09\n"
    header = content[:1024].replace(b"sample_coding -s3 pcm\n", coding)
    plain.write_bytes(header[:1024] + content[1024:])
    return plain


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that makes a program of Python the only one on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name, code):
        path = folder / name
        path.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


# Called as sph2pipe is; "decodes" by taking the samples for what they are.
AS_SPH2PIPE = """
assert sys.argv[1:3] == ["-f", "wav"], sys.argv
import io, numpy, soundfile
samples = numpy.frombuffer(open(sys.argv[3], "rb").read()[1024:], "<i2")
wav = io.BytesIO()
soundfile.write(wav, samples[{part}], 16000, format="WAV")
sys.stdout.buffer.write(wav.getvalue())
"""


def test_uncompressed_speech_is_read_exactly(plain):
    assert np.array_equal(read_speech(plain, 16000) * 2**15, WAVE)
    assert count_samples(plain) == len(WAVE)
    check_decodable(plain)


def test_wav_is_read_alike(tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVE.astype(np.int16), 16000)
    assert np.array_equal(read_speech(tmp_path / "a.wav", 16000) * 2**15, WAVE)
    assert count_samples(tmp_path / "a.wav") == len(WAVE)


def test_compressed_speech_is_decoded_by_sph2pipe(shortened, program):
    program("sph2pipe", AS_SPH2PIPE.format(part=":"))
    check_decodable(shortened)
    assert np.array_equal(read_speech(shortened, 16000) * 2**15, WAVE)


def test_compressed_speech_is_counted_without_decoding(shortened, program):
    assert count_samples(shortened) == len(WAVE)


def test_a_missing_program_is_named(shortened, program):
    for attempt in (check_decodable, lambda path: read_speech(path, 16000)):
        with pytest.raises(UserError, match=r"01to030v.wv1.*ffmpeg.*sph2pipe"):
            attempt(shortened)


def test_speech_that_is_decoded_in_part_is_refused(shortened, program):
    program("sph2pipe", AS_SPH2PIPE.format(part=":300"))
    with pytest.raises(UserError, match="sph2pipe decodes 300 of 1000 samples"):
        read_speech(shortened, 16000)


def test_the_programs_own_error_is_shown(shortened, program):
    program("ffmpeg", "sys.exit('invalid data')")
    with pytest.raises(UserError, match="ffmpeg decodes 0 of 1000 .*: invalid data"):
        read_speech(shortened, 16000)


def test_another_rate_a_truncated_and_a_missing_file_are_reported(tmp_path, plain):
    with pytest.raises(UserError, match="16000 Hz in place of 8000"):
        read_speech(plain, 8000)
    os.truncate(plain, 2000)
    with pytest.raises(UserError, match="01to030v.wv1: the file is truncated"):
        read_speech(plain, 16000)
    os.truncate(plain, 100)
    with pytest.raises(UserError, match="damaged SPHERE header"):
        read_speech(plain, 16000)
    with pytest.raises(UserError, match="no such audio file"):
        count_samples(tmp_path / "none.wv1")
