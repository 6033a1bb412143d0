"""Recordings and references are put together, and what is done to them is said."""

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring.pairs import (
    AudioFile,
    FilePair,
    file_hash,
    hash_of_references,
    inspect_files,
    pair_up,
)


def file(name: str, frames: int = 16000, rate: int = 16000) -> AudioFile:
    return AudioFile(name, f"hash of {name}", frames, rate)


def test_a_file_is_known_by_its_content(tmp_path):
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    hashes = [file_hash(tmp_path / name) for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_pair_says_what_is_done_to_it():
    assert FilePair(file("r"), file("e")).note == ""
    pair = FilePair(file("r"), file("e", frames=31998, rate=32000))
    assert (pair.frames, pair.cut) == (15999, 1)
    assert pair.note == (
        "resampled from 32000 Hz to 16000 Hz; 1 samples of the reference cut off"
    )


def test_a_tenth_of_a_second_is_cut_and_more_refused():
    references = {"u": file("r")}
    assert pair_up(references, {"u": file("e", frames=14400)})["u"].cut == 1600
    with pytest.raises(
        UserError, match="e: 14399 samples, but its reference r has 16000"
    ):
        pair_up(references, {"u": file("e", frames=14399)})


def test_sets_of_references_differ_by_names_and_contents():
    def hashed(name: str, reference: str, estimate: str = "e") -> str:
        return hash_of_references({name: FilePair(file(reference), file(estimate))})

    assert hashed("u", "r") == hashed("u", "r", estimate="other")
    assert len({hashed("u", "r"), hashed("v", "r"), hashed("u", "s")}) == 3


def test_each_file_is_looked_at_in_the_order_of_the_references(tmp_path):
    for folder in ("clean", "noisy"):
        (tmp_path / folder).mkdir()
        for name in ("b", "a"):
            soundfile.write(tmp_path / folder / f"{name}.wav", np.ones(8) / 2, 16000)
    paths = {"": tmp_path / "clean", "noisy": tmp_path / "noisy"}
    found = inspect_files(paths, nj=2)
    assert {name: list(files) for name, files in found.items()} == {
        "": ["a", "b"],
        "noisy": ["a", "b"],
    }
    assert (found["noisy"]["a"].frames, found["noisy"]["a"].rate) == (8, 16000)
    assert found["noisy"]["a"].hash == found[""]["b"].hash
    assert list(inspect_files(paths, nj=1, part=(2, 2))["noisy"]) == ["b"]
