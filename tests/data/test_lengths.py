"""Lengths that libsndfile gets wrong are read from the files themselves."""

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data import lengths

WAVE = 0.1 * np.sin(np.arange(24000) / 5)


@pytest.fixture
def opened(tmp_path):
    """Return a function that writes a file, changes its bytes, and opens it."""
    files = []

    def open_changed(name, change=lambda content: content, **format):
        path = tmp_path / name
        soundfile.write(path, WAVE, 16000, **format)
        path.write_bytes(change(path.read_bytes()))
        files.append(path.open("rb"))
        return files[-1].fileno()

    yield open_changed
    for file in files:
        file.close()


@pytest.mark.parametrize("name", ["a.ogg", "a.caf"])
def test_a_file_that_ends_within_a_page_or_chunk_is_told_from_a_whole_one(opened, name):
    assert not lengths.ends_within_a_part(opened(name))
    assert lengths.ends_within_a_part(opened(name, lambda content: content[:-7]))


def test_a_header_may_promise_more_only_if_it_came_from_a_pipe(opened):
    file = opened("a.wav")
    assert lengths.is_shorter_than_promised(file, 1, "data : 48000 (should be 800)")
    assert not lengths.is_shorter_than_promised(file, 1, "data : 800 (should be 900)")
    for stream in (0x7FFFFFFF, 0xFFFFFFFF):
        log = f"data : {stream} (should be 800)"
        assert not lengths.is_shorter_than_promised(file, 1, log)


def test_a_wav_that_was_not_closed_states_no_length(opened):
    def unclose(content):
        place = content.index(b"data") + 4
        zeros = bytes(4)
        content = content[:4] + zeros + content[8:]
        return content[:place] + zeros + content[place + 4 :]

    assert lengths.length_of_unclosed_wav(opened("a.wav")) is None
    assert lengths.length_of_unclosed_wav(opened("b.wav", unclose)) == 40


def test_an_mp3_that_does_not_state_its_length_begins_after_its_tags(opened):
    def untitled(content):  # without the first frame, which has the number of frames
        return content[content.index(content[:2], 4) :]

    tag = b"ID3\3\0\0\0\0\0\5" + bytes(5)
    assert lengths.start_of_unknown_mpeg(opened("a.mp3")) is None
    assert lengths.start_of_unknown_mpeg(opened("b.mp3", untitled)) == 0
    tagged = opened("c.mp3", lambda content: tag + untitled(content))
    assert lengths.start_of_unknown_mpeg(tagged) == len(tag)
