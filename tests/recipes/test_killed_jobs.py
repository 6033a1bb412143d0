"""A job that dies costs its own work alone, in each stage that has several."""

import shutil
from pathlib import Path

import pytest

from espnet2_bspmpnet.data.datadir import read_scp
from espnet2_bspmpnet.jobs.state import starts_from_scratch
from tests.networks import save_model
from tests.recipes.conftest import data_options


@pytest.fixture
def formatted(recipe, eight_pairs):
    """The recipe after stage 4, with a model that nobody has trained."""
    status, printed = recipe.run("--local_data_opts", eight_pairs, "--stop_stage", "4")
    assert status == 0, printed
    save_model(recipe.folder / "exp/enh_tiny_raw")
    return recipe


def inodes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_ino for path in folder.rglob("*.wav")}


def test_a_job_killed_in_stage_3_leaves_what_the_others_made(recipe, make_pairs, doom):
    data = data_options(make_pairs(8, rate=8000))
    options = ["--local_data_opts", data, "--stop_stage", "3", "--nj", "2"]
    doom("format_data --src data/tr_mini * --part 2/2")
    status, printed = recipe.run(*options)
    assert status == 1
    dump = recipe.folder / "dump/raw/org/tr_mini"
    assert "job 2 failed with status 137, log dump/raw/org/tr_mini/logdir" in printed
    assert "# Ended (status 137) (killed by signal 9; was there too litt" in printed
    assert "1 of 2 jobs failed" in printed
    made = inodes(dump)
    assert len(made) == 8 and not (dump / "wav.scp").exists()

    status, printed = recipe.run(*options)
    assert status == 0, printed
    again = inodes(dump)
    assert made.items() <= again.items() and len(again) == 16


def test_a_bad_recording_in_stage_3_is_named_and_all_others_are_made(
    recipe, make_pairs
):
    noisy, clean = make_pairs(8, rate=8000)
    options = ["--local_data_opts", data_options((noisy, clean)), "--nj", "2"]
    assert recipe.run(*options, "--stop_stage", "1")[0] == 0
    good = (noisy / "s0_003.wav").read_bytes()
    (noisy / "s0_003.wav").write_bytes(good[:5000])
    status, printed = recipe.run(*options, "--stop_stage", "3")
    assert status == 1
    assert "data/tr_mini: 1 of 4 failed, the others are done:" in printed
    assert f"s0_003: {noisy}/s0_003.wav: the file is truncated or damaged" in printed
    dump = recipe.folder / "dump/raw/org/tr_mini"
    made = inodes(dump)
    assert len(made) == 14

    (noisy / "s0_003.wav").write_bytes(good)
    status, printed = recipe.run(*options, "--stop_stage", "3")
    assert status == 0, printed
    assert made.items() <= inodes(dump).items()


def test_a_training_killed_before_it_starts_from_scratch_does_so_when_run_again(
    formatted, doom
):
    experiment = formatted.folder / "exp/enh_tiny_raw"
    (formatted.folder / "exp/enh_stats_16k").mkdir()
    (formatted.folder / "exp/enh_stats_16k/.done").touch()
    for options in (["--resume", "false"], []):
        doom("-m espnet2_bspmpnet.bin.enh_train *")
        status, printed = formatted.run("--stage", "6", "--stop_stage", "6", *options)
        assert status == 1 and "job 1 failed with status 137" in printed
        assert "starts from scratch, as --resume false asked for" in printed
        assert starts_from_scratch(experiment)


def test_jobs_that_fail_in_stage_7_leave_what_was_enhanced(formatted, doom):
    test_set = read_scp(formatted.folder / "dump/raw/tt_mini/wav.scp")
    broken = Path(test_set["s2_002"])
    good = broken.read_bytes()
    broken.write_bytes(good[:5000])
    options = ["--stage", "7", "--stop_stage", "7", "--pcs_outputs", "natural"]
    doom("*enh_inference* --key_file */keys.1.scp *")
    status, printed = formatted.run(*options, "--inference_nj", "2")
    assert status == 1
    logs = "log exp/enh_tiny_raw/enhanced_tt_mini/logdir/enh_inference"
    assert f"job 1 failed with status 137, {logs}.1.log, which ends:" in printed
    assert f"job 2 failed with status 1, {logs}.2.log, which ends:" in printed
    assert "enhancing: 1 of 4 failed, the others are done:" in printed
    assert f"{broken}: the file is truncated or damaged" in printed
    enhanced = formatted.folder / "exp/enh_tiny_raw/enhanced_tt_mini"
    made = inodes(enhanced)
    assert len(made) == 3 and not (enhanced / "spk1.scp").exists()

    broken.write_bytes(good)
    status, printed = formatted.run(*options, "--inference_nj", "1")
    assert status == 0, printed
    assert len(read_scp(enhanced / "logdir/keys.3.scp")) == 5
    assert made.items() <= inodes(enhanced).items()
    files = read_scp(enhanced / "spk1.scp")
    assert files.keys() == test_set.keys() == read_scp(enhanced / "utt2seconds").keys()
    assert {Path(path).is_file() for path in files.values()} == {True}

    # What other options have made is not mixed with it.
    doom("*enh_inference*")
    status, _ = formatted.run(*options, "--inference_args", "--segment_size 1")
    assert status == 1 and inodes(enhanced) == {}


def test_a_job_killed_in_stage_8_leaves_what_the_others_measured(formatted, doom):
    enhanced = formatted.folder / "exp/enh_tiny_raw/enhanced_tt_mini"
    enhanced.mkdir()
    shutil.copy(formatted.folder / "dump/raw/tt_mini/wav.scp", enhanced / "spk1.scp")
    options = ["--stage", "8", "--stop_stage", "8", "--pcs_outputs", "natural"]
    options += ["--nj", "3", "--scoring_protocol", "SI_SNR"]
    doom("score *enhanced_tt_mini/spk1.scp * --part 2/3")
    status, printed = formatted.run(*options)
    assert status == 1
    logs = "log exp/enh_tiny_raw/enhanced_tt_mini/scoring/logdir/score"
    assert f"job 2 failed with status 137, {logs}.2.log, which ends:" in printed
    assert "1 of 3 jobs failed" in printed
    journals = sorted((enhanced / "scoring").glob("scores.*.jsonl"))
    assert [path.name for path in journals] == ["scores.1-3.jsonl", "scores.3-3.jsonl"]

    status, printed = formatted.run(*options)
    assert status == 0, printed
    last = (enhanced / "scoring/logdir/score.2.log").read_text()
    assert "INFO: 3 of 3 pairs are kept" not in last
    first = (enhanced / "scoring/logdir/score.1.log").read_text()
    assert "INFO: 3 of 3 pairs are kept as an earlier run measured them" in first
    assert (formatted.folder / "exp/enh_tiny_raw/RESULTS.md").is_file()
