"""The mini recipe on a user's own clean speech and noises, mixed while it trains."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tests.speech import speechlike


@pytest.fixture
def own_folders(tmp_path):
    """Options for local/data.sh: 20 clean files and 4 noises of other rates."""
    random = np.random.default_rng(0)
    for name in ("clean", "noise"):
        (tmp_path / "own" / name).mkdir(parents=True)
    for number in range(20):
        wave = speechlike(0.7, 22050, number)
        soundfile.write(tmp_path / f"own/clean/s{number % 2}_{number}.wav", wave, 22050)
    for number in range(4):
        wave = 0.1 * random.standard_normal(8000)
        soundfile.write(tmp_path / f"own/noise/n{number}.wav", wave, 16000)
    folders = {
        name: shlex.quote(str(tmp_path / "own" / name)) for name in ("clean", "noise")
    }
    return f"--clean_dir {folders['clean']} --noise_dir {folders['noise']}"


@pytest.mark.recipe
def test_clean_speech_and_noises_are_mixed_while_training(
    recipe, own_folders, eight_pairs
):
    options = ["--local_data_opts", f"{own_folders} --snr_range '-5 10'"]
    status, printed = recipe.run(*options, "--stop_stage", "6", "--enh_tag", "tiny")
    assert status == 0, printed
    noisy, clean = (
        Path(recipe.lines(f"dump/raw/tr_mini/{name}.scp")[0].split()[1])
        for name in ("wav", "spk1")
    )
    assert noisy.read_bytes() == clean.read_bytes()
    for line in recipe.lines("dump/raw/tr_mini_noise/wav.scp"):
        assert soundfile.info(line.split()[1]).samplerate == 16000
    config = yaml.safe_load("\n".join(recipe.lines("exp/enh_tiny/config.yaml")))
    assert config["noise_scp"] == "dump/raw/tr_mini_noise/wav.scp"
    assert config["noise_db_range"] == "-5_10"
    assert "epoch 1/1 done: train loss" in printed

    first = recipe.lines("exp/enh_tiny/train.log")
    status, printed = recipe.run(
        "--stage", "6", "--stop_stage", "6", "--enh_tag", "tiny"
    )
    assert status == 0 and "done already" in printed
    assert recipe.lines("exp/enh_tiny/train.log") == first

    status, printed = recipe.run(
        "--stage", "6", "--stop_stage", "6", "--enh_tag", "tiny", "--resume", "false"
    )
    assert status == 0, printed
    assert "epoch 1/1 done: train loss" in printed
    assert {"checkpoint.pth", "1epoch.pth"} <= {
        path.name for path in (recipe.folder / "exp/enh_tiny/old").iterdir()
    }

    # With pairs after that, nothing is added to their noise.
    status, printed = recipe.run(
        "--local_data_opts", eight_pairs, "--stop_stage", "6", "--enh_tag", "tiny"
    )
    assert status == 1, printed
    assert "exp/enh_tiny was trained on other data: train in another folder" in printed
    assert not (recipe.folder / "data/tr_mini_noise").exists()
    assert not (recipe.folder / "dump/raw/tr_mini_noise/noise_db_range").exists()


def test_other_speech_of_the_same_names_is_formatted(recipe, own_folders, tmp_path):
    status, printed = recipe.run("--local_data_opts", own_folders, "--stop_stage", "3")
    assert status == 0, printed
    dumped = recipe.folder / "dump/raw/org/tr_mini/data/spk1"
    before = {path: path.read_bytes() for path in dumped.iterdir()}
    lists = recipe.lines("data/tr_mini/wav.scp")
    for path in (tmp_path / "own/clean").iterdir():
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave[::-1], rate)
    (recipe.folder / "data/.done").unlink()
    status, printed = recipe.run("--local_data_opts", own_folders, "--stop_stage", "3")
    assert status == 0, printed
    assert recipe.lines("data/tr_mini/wav.scp") == lists
    assert all(path.read_bytes() != audio for path, audio in before.items())


def test_noisy_files_and_noises_together_are_refused(recipe, own_folders, eight_pairs):
    status, printed = recipe.run(
        "--local_data_opts", f"{own_folders} {eight_pairs}", "--stop_stage", "1"
    )
    assert status == 2
    assert "--noisy_dir and --noise_dir: give one of the two" in printed
