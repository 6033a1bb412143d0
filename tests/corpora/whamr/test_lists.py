"""The published lists are read as they are, and what is wrong in them is named."""

from pathlib import Path

import pytest

from espnet2_bspmpnet.corpora.whamr.lists import (
    read_mixtures,
    read_recordings,
    read_snrs,
)
from espnet2_bspmpnet.errors import UserError
from tests.miniatures.whamr import COUNTS, FEW, LISTS

METADATA = "wham_noise/metadata"


def read(folder: Path, split: str, mode: str = "min"):
    return read_mixtures(folder / LISTS, folder / "wham_noise", split, mode)


def test_mixtures_come_in_the_lists_order_with_all_that_generating_needs(sources):
    levels = (sources / METADATA / "mix_param_meta_tr.csv").read_text().splitlines()
    mixtures = read(sources, "tr")
    assert [m.name for m in mixtures] == [line.split(",")[0] for line in levels[1:]]
    first = mixtures[0]
    assert (first.split, first.start) == ("tr", int(levels[1].split(",")[1]))
    assert first.name.startswith(Path(first.speech).stem)
    assert Path(first.other).stem in first.name
    assert 5 <= first.room.size[0] <= 6 and first.room.t60 == 0.1


def test_modes_differ_in_their_gains_alone(sources):
    for short, long in zip(read(sources, "tt"), read(sources, "tt", "max")):
        assert short.noise_gain > long.noise_gain
        gains = {"wsjmix_gain", "speech_gain", "noise_gain"}
        same = set(short._fields) - gains
        assert all(getattr(short, x) == getattr(long, x) for x in same)


def test_recordings_and_snrs_are_those_of_the_mixtures(sources):
    for split in COUNTS:
        mixtures = read(sources, split)
        assert read_recordings(sources / LISTS, split) == {
            path for mixture in mixtures for path in (mixture.speech, mixture.other)
        }
        assert read_snrs(sources / "wham_noise", split) == {
            mixture.name: mixture.snr for mixture in mixtures
        }


def rewrite(path: Path, change) -> None:
    path.write_text(change(path.read_text()))


def in_reverse(table: str) -> str:
    head, *rows = table.splitlines(keepends=True)
    return "".join([head, *reversed(rows)])


@pytest.mark.parametrize(
    "file, damage, message",
    [
        (f"{LISTS}/mix_2_spk_filenames_tr.csv", Path.unlink, "no such list.*whamr_scr"),
        (f"{LISTS}/reverb_params_cv.csv", Path.unlink, "no such list.*whamr_scripts"),
        (f"{METADATA}/mix_param_meta_tt.csv", Path.unlink, "no such list.*wham_noise"),
        (f"{METADATA}/scaling_tr.npz", Path.unlink, "no such list.*wham_noise.zip"),
        (
            f"{METADATA}/scaling_tr.npz",
            lambda path: path.write_bytes(path.read_bytes()[:900]),
            "damaged or another file",
        ),
        (
            f"{METADATA}/mix_param_meta_tr.csv",
            lambda path: rewrite(path, in_reverse),
            "scaling_tr.npz: .*not in the order of mix_param_meta_tr.*wham_noise.zip",
        ),
        (
            f"{LISTS}/reverb_params_tr.csv",
            lambda path: rewrite(path, lambda text: text.replace("T60", "RT60")),
            "has no column T60",
        ),
        (
            f"{LISTS}/reverb_params_tr.csv",
            lambda path: rewrite(path, lambda text: text[:-50]),
            "cut short",
        ),
        (
            f"{LISTS}/reverb_params_tr.csv",
            lambda path: rewrite(path, lambda text: text.replace(",5.", ",0.")),
            "outside the room",
        ),
        (
            f"{LISTS}/mix_2_spk_filenames_tt.csv",
            lambda path: rewrite(path, lambda text: text.split("\n")[0]),
            "is empty",
        ),
        (
            f"{METADATA}/mix_param_meta_tr.csv",
            lambda path: rewrite(path, lambda text: text[: text.rindex("\n", 0, -1)]),
            "1 only in .*mix_2_spk_filenames_tr.csv",
        ),
    ],
)
def test_lists_that_are_missing_or_damaged_are_named(few, file, damage, message):
    damage(few / file)
    with pytest.raises(UserError, match=f"(?s){message}") as raised:
        for split in FEW:
            read(few, split)
    assert Path(file).name in str(raised.value)
