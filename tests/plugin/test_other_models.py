"""After the import other enhancement models train by ESPnet's own means, as before."""

import sys
from argparse import Namespace

import numpy as np
import pytest
import soundfile
import torch
import yaml

from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from tests.networks import TINY
from tests.trainings import train

CONFORMER = {
    "encoder": "stft",
    "encoder_conf": {"n_fft": 64, "hop_length": 32},
    "decoder": "stft",
    "decoder_conf": {"n_fft": 64, "hop_length": 32},
    "separator": "conformer",
    "separator_conf": {
        "num_spk": 1, "adim": 8, "aheads": 2, "layers": 1, "linear_units": 8,
        "nonlinear": "relu",
    },
    "preprocessor": "enh",
    "preprocessor_conf": {"sample_rate": 8000, "num_spk": 1, "speech_segment": 8000},
    "optim": "adam",
    "batch_type": "unsorted",
    "batch_size": 2,
    "num_workers": 0,
    "max_epoch": 2,
    "num_att_plot": 0,
    "use_matplotlib": False,
    "use_tensorboard": False,
}  # fmt: skip
BSP_MPNET = {
    "encoder": "same",
    "encoder_conf": {},
    "decoder": "same",
    "decoder_conf": {},
    "separator": "bsp_mpnet",
    "separator_conf": TINY,
}
TIMES = ("time", "_time", "mem_GB")  # what is never the same twice


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Four pairs of a second and a half, and enh_train's words for them."""
    folder, random = tmp_path_factory.mktemp("corpus"), np.random.default_rng(0)
    rows = {"wav.scp": [], "spk1.scp": [], "shape": []}
    for number in range(4):
        clean = 0.1 * np.sin(np.arange(12000) * (number + 1) / 20)
        noisy = clean + 0.02 * random.standard_normal(len(clean))
        for name, wave in (("wav.scp", noisy), ("spk1.scp", clean)):
            path = folder / f"{number}_{name}.wav"
            soundfile.write(path, wave, 8000)
            rows[name].append(f"u{number} {path}\n")
        rows["shape"].append(f"u{number} {len(clean)}\n")
    for name, lines in rows.items():
        (folder / name).write_text("".join(lines))
    words = []
    for split in ("train", "valid"):
        for scp, name in (("wav.scp", "speech_mix"), ("spk1.scp", "speech_ref1")):
            words += [f"--{split}_data_path_and_name_and_type"]
            words += [f"{folder}/{scp},{name},sound"]
            words += [f"--{split}_shape_file", f"{folder}/shape"]
    return words


@pytest.fixture(scope="module")
def experiments(corpus, tmp_path_factory):
    """A conformer trained by stock ESPnet, without and with the package imported."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plain", "ours")]
    for folder in folders:
        (folder / "train.yaml").write_text(yaml.safe_dump(CONFORMER))
    words = ["--config", "train.yaml", "--output_dir", "exp", "--ngpu", "0", *corpus]
    logs = train(*[(folder, folder is folders[1], words) for folder in folders])
    return [(folder, log) for folder, log in zip(folders, logs, strict=True)]


def test_the_import_changes_no_configuration(experiments):
    plain, ours = (
        (folder / "exp/config.yaml").read_text() for folder, _ in experiments
    )
    assert ours == plain


def test_the_import_changes_no_loss(experiments):
    plain, ours = (
        read_checkpoint(folder / "exp/checkpoint.pth")["reporter"]["stats"]
        for folder, _ in experiments
    )
    assert list(ours) == list(plain) == [1, 2]
    for epoch in plain:
        for phase in ("train", "valid"):
            values = {
                name: value
                for name, value in plain[epoch][phase].items()
                if not name.endswith(TIMES)
            }
            assert np.isfinite(values["loss"])
            assert values.items() <= ours[epoch][phase].items()


def test_the_import_changes_no_weights_and_no_files(experiments):
    plain, ours = (
        torch.load(folder / "exp/2epoch.pth", weights_only=True)
        for folder, _ in experiments
    )
    assert plain.keys() == ours.keys()
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    files = [
        {str(path.relative_to(folder)) for path in folder.glob("exp/**/*")}
        for folder, _ in experiments
    ]
    assert files[0] == files[1]


def test_espnets_own_trainer_trained_both(experiments):
    for _, log in experiments:
        assert "(trainer:" in log
        assert " done: " not in log  # our line for each epoch


@pytest.fixture
def deepspeed_training(corpus, tmp_path, monkeypatch):
    """Return a function that starts a training with DeepSpeed, which is not installed."""
    from espnet2.tasks.enh import EnhancementTask

    monkeypatch.setitem(sys.modules, "deepspeed", None)
    # ESPnet replaces it.
    monkeypatch.setattr(EnhancementTask, "trainer", EnhancementTask.trainer)

    def start(config):
        (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
        words = ["--config", str(tmp_path / "train.yaml"), "--use_deepspeed", "true"]
        words += ["--dist_backend", "gloo", "--dist_world_size", "1"]
        words += ["--dist_rank", "0", "--dist_init_method", f"file://{tmp_path}/init"]
        words += ["--output_dir", str(tmp_path / "exp"), *corpus]
        args = EnhancementTask.get_parser().parse_args(words)
        EnhancementTask.main_worker(Namespace(**vars(args), distributed=True))

    yield start
    torch.distributed.destroy_process_group()


def test_deepspeed_is_not_refused_to_other_models(deepspeed_training):
    with pytest.raises(ImportError, match="import of deepspeed halted"):
        deepspeed_training(CONFORMER)


def test_deepspeed_is_refused_to_ours_which_has_its_own_trainer(deepspeed_training):
    with pytest.raises(ValueError, match="only default trainer is compatible"):
        deepspeed_training({**CONFORMER, **BSP_MPNET})
