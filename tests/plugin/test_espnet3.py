"""The page docs/espnet3.md, whose code is run as it stands there."""

import json
import os
import re
import subprocess
import sys

import pytest
import soundfile
import yaml

from tests.networks import TINY
from tests.speech import RATE, noisy, speechlike

NEEDED = ["espnet3", "lightning", "dask", "distributed", "dask_jobqueue"]


@pytest.fixture
def page(repository) -> dict[str, str]:
    """File name -> code of the page."""
    text = (repository / "docs/espnet3.md").read_text(encoding="utf-8")
    return dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```\n", text, re.DOTALL))


def test_the_page_has_three_files_that_can_be_read(page):
    assert sorted(page) == ["enhancement.py", "enhancement.yaml", "run_espnet3.py"]
    for name, code in page.items():
        yaml.safe_load(code) if name.endswith("yaml") else compile(code, name, "exec")


def write_corpus(dump) -> None:
    """Data directories as stage 4 leaves them."""
    for seed, (name, count) in enumerate({"tr": 8, "cv": 2, "tt": 2}.items()):
        folder = dump / f"{name}_mini"
        folder.mkdir(parents=True)
        lists = {"wav.scp": "", "spk1.scp": ""}
        for number in range(count):
            clean = speechlike(1.5 + 0.1 * number, seed=seed)
            for list_, wave in (
                ("spk1.scp", clean),
                ("wav.scp", noisy(clean, 5.0, seed=number)),
            ):
                path = folder / f"{list_[:-4]}_{number}.wav"
                soundfile.write(path, wave, RATE)
                lists[list_] += f"u{number} {path}\n"
        for list_, lines in lists.items():
            (folder / list_).write_text(lines)


@pytest.mark.recipe
def test_the_page_trains_infers_and_measures(page, tmp_path, repository):
    for module in NEEDED:
        pytest.importorskip(module, reason=f"ESPnet3 needs {module}, see extra espnet3")
    write_corpus(tmp_path / "dump/raw")
    wrapped = {"bsp_mpnet": "bsp_mpnet", "pesq": "validation"}
    config = {
        "encoder": "same",
        "decoder": "same",
        "separator": "bsp_mpnet",
        "separator_conf": TINY,
        "criterions": [
            {"name": name, "wrapper": wrapper, "wrapper_conf": {}, "conf": {}}
            for name, wrapper in wrapped.items()
        ],
    }
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/train_mini.yaml").write_text(yaml.safe_dump(config))
    for name, code in page.items():
        (tmp_path / name).write_text(code)
    ran = subprocess.run(
        [sys.executable, "run_espnet3.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f".:{repository}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    enhanced = (tmp_path / "exp/espnet3/enhanced/tt_mini/speech.scp").read_text()
    paths = [tmp_path / line.split()[1] for line in enhanced.splitlines()]
    assert [soundfile.info(path).frames for path in paths] == [24000, 25600]
    metrics = json.loads((tmp_path / "exp/espnet3/enhanced/metrics.json").read_text())
    means = metrics["enhancement.Quality"]["tt_mini"]
    assert 1.0 <= means["PESQ"] <= 4.7
    assert "SI_SNR" in means
