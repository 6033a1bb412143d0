"""Training shared by processes is training: the same loss, the same weights."""

import socket
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from tests.networks import TINY, speech_like, tiny_separator
from tests.trainings import train

PROCESSES = 2
# What differs at random between processes is left out: crops, and dropout in the SSL model.
CONFIG = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": {**TINY, "finetune": "none"},
    "criterions": [
        {"name": "bsp_mpnet", "conf": {}, "wrapper": "bsp_mpnet", "wrapper_conf": {}}
    ],
    "model_conf": {"extract_feats_in_collect_stats": False},
    "batch_type": "unsorted",
    "batch_size": 4,
    "valid_batch_size": PROCESSES,
    "num_workers": 0,
    # Plain gradient descent: Adam would make a step of a gradient that is but rounding.
    "optim": "sgd",
    "optim_conf": {"lr": 0.05},
    "max_epoch": 1,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    """The first weights, and what became of them in one process and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    first = folder / "first.pth"
    separator = tiny_separator(**CONFIG["separator_conf"])
    torch.save({f"separator.{k}": v for k, v in separator.state_dict().items()}, first)
    lists = [*write_pairs(folder, 8), "--init_param", str(first)]
    alone, shared = folder / "alone", folder / "shared"
    trainings = [(alone, True, words_of(config, lists, alone))]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ["--dist_world_size", PROCESSES, "--dist_backend", "gloo"]
    words += ["--dist_master_addr", "localhost", "--dist_master_port", port]
    for rank in range(PROCESSES):
        own = [*map(str, words), "--dist_rank", str(rank)]
        trainings.append((shared, True, [*words_of(config, lists, shared), *own]))
    train(*trainings)
    return first, alone, shared


def write_pairs(folder: Path, count: int) -> list[str]:
    """Write pairs of one second, and return enh_train's words for them."""
    rows = {"wav.scp": [], "spk1.scp": [], "shape": []}
    for index in range(count):
        clean, _ = speech_like(16000, seed=index)
        noise = torch.randn(16000, generator=torch.Generator().manual_seed(index))
        for name, wave in (
            ("wav.scp", clean[0] + 0.02 * noise),
            ("spk1.scp", clean[0]),
        ):
            path = folder / f"u{index}_{name}.wav"
            soundfile.write(path, (wave * (1 + index / count)).numpy(), 16000)
            rows[name].append(f"u{index} {path}")
        rows["shape"].append(f"u{index} 16000")
    for name, lines in rows.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    words = []
    for split in ("train", "valid"):
        for scp, name in (("wav.scp", "speech_mix"), ("spk1.scp", "speech_ref1")):
            words += [f"--{split}_data_path_and_name_and_type"]
            words += [f"{folder}/{scp},{name},sound"]
            words += [f"--{split}_shape_file", f"{folder}/shape"]
    return words


def words_of(config: Path, lists: list[str], folder: Path) -> list[str]:
    words = ["--config", str(config), "--output_dir", str(folder), *lists]
    return [*words, "--ngpu", "0", "--multiprocessing_distributed", "true"]


def test_two_processes_have_the_loss_of_one_at_the_same_total_batch(experiments):
    """But for batch normalisation, which sees one process's part of a batch."""
    _, alone, shared = experiments
    alone, shared = (
        read_checkpoint(folder / "checkpoint.pth")["reporter"]["stats"][1]
        for folder in (alone, shared)
    )
    for split in ("train", "valid"):
        for part in ("loss", "magnitude_loss", "phase_loss", "complex_loss"):
            there, here = shared[split][part], alone[split][part]
            assert there == pytest.approx(here, rel=1e-3), (split, part)
    assert shared["train"]["grad_norm"] == pytest.approx(
        alone["train"]["grad_norm"], rel=0.02
    )


def test_two_processes_step_to_the_weights_of_one(experiments):
    start, alone, shared = (weights(path) for path in experiments)
    assert start.keys() == alone.keys() == shared.keys()
    step = torch.cat([(alone[name] - start[name]).flatten() for name in start])
    apart = torch.cat([(alone[name] - shared[name]).flatten() for name in start])
    assert step.norm() > 1e-3
    assert apart.norm() < 0.05 * step.norm()


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a model file, or of an experiment's only epoch."""
    path = path / "1epoch.pth" if path.is_dir() else path
    state = torch.load(path, map_location="cpu", weights_only=True)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return {k: v for k, v in state.items() if not k.endswith(statistics)}
