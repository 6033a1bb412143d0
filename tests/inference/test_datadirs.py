"""Stage 7: lists in batches, the same to the last bit in whatever jobs and attempts."""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet.data.datadir import read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference import datadirs
from espnet2_bspmpnet.inference.datadirs import enhance_lists, pcs_output_of
from espnet2_bspmpnet.inference.enhancer import Enhancer
from tests.networks import tiny_separator
from tests.speech import noisy, speechlike

MODEL = "valid.loss.best.pth"


@pytest.fixture
def options(tmp_path, monkeypatch):
    """What stage 7 gives: five utterances of various lengths."""
    lines = []
    for number, seconds in enumerate((0.5, 0.9, 0.3, 0.7, 0.6)):
        path = tmp_path / f"u{number}.wav"
        soundfile.write(path, noisy(speechlike(seconds, seed=number), 5), 16000)
        lines.append(f"u{number} {path}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    monkeypatch.setattr(datadirs, "_load", lambda _: Enhancer(tiny_separator()))
    monkeypatch.setattr(datadirs, "CHUNK", 3)
    return Namespace(
        wav_scp=str(tmp_path / "wav.scp"),
        key_file=None,
        output_dir=str(tmp_path / "output.1"),
        fs=16000,
        resume=True,
    )


def enhanced(options, *, keys=None, output_dir=None, **changes) -> dict[str, bytes]:
    """Enhance, and give what is in the files on the list."""
    options = Namespace(**{**vars(options), **changes})
    if output_dir is not None:
        options.output_dir = str(Path(options.output_dir).with_name(output_dir))
    if keys is not None:
        options.key_file = str(Path(options.output_dir).with_suffix(".keys"))
        everything = read_scp(options.wav_scp)
        Path(options.key_file).write_text(
            "".join(f"{key} {everything[key]}\n" for key in keys)
        )
    enhance_lists(options)
    listed = read_scp(Path(options.output_dir, "spk1.scp"))
    assert list(listed) == list(read_scp(Path(options.output_dir, "utt2seconds")))
    return {key: Path(path).read_bytes() for key, path in listed.items()}


def test_all_are_enhanced_on_lists_in_their_order(options):
    made = enhanced(options)
    assert list(made) == [f"u{number}" for number in range(5)]
    wave, _ = soundfile.read(Path(options.output_dir, "wavs/1/u2.wav"))
    own, _ = soundfile.read(read_scp(options.wav_scp)["u2"])
    assert len(wave) == len(own) and np.abs(wave).max() > 0


@pytest.mark.parametrize("split", [["u0"], ["u1", "u2", "u3"], ["u4"], ["u0", "u4"]])
def test_jobs_of_any_share_give_what_one_job_gives_to_the_last_bit(options, split):
    together = enhanced(options)
    alone = enhanced(options, keys=split, output_dir="output.2")
    assert alone == {key: together[key] for key in split}


def test_an_unreadable_neighbour_is_named_and_costs_nobody_else(options):
    together = enhanced(options)
    Path(read_scp(options.wav_scp)["u4"]).write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"1 of 5 failed, the others are done:\n.*u4"):
        enhanced(options, output_dir="output.2")
    listed = read_scp(Path(options.output_dir).with_name("output.2") / "spk1.scp")
    assert list(listed) == ["u0", "u1", "u2", "u3"]
    assert Path(listed["u0"]).read_bytes() == together["u0"]


def test_a_job_that_is_started_again_enhances_what_is_missing(options):
    together = enhanced(options, output_dir="output.2")
    enhanced(options, keys=["u0", "u1"])
    assert enhanced(options, keys=["u0", "u1", "u3"]) == {"u3": together["u3"]}
    before = read_scp(
        Path(options.output_dir).with_name("output.1.before") / "spk1.scp"
    )
    assert list(before) == ["u0", "u1"]
    enhanced(options, keys=["u0", "u1", "u3"])  # nothing is left to do


def test_another_rate_is_named_with_the_fix_and_left_out(options):
    soundfile.write(read_scp(options.wav_scp)["u1"], np.full(800, 0.1), 8000)
    with pytest.raises(UserError, match="u1.wav: 8000 Hz, but --fs is 16000; resample"):
        enhance_lists(options)
    listed = read_scp(Path(options.output_dir, "spk1.scp"))
    assert list(listed) == ["u0", "u2", "u3", "u4"]


def test_a_key_that_is_not_on_the_list_is_named(options, tmp_path):
    (tmp_path / "keys").write_text("v0 v0.wav\n")
    options.key_file = str(tmp_path / "keys")
    with pytest.raises(UserError, match="keys: v0 is not in .*wav.scp"):
        enhance_lists(options)


@pytest.mark.parametrize(
    "text, chosen",
    [
        ("separator_conf: {pcs_output: boosted}", "boosted"),
        ("separator_conf: {pcs_output: boosted, level: rms}", None),
        ("separator_conf: {pcs_output: boosted}\nencoder: same", None),
        ("", None),
    ],
)
def test_a_configuration_may_choose_the_spectral_balance_alone(tmp_path, text, chosen):
    (tmp_path / "inference.yaml").write_text(text)
    assert pcs_output_of(str(tmp_path / "inference.yaml")) == chosen
    assert pcs_output_of(None) is None


def test_espnet_is_not_imported():
    import subprocess

    script = (
        "import sys; import espnet2_bspmpnet.bin.enh_inference as command\n"
        "import espnet2_bspmpnet.inference.datadirs\n"
        "heavy = {'espnet2.tasks.enh', 'espnet2.bin.enh_inference', 's3prl.nn'}\n"
        "sys.exit(bool(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
