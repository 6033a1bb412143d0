"""WSJ0: found whichever way its discs were copied, and the first microphone only."""

import shutil

import pytest

from espnet2_bspmpnet.corpora.whamr.wsj0 import find_speech
from espnet2_bspmpnet.errors import UserError

NAMES = ("wsj0/si_tr_s/01t/01to030v.wav", "wsj0/si_dt_05/050/050a0501.wav")
DISCS = ("11-1.1/wsj0/si_tr_s/01t/01to030v", "11-6.1/wsj0/si_dt_05/050/050a0501")
MERGED = ("wsj0/si_tr_s/01t/01to030v", "wsj0/si_dt_05/050/050a0501")


def put(folder, stems, *suffixes):
    for stem in stems:
        for suffix in suffixes:
            path = folder / f"{stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.mark.parametrize(
    "stems, root",
    [
        (DISCS, "."),
        (tuple(f"csr_1/{stem}" for stem in DISCS), "."),
        (MERGED, "."),
        (MERGED, "wsj0"),
    ],
    ids=["discs", "a folder of discs", "merged", "wsj0 itself"],
)
def test_the_usual_layouts_are_found(tmp_path, stems, root):
    put(tmp_path, stems, ".wv1", ".wv2")
    found = find_speech(tmp_path / root, NAMES)
    expected = [tmp_path / f"{stem}.wv1" for stem in stems]
    assert [found[name].resolve() for name in NAMES] == expected


@pytest.mark.parametrize(
    "folder", ["wsj0/si_tr_s", "WSJ0/SI_TR_S", "11-1.1/WSJ0/SI_TR_S"]
)
def test_capital_letters_are_as_good(tmp_path, folder):
    put(tmp_path, [f"{folder}/01T/01TO030V"], ".WV1")
    assert find_speech(tmp_path, NAMES[:1])[NAMES[0]].name == "01TO030V.WV1"


def test_converted_files_are_taken_first(tmp_path):
    put(tmp_path, MERGED, ".wav", ".wv1")
    found = find_speech(tmp_path, NAMES)
    assert {path.suffix for path in found.values()} == {".wav"}


def test_the_second_microphone_is_no_replacement(tmp_path):
    put(tmp_path, MERGED, ".wv2")
    with pytest.raises(
        UserError, match=r"2 recordings are missing.*of 2 there is the second"
    ):
        find_speech(tmp_path, NAMES)


def test_missing_recordings_are_named(tmp_path):
    put(tmp_path, MERGED, ".wv1")
    (tmp_path / f"{MERGED[0]}.wv1").unlink()
    with pytest.raises(UserError, match="1 recordings.*: si_tr_s/01t/01to030v; copy"):
        find_speech(tmp_path, NAMES)


def test_for_another_folder_the_message_lists_what_was_looked_for(tmp_path):
    put(tmp_path, ["wsj1/si_tr_s2/4f1/4f1c0201"], ".wv1")
    with pytest.raises(
        UserError,
        match=r"is not WSJ0: looked for si_dt_05/, wsj0/si_dt_05/, 11-1.1/wsj0/si_dt_05"
        ".*LDC93S6A",
    ):
        find_speech(tmp_path, NAMES)
    shutil.rmtree(tmp_path / "wsj1")
    with pytest.raises(UserError, match="no such folder; WSJ0 must name the folder"):
        find_speech(tmp_path / "wsj1", NAMES)
