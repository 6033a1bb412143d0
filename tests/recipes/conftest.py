"""The mini recipe with a small network, and pairs to run it on."""

import shlex
import shutil
from collections.abc import Callable

import pytest
import yaml

from tests.networks import TINY
from tests.recipe import Recipe

CONFIG = {
    "encoder": "same",
    "decoder": "same",
    "separator": "bsp_mpnet",
    "separator_conf": TINY,
    "criterions": [
        {"name": "bsp_mpnet", "wrapper": "bsp_mpnet", "wrapper_conf": {"weight": 1.0}}
    ],
    "optim": "adam",
    "batch_type": "unsorted",
    "batch_size": 2,
    "num_workers": 0,
    "keep_nbest_models": 1,
    "best_model_criterion": [["valid", "loss", "min"]],
}

FATAL = """\
#!/usr/bin/env bash
# {name}, but killed, as if memory had run out, where its words match those in {doom}.
if [[ -f {doom} && "$*" == $(<{doom}) ]]; then
    rm {doom}
    kill -9 $$
fi
exec {real} "$@"
"""


@pytest.fixture
def recipe(repository, tmp_path) -> Recipe:
    """The mini recipe, untouched, with a config of a small network."""
    recipe = Recipe(repository, tmp_path / "clone", "mini")
    (recipe.folder / "conf/base.yaml").write_text(yaml.safe_dump(CONFIG))
    (recipe.folder / "conf/tiny.yaml").write_text("base: base.yaml\nmax_epoch: 1\n")
    recipe.command += ["--enh_config", "conf/tiny.yaml"]
    recipe.command += ["--inference_model", "valid.loss.best.pth", "--nj", "1"]
    return recipe


@pytest.fixture
def eight_pairs(make_pairs) -> str:
    """Options for local/data.sh: eight pairs of one second."""
    return data_options(make_pairs(8))


@pytest.fixture
def doom(recipe, tmp_path) -> Callable[[str], None]:
    """Return a function that says which job is to be killed, once."""
    path = recipe.env["PATH"]
    (tmp_path / "bin").mkdir()
    for name in ("bspmpnet", "python3"):
        fatal = tmp_path / "bin" / name
        real = shutil.which(name, path=path)
        fatal.write_text(FATAL.format(name=name, doom=tmp_path / "doom", real=real))
        fatal.chmod(0o755)
    recipe.env["PATH"] = f"{tmp_path / 'bin'}:{path}"
    return (tmp_path / "doom").write_text


def data_options(folders) -> str:
    """Options for local/data.sh: folders of noisy and clean files."""
    noisy, clean = (shlex.quote(str(folder)) for folder in folders)
    return f"--noisy_dir {noisy} --clean_dir {clean}"
