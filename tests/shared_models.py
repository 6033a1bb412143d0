"""Models as somebody else may hand them over, in every form."""

import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.models import load_model
from tests.networks import TINY, tiny_separator

BEST = "valid.loss.best.pth"
CONFIG = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": TINY,
    "best_model_criterion": [["valid", "loss", "min"]],
}
META = {
    "yaml_files": {"train_config": "exp/tiny/config.yaml"},
    "files": {"model_file": f"exp/tiny/{BEST}"},
}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary files are made, which has to be empty again in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.glob("bspmpnet.*"))


def weights(**changes):
    """The tensors of a tiny model by ESPnet's names, some of them changed or removed."""
    state = {f"separator.{n}": t for n, t in tiny_separator().state_dict().items()}
    state |= {name.replace("/", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def save(expdir, state=None, **changes):
    """Write an experiment's folder without ESPnet."""
    expdir.mkdir(parents=True, exist_ok=True)
    (expdir / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}))
    torch.save(weights() if state is None else state, expdir / BEST)
    return expdir


def packed_files(expdir):
    return {
        "meta.yaml": yaml.safe_dump(META).encode(),
        "exp/tiny/config.yaml": (expdir / "config.yaml").read_bytes(),
        f"exp/tiny/{BEST}": (expdir / BEST).read_bytes(),
    }


def pack_zip(expdir, path):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in packed_files(expdir).items():
            archive.writestr(name, content)
    return path


def pack_tar(expdir, path):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in packed_files(expdir).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(expdir, folder):
    for name, content in packed_files(expdir).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def take_snapshot(expdir, cache):
    """Make what the hub's cache holds of a model: links to blobs."""
    snapshot = cache / "models--ann--tiny/snapshots/0123456789abcdef"
    blobs = cache / "models--ann--tiny/blobs"
    blobs.mkdir(parents=True)
    for number, (name, content) in enumerate(packed_files(expdir).items()):
        (blobs / str(number)).write_bytes(content)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(blobs / str(number), (snapshot / name).parent)
        (snapshot / name).symlink_to(target)
    return snapshot


def enhanced(separator, wave):
    with torch.no_grad():
        return separator(wave, torch.tensor([wave.size(1)]))[0][0].numpy()


def refused(model, reason):
    """Make sure that a model is refused in one line, and that nothing is written."""
    before = sorted(Path(model).parent.rglob("*"))
    with pytest.raises(UserError, match=reason) as error:
        load_model(model)
    assert "\n" not in str(error.value)
    assert sorted(Path(model).parent.rglob("*")) == before
