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


@pytest.fixture
def rooms(tmp_path):
    """The option for a folder of two room responses of another rate."""
    (tmp_path / "own/rir").mkdir()
    for number in range(2):
        path = tmp_path / f"own/rir/r{number}.wav"
        soundfile.write(path, np.eye(1, 4800)[0], 48000)
    return f"--rir_dir {shlex.quote(str(tmp_path / 'own/rir'))}"


@pytest.mark.recipe
def test_clean_speech_and_noises_are_mixed_while_training(
    recipe, own_folders, rooms, eight_pairs
):
    options = ["--local_data_opts", f"{own_folders} {rooms} --snr_range '-5 10'"]
    status, printed = recipe.run(*options, "--stop_stage", "6", "--enh_tag", "tiny")
    assert status == 0, printed
    noisy, clean = (
        Path(recipe.lines(f"dump/raw/tr_mini/{name}.scp")[0].split()[1])
        for name in ("wav", "spk1")
    )
    assert noisy.read_bytes() == clean.read_bytes()
    for name in ("noise", "rir"):
        for line in recipe.lines(f"dump/raw/tr_mini_{name}/wav.scp"):
            assert soundfile.info(line.split()[1]).samplerate == 16000
    config = yaml.safe_load("\n".join(recipe.lines("exp/enh_tiny/config.yaml")))
    assert config["noise_scp"] == "dump/raw/tr_mini_noise/wav.scp"
    assert config["noise_db_range"] == "-5_10"
    assert config["rir_scp"] == "dump/raw/tr_mini_rir/wav.scp"
    # ESPnet's own mixing would put all speech into rooms.
    assert config["rir_apply_prob"] == 0
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
    for name in ("noise", "rir"):
        assert not (recipe.folder / f"data/tr_mini_{name}").exists()
        assert not (recipe.folder / f"dump/raw/tr_mini_{name}").exists()


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


@pytest.mark.recipe
def test_the_network_hears_rooms_where_the_configuration_mixes(
    recipe, own_folders, rooms, tmp_path
):
    """By a list of sets; and rooms that are taken away are not heard on."""
    lines = [f"s{number % 2}_{number} train\n" for number in range(4)]
    lines += ["n0 train\n", "s0_4 valid\n", "n1 valid\n", "s1_5 test\n", "n2 test\n"]
    (tmp_path / "splits").write_text("".join([*lines, "r1 train\n"]))
    config = {
        "base": "tiny.yaml",
        "preprocessor": "bsp_mpnet",
        "preprocessor_conf": {
            "sample_rate": 16000,
            "speech_segment": 8000,
            "snr_range": [0, 10],
            "reverb_prob": 1.0,
        },
    }
    (recipe.folder / "conf/mixed.yaml").write_text(yaml.safe_dump(config))
    splits = f"--splits {shlex.quote(str(tmp_path / 'splits'))}"
    options = ["--enh_config", "conf/mixed.yaml", "--enh_tag", "mixed", "--stop_stage"]
    status, printed = recipe.run(
        "--local_data_opts", f"{own_folders} {rooms} {splits}", *options, "6"
    )
    assert status == 0, printed
    assert "epoch 1/1 done: train loss" in printed
    sizes = {
        "tr_mini": 4,
        "cv_mini": 1,
        "tt_mini": 1,
        "tr_mini_noise": 1,
        "tr_mini_rir": 1,
    }
    for name, size in sizes.items():
        assert len(recipe.lines(f"dump/raw/{name}/wav.scp")) == size

    silent = recipe.lines("dump/raw/tr_mini_rir/wav.scp")[0].split()[1]
    soundfile.write(recipe.folder / silent, np.zeros(1600), 16000)
    again = ["--stage", "6", "--resume", "false"]
    status, printed = recipe.run(*options, "6", *again)
    assert status != 0 and "a silent room response" in printed  # they are looked at

    drier = f"{own_folders} {splits}"
    status, printed = recipe.run("--local_data_opts", drier, *options, "6")
    assert status == 0, printed
    assert not (recipe.folder / "dump/raw/tr_mini_rir").exists()


@pytest.mark.parametrize("option", ["rir_dir", "splits"])
def test_rooms_and_splits_without_noises_are_refused(recipe, eight_pairs, option):
    data = f"{eight_pairs} --{option} mine"
    status, printed = recipe.run("--local_data_opts", data, "--stop_stage", "1")
    assert status == 2
    assert "--rir_dir and --splits: give --clean_dir and --noise_dir, too" in printed


def test_noisy_files_and_noises_together_are_refused(recipe, own_folders, eight_pairs):
    status, printed = recipe.run(
        "--local_data_opts", f"{own_folders} {eight_pairs}", "--stop_stage", "1"
    )
    assert status == 2
    assert "--noisy_dir and --noise_dir: give one of the two" in printed
