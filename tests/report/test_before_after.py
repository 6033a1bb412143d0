"""The page of `bspmpnet enhance --page`: both recordings, to see and to hear."""

import re

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.report.before_after import MOST_PAIRS, write_before_after
from tests.speech import noisy, speechlike


@pytest.fixture
def pairs(tmp_path):
    """Return a function that makes pairs of so many seconds and channels."""

    def make(count, seconds=1.0, rate=16000, channels=1):
        made = []
        for number in range(count):
            clean = speechlike(seconds, rate, seed=number)
            names = [str(tmp_path / f"{kind}{number}.wav") for kind in ("n", "e")]
            for name, wave in zip(names, (noisy(clean, 5), clean), strict=True):
                soundfile.write(name, np.stack([wave] * channels, axis=1), rate)
            made.append((f"recording <{number}>", *names))
        return made

    return make


def test_each_recording_is_seen_and_heard_before_and_after(pairs, tmp_path):
    page = write_before_after(tmp_path / "page", pairs(2), "bspmpnet enhance")
    text = page.read_text()
    assert page == tmp_path / "page/index.html"
    assert len(re.findall(r'<audio controls[^>]*\ssrc="data:audio/flac', text)) == 4
    assert len(re.findall(r'<img alt="Spectrogram of the noisy', text)) == 2
    assert text.count("recording &lt;1&gt;</h2>") == 1
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # nothing from elsewhere


def test_of_long_stereo_recordings_the_first_channels_beginning_is_shown(
    pairs, tmp_path
):
    (pair,) = pairs(1, seconds=11.0, rate=8000, channels=2)
    text = write_before_after(tmp_path / "page", [pair], "").read_text()
    assert "The first 10 of 11.0 s." in text


def test_only_the_first_are_shown(pairs, tmp_path):
    (pair,) = pairs(1, seconds=0.1)
    page = write_before_after(tmp_path / "page", [pair] * (MOST_PAIRS + 3), "")
    assert page.read_text().count("</h2>") == MOST_PAIRS


def test_a_file_that_is_gone_is_named(pairs, tmp_path):
    (pair,) = pairs(1, seconds=0.1)
    (tmp_path / "e0.wav").unlink()
    with pytest.raises(UserError, match="e0.wav"):
        write_before_after(tmp_path / "page", [pair], "")
