"""Training through ESPnet: saved whole, resumed exactly, loaded by SeparateSpeech."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from espnet2.train import trainer as espnet_trainer

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from espnet2_bspmpnet.jobs.state import begin_step, starts_from_scratch
from espnet2_bspmpnet.training.trainer import (
    finish_epoch,
    saving_whole_files,
    set_aside,
)
from tests.networks import TINY, speech_like, tiny_separator

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": {
        **TINY, "level": "rms", "phase_path": "residual", "pcs_output": "natural",
        "ssl_lr_scale": 0.5,
    },
    "criterions": [
        {"name": "bsp_mpnet", "conf": {}, "wrapper": "bsp_mpnet", "wrapper_conf": {}},
        {"name": "si_snr", "conf": {}, "wrapper": "validation", "wrapper_conf": {}},
        {"name": "pesq", "conf": {}, "wrapper": "validation", "wrapper_conf": {}},
    ],
    "preprocessor": "enh",
    "preprocessor_conf": {"sample_rate": 16000, "num_spk": 1, "speech_segment": 16000},
    "model_conf": {"extract_feats_in_collect_stats": False},
    "batch_type": "unsorted",
    "batch_size": 2,
    "valid_batch_size": 1,
    "num_workers": 0,
    "optim": "adam",
    "max_epoch": 3,
    "best_model_criterion": [["valid", "pesq", "max"], ["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Six noisy/clean pairs of different lengths, as a dumped data directory."""
    folder = tmp_path_factory.mktemp("dump")
    lines = {"wav.scp": [], "spk1.scp": [], "shape": []}
    for index in range(6):
        clean, lengths = speech_like(20000 + 1111 * index, seed=index)
        noisy = clean + 0.02 * torch.randn_like(clean)
        for name, wave in (("wav.scp", noisy), ("spk1.scp", clean)):
            path = folder / f"u{index}_{name}.wav"
            soundfile.write(path, wave[0].numpy(), 16000)
            lines[name].append(f"u{index} {path}")
        lines["shape"].append(f"u{index} {int(lengths)}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    return folder


def arguments(pairs, output_dir, **changes):
    """The command line that local/enh.sh gives enh_train."""
    config = output_dir.parent / f"{output_dir.name}.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, **changes}))
    command = ["--config", str(config), "--output_dir", str(output_dir)]
    command += ["--resume", "true", "--ngpu", "0"]
    for split in ("train", "valid"):
        for scp, name in (("wav.scp", "speech_mix"), ("spk1.scp", "speech_ref1")):
            command += [f"--{split}_data_path_and_name_and_type"]
            command += [f"{pairs}/{scp},{name},sound"]
            command += [f"--{split}_shape_file", f"{pairs}/shape"]
    return command


def train(command):
    from espnet2_bspmpnet.bin.enh_train import main

    main(command)


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    """An experiment of three undisturbed epochs."""
    output_dir = tmp_path_factory.mktemp("exp") / "enh_tiny"
    train(arguments(pairs, output_dir))
    return output_dir


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_same_model(one, other):
    one, other = load(one), load(other)
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.smoke
def test_every_part_of_the_loss_and_the_validation_scores_are_logged(trained):
    stats = read_checkpoint(trained / "checkpoint.pth")["reporter"]["stats"][3]
    parts = {"magnitude_loss", "phase_loss", "complex_loss", "bsp_mpnet_loss"}
    assert parts <= set(stats["train"]) and parts <= set(stats["valid"])
    assert {"pesq", "si_snr_loss"} <= set(stats["valid"])
    assert not {"pesq", "si_snr_loss"} & set(stats["train"])
    first = read_checkpoint(trained / "checkpoint.pth")["reporter"]["stats"][1]
    assert stats["train"]["loss"] < first["train"]["loss"]


def pesq_of(output_dir):
    """Of each epoch's validation."""
    stats = read_checkpoint(output_dir / "checkpoint.pth")["reporter"]["stats"]
    return [stats[epoch]["valid"]["pesq"] for epoch in sorted(stats)]


def test_the_best_model_is_that_of_the_highest_pesq(trained):
    best = 1 + int(np.argmax(pesq_of(trained)))
    assert os.readlink(trained / "valid.pesq.best.pth") == f"{best}epoch.pth"


def test_undefined_pesq_of_the_first_epoch_is_not_the_best(
    pairs, tmp_path, monkeypatch
):
    from espnet2_bspmpnet.training.validation import PESQScore

    calls = []

    def first_undefined(self, ref, inf):
        calls.append(1)
        return ref.new_tensor([float("nan") if len(calls) <= 6 else len(calls)])

    monkeypatch.setattr(PESQScore, "forward", first_undefined)
    output_dir = tmp_path / "enh_undefined"
    train(arguments(pairs, output_dir, max_epoch=2))
    assert np.isnan(pesq_of(output_dir)).tolist() == [True, False]
    assert os.readlink(output_dir / "valid.pesq.best.pth") == "2epoch.pth"


def test_a_training_that_learns_nothing_any_more_fails_and_keeps_what_it_had(
    pairs, trained, tmp_path, monkeypatch
):
    output_dir = tmp_path / "enh_infinite"
    shutil.copytree(trained, output_dir, symlinks=True)
    infinite = torch.tensor(float("inf"))
    monkeypatch.setattr(
        torch.nn.utils, "clip_grad_norm_", lambda *given, **more: infinite
    )
    replaced_meanwhile = torch.save, espnet_trainer.Reporter
    with pytest.raises(SystemExit, match="gradients of epoch 4 were infinite or NaN"):
        train(arguments(pairs, output_dir, max_epoch=5))
    assert len(pesq_of(output_dir)) == 3
    assert (torch.save, espnet_trainer.Reporter) == replaced_meanwhile


def test_the_ssl_part_is_trained_at_its_own_learning_rate(trained):
    stats = read_checkpoint(trained / "checkpoint.pth")["reporter"]["stats"][3]
    assert stats["train"]["optim0_lr1"] == 0.5 * stats["train"]["optim0_lr0"]


@pytest.mark.smoke
def test_separate_speech_gives_the_trained_model_bit_for_bit(trained):
    from espnet2.bin.enh_inference import SeparateSpeech

    model = trained / "valid.pesq.best.pth"
    separate = SeparateSpeech(trained / "config.yaml", model)
    ours = tiny_separator(**CONFIG["separator_conf"])
    weights = {
        name.removeprefix("separator."): value for name, value in load(model).items()
    }
    ours.load_state_dict(weights, strict=True)
    wave, lengths = speech_like(12345)
    with torch.no_grad():
        (expected,), _, _ = ours.eval()(wave, lengths)
    (output,) = separate(wave, fs=16000)
    assert np.array_equal(output, expected.numpy())


@pytest.mark.smoke
def test_killed_after_the_first_epoch_it_resumes_to_the_same_model(
    pairs, trained, tmp_path
):
    output_dir = tmp_path / "enh_killed"
    command = arguments(pairs, output_dir)
    process = subprocess.Popen(
        [sys.executable, "-m", "espnet2_bspmpnet.bin.enh_train", *command],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not (output_dir / "checkpoint.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_checkpoint(output_dir / "checkpoint.pth")["reporter"]["epoch"] < 3
    train(command)
    assert read_checkpoint(output_dir / "checkpoint.pth")["reporter"]["epoch"] == 3
    assert_same_model(output_dir / "3epoch.pth", trained / "3epoch.pth")
    assert_same_model(
        output_dir / "valid.pesq.best.pth", trained / "valid.pesq.best.pth"
    )


def losses(output_dir):
    """The losses of single steps, exactly as TensorBoard has them."""
    return scalars(output_dir / "tensorboard/train")["loss"]


def scalars(folder):
    """Tag -> values of TensorBoard's event files in a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [event.value for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


TWENTY_STEPS = {
    "max_epoch": 1,
    "num_iters_per_epoch": 20,
    "log_interval": 1,
    "use_tensorboard": True,
    "preprocessor": "bsp_mpnet",
    "preprocessor_conf": {
        **CONFIG["preprocessor_conf"],
        "gain_range": [-6, 6],
        "speed_range": [0.9, 1.1],
        "remix_prob": 0.5,
    },
}


@pytest.mark.smoke
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_seed_gives_the_same_losses_and_another_one_others(
    pairs, tmp_path, num_workers
):
    runs, changes = {"one": 0, "again": 0, "other": 1}, dict(TWENTY_STEPS)
    if num_workers:  # the rest is seen without them
        del runs["other"]
        changes["criterions"] = CONFIG["criterions"][:1]
    first = {}
    for name, seed in runs.items():
        changes |= {"seed": seed, "num_workers": num_workers}
        train(arguments(pairs, tmp_path / name, **changes))
        first[name] = losses(tmp_path / name)[:20]
    assert len(set(first["one"])) == 20
    assert first["again"] == first["one"]
    if not num_workers:
        assert not set(first["other"]) & set(first["one"])
        check_tensorboard(tmp_path / "one")


def check_tensorboard(output_dir):
    parts = {"loss", "magnitude_loss", "phase_loss", "complex_loss"}
    assert parts | {"optim0_lr0", "optim0_lr1"} <= set(
        scalars(output_dir / "tensorboard/train")
    )
    assert parts | {"pesq", "si_snr_loss"} <= set(
        scalars(output_dir / "tensorboard/valid")
    )


@pytest.mark.smoke
def test_it_stops_early_and_logs_its_progress(pairs, tmp_path, caplog):
    """Nothing is learnt at a learning rate of 0: the first epoch stays the best."""
    caplog.set_level(logging.INFO)
    output_dir = tmp_path / "enh_early"
    changes = {
        "separator_conf": {**CONFIG["separator_conf"], "coarse_encoder": False},
        "optim_conf": {"lr": 0.0},
        "max_epoch": 12,
        "patience": 1,
        "early_stopping_criterion": ["valid", "pesq", "max"],
        "log_interval": 2,
    }
    train(arguments(pairs, output_dir, **changes))
    assert "[Early stopping] valid.pesq has not been improved" in caplog.text
    assert pesq_of(output_dir) == 3 * pesq_of(output_dir)[:1]
    assert os.readlink(output_dir / "valid.pesq.best.pth") == "1epoch.pth"

    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("epoch 1/12: step 2/3,")]) == 1
    summaries = [line for line in said if re.match(r"epoch \d+/12 done: ", line)]
    pesq = f"PESQ {pesq_of(output_dir)[0]:.3f}"
    assert [f"{pesq} (best), SI-SNR" in line for line in summaries] == [
        True,
        False,
        False,
    ]
    assert [f"{pesq}, SI-SNR" in line for line in summaries] == [False, True, True]
    assert re.search(
        r"\(magnitude [\d.]+, phase [\d.]+, complex [\d.]+\)", summaries[0]
    )

    # Killed before run.sh has marked it as trained, it is run again, and stays as it is.
    train(arguments(pairs, output_dir, **changes))
    assert len(pesq_of(output_dir)) == 3


def test_mixed_precision_on_the_cpu_trains_as_well(pairs, trained, tmp_path):
    output_dir = tmp_path / "enh_mixed"
    train(arguments(pairs, output_dir, use_amp=True, max_epoch=1))
    mixed = read_checkpoint(output_dir / "checkpoint.pth")["reporter"]["stats"][1]
    full = read_checkpoint(trained / "checkpoint.pth")["reporter"]["stats"][1]
    for phase in ("train", "valid"):
        assert mixed[phase]["loss"] == pytest.approx(full[phase]["loss"], rel=0.02)
        assert mixed[phase]["loss"] != full[phase]["loss"]
    weights = load(output_dir / "1epoch.pth").values()
    assert {w.dtype for w in weights if w.is_floating_point()} == {torch.float32}


def test_a_training_that_is_to_start_from_scratch_does_so_once(
    pairs, trained, tmp_path
):
    """As local/enh.sh --resume false asks for; a requeued job must resume after that."""
    output_dir = tmp_path / "enh_from_scratch"
    shutil.copytree(trained, output_dir, symlinks=True)
    asked = {"marker": output_dir / ".trained", "reads": [], "runs": "enh_train"}
    begin_step(**asked, trained_on=[pairs], resume=False)
    command = arguments(pairs, output_dir, max_epoch=1)
    train(command)
    assert not starts_from_scratch(output_dir)
    assert begin_step(**asked, trained_on=[pairs]).run  # these are the data it noted
    models = sorted(path.name for path in output_dir.glob("*epoch.pth"))
    assert models == ["1epoch.pth"]
    assert_same_model(output_dir / "old/3epoch.pth", trained / "3epoch.pth")
    assert (output_dir / "old/valid.pesq.best.pth").exists()
    written = (output_dir / "checkpoint.pth").stat().st_mtime_ns
    train(command)
    assert (output_dir / "checkpoint.pth").stat().st_mtime_ns == written


def test_setting_aside_keeps_one_generation_and_may_be_interrupted(tmp_path):
    def put(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"new {name}")

    def old():
        return sorted(path.name for path in (tmp_path / "old").iterdir())

    put("checkpoint.pth", "1epoch.pth", "2epoch.pth", "train.log")
    (tmp_path / "latest.pth").symlink_to("2epoch.pth")
    set_aside(tmp_path)
    first = ["1epoch.pth", "2epoch.pth", "checkpoint.pth", "latest.pth"]
    assert old() == first
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["train.log"]
    set_aside(tmp_path)  # nothing to do
    assert old() == first
    put("3epoch.pth")  # left by one that was killed after it had moved the checkpoint
    set_aside(tmp_path)
    assert old() == sorted([*first, "3epoch.pth"])
    put("checkpoint.pth", "1epoch.pth", "tensorboard/events")
    set_aside(tmp_path)
    assert old() == ["1epoch.pth", "checkpoint.pth", "tensorboard"]
    put("1epoch.pth", "tensorboard/new")
    set_aside(tmp_path)
    assert [path.name for path in (tmp_path / "old/tensorboard").iterdir()] == ["new"]


def test_with_kept_features_training_gives_the_same_model_and_runs_the_ssl_once(
    pairs, tmp_path, caplog
):
    """One utterance a batch: else the rounding differs with the batch's padding."""
    caplog.set_level(logging.INFO)
    experiments = {}
    for cache in (None, str(tmp_path / "cache")):
        conf = {**CONFIG["separator_conf"], "finetune": "none", "feature_cache": cache}
        experiments[cache] = tmp_path / f"enh_{cache is None}"
        changes = {
            "separator_conf": conf,
            "preprocessor_conf": {"sample_rate": 16000, "num_spk": 1},
            "batch_size": 1,
            "max_epoch": 2,
        }
        train(arguments(pairs, experiments[cache], **changes))
    one, other = experiments.values()
    assert_same_model(one / "2epoch.pth", other / "2epoch.pth")
    # Training and validation see the same six utterances, each in two epochs.
    assert "of 18 utterances were found, of 6 computed" in caplog.text
    assert caplog.text.count("What is trained:") == 2
    assert re.search(r"SSL transformer +[\d,]+ +0  frozen", caplog.text)


@pytest.fixture
def pretrained(tmp_path):
    """A file as WavLM was released in, of the tiny model's shape."""
    torch.manual_seed(1)
    ssl = tiny_separator().bsp_mpnet.ssl
    path = tmp_path / "WavLM-Tiny.pt"
    torch.save({"cfg": TINY["upstream_conf"], "model": ssl.model.state_dict()}, path)
    return path


def trained_over(pretrained, pairs, output_dir, **changes):
    """Configuration and model file of one epoch over a pretrained SSL model."""
    conf = {**CONFIG["separator_conf"], "checkpoint": str(pretrained), **changes}
    train(arguments(pairs, output_dir, separator_conf=conf, max_epoch=1))
    return output_dir / "config.yaml", output_dir / "1epoch.pth"


# Elsewhere: no network, no caches, no checkpoint, another folder.
ELSEWHERE = """
import socket, sys
import numpy as np

def refuse(*_):
    raise AssertionError("inference needs no network")

socket.socket.connect = socket.getaddrinfo = refuse
import espnet2_bspmpnet
from espnet2.bin.enh_inference import SeparateSpeech
from espnet_model_zoo.downloader import ModelDownloader

unpacked = ModelDownloader("unpacked").unpack_local_file(sys.argv[1])
(enhanced,) = SeparateSpeech(**unpacked)(np.load("noisy.npy"), fs=16000)
np.save("enhanced.npy", enhanced)
"""


def test_a_packed_model_runs_where_its_ssl_checkpoint_never_was(
    pretrained, pairs, tmp_path
):
    from espnet2.bin.enh_inference import SeparateSpeech

    from espnet2_bspmpnet.bin.pack import main as pack

    config, model = trained_over(pretrained, pairs, tmp_path / "enh_partial")
    pretrained.unlink()
    packed, elsewhere = tmp_path / "packed.zip", tmp_path / "elsewhere"
    words = ["--train_config", config, "--model_file", model, "--outpath", packed]
    pack(["enh", *map(str, words)])
    noisy = speech_like(12345)[0].numpy()
    (expected,) = SeparateSpeech(config, model)(noisy, fs=16000)

    elsewhere.mkdir()
    np.save(elsewhere / "noisy.npy", noisy)
    empty = {"HOME": str(elsewhere), "HF_HOME": str(elsewhere / "hub")}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(packed)],
        cwd=elsewhere,
        env={**os.environ, **empty, "PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    assert np.array_equal(np.load(elsewhere / "enhanced.npy"), expected)
    assert not (elsewhere / "hub").exists()


def test_a_frozen_ssl_model_may_stay_out_of_the_model_file(pretrained, pairs, tmp_path):
    from espnet2.bin.enh_inference import SeparateSpeech

    frozen = {"finetune": "none", "ssl_lr_scale": 1.0}
    noisy, enhanced, tensors = speech_like(12345)[0].numpy(), {}, {}
    for save_ssl in (True, False):
        output_dir = tmp_path / f"enh_{save_ssl}"
        files = trained_over(pretrained, pairs, output_dir, save_ssl=save_ssl, **frozen)
        (enhanced[save_ssl],) = SeparateSpeech(*files)(noisy, fs=16000)
        tensors[save_ssl] = [name for name in load(files[1]) if ".ssl." in name]
    assert np.array_equal(enhanced[True], enhanced[False])
    assert len(tensors[True]) > 50
    assert tensors[False] == ["separator.bsp_mpnet.ssl.checkpoint_sha256"]
    pretrained.write_bytes(pretrained.read_bytes() + b"another file")
    with pytest.raises(UserError, match="needs the wavlm_base whose SHA-256 is"):
        SeparateSpeech(*files)(noisy, fs=16000)


def test_a_model_missed_after_its_checkpoint_is_written_on_resuming(trained, tmp_path):
    """Killed between checkpoint.pth and 3epoch.pth."""
    broken = tmp_path / "enh_broken"
    broken.mkdir()
    (broken / "checkpoint.pth").write_bytes((trained / "checkpoint.pth").read_bytes())
    (broken / "latest.pth").symlink_to("2epoch.pth")
    finish_epoch(broken, [["valid", "nothing", "max"], ["train", "loss", "min"]])
    assert_same_model(broken / "3epoch.pth", trained / "3epoch.pth")
    assert os.readlink(broken / "latest.pth") == "3epoch.pth"
    assert os.readlink(broken / "train.loss.best.pth") == "3epoch.pth"


def test_nothing_to_finish_without_a_checkpoint(tmp_path):
    finish_epoch(tmp_path, [["valid", "loss", "min"]])
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 1}, path)
    with saving_whole_files(), pytest.raises(TypeError, match="lock"):
        torch.save({"epoch": 2, "bad": __import__("threading").Lock()}, path)
    assert load(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_a_wrong_option_value_ends_training_with_one_line(pairs, tmp_path):
    wrong = {**CONFIG["separator_conf"], "phase_path": "masc"}
    command = arguments(pairs, tmp_path / "enh_wrong", separator_conf=wrong)
    with pytest.raises(SystemExit, match="error: phase_path: 'masc' is not one of"):
        train(command)
