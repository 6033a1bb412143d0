"""The configurations in conf/ and their page: valid, the paper's, only what differs."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from espnet2_bspmpnet import cli
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.training.config import check_config

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
PAGE = REPOSITORY / "docs/configurations.md"
RECIPE = REPOSITORY / "egs2/mini/enh1"
LARGE = CONF / "train_bsp_mpnet_wavlm_large.yaml"
CONFIGS = sorted([*CONF.glob("train_*.yaml"), *CONF.glob("ablation/*.yaml")])
# All that each row of Tables I and IV, and the project's own, change in LARGE.
DIFFERENCES = {
    "train_bsp_mpnet_data2vec_base": {"upstream": "data2vec_base_960"},
    "train_bsp_mpnet_wavlm_base": {"upstream": "wavlm_base"},
    "train_bsp_mpnet_plus": {"level": "rms", "phase_path": "residual"},
    "ablation/wo_pf": {"finetune": "none"},
    "ablation/wo_pcs": {"pcs_input": False, "pcs_target": False},
    "ablation/wo_fs_ssl": {"fs_ssl": False},
    "ablation/wo_mp_2dc": {"coarse_encoder": False},
    "ablation/wo_mag": {"magnitude_path": False},
    "ablation/wo_pha": {"phase_path": "none"},
    "ablation/wo_rema": {"rema": False},
    "ablation/wo_mask_gate": {"mask_gate": False},
}


def name(path: Path) -> str:
    return str(path.relative_to(CONF).with_suffix(""))


def test_tables_i_and_iv_are_all_here():
    assert [name(path) for path in CONFIGS] == sorted([*DIFFERENCES, name(LARGE)])
    assert len([row for row in DIFFERENCES if row.startswith("ablation/")]) == 8


@pytest.mark.parametrize(
    "path",
    [*CONFIGS, *sorted(REPOSITORY.glob("egs2/*/enh1/conf/train_*.yaml"))],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_each_passes_the_check_without_weights_or_network(path, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("no network is needed to check a configuration")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", refuse)
    check_config(path)


@pytest.mark.parametrize("row", DIFFERENCES)
def test_each_says_what_differs_from_the_complete_one_and_nothing_else(row):
    complete = read_config(LARGE)
    kept = complete["separator_conf"]
    for option, value in DIFFERENCES[row].items():
        assert kept[option] != value
    changed = {**complete, "separator_conf": {**kept, **DIFFERENCES[row]}}
    assert read_config(CONF / f"{row}.yaml") == changed

    own = yaml.safe_load((CONF / f"{row}.yaml").read_text())
    assert own.keys() == {"base", "separator_conf"}
    assert own["separator_conf"] == DIFFERENCES[row]


def test_the_complete_one_names_every_switch_of_its_variants():
    assert "base" not in yaml.safe_load(LARGE.read_text())
    said = read_config(LARGE)["separator_conf"]
    for differences in DIFFERENCES.values():
        assert differences.keys() <= said.keys()


def test_the_numbers_are_those_of_section_iv_c():
    config = read_config(LARGE)
    rate = config["preprocessor_conf"]["sample_rate"]
    assert config["preprocessor_conf"]["speech_segment"] == 2 * rate
    assert rate == 16000
    assert (config["batch_size"], config["max_epoch"]) == (16, 100)
    assert config["optim"] == "adam"
    assert config["separator_conf"]["upstream"] == "wavlm_large"
    assert config["separator_conf"]["finetune"] == "partial"
    (loss,) = [part for part in config["criterions"] if part["name"] == "bsp_mpnet"]
    assert loss["conf"] == {
        "magnitude_weight": 1.0,
        "phase_weight": 0.5,
        "complex_weight": 0.1,
    }


def test_the_rate_climbs_for_4000_steps_then_falls_by_2_percent_every_second_epoch(
    tmp_path,
):
    from espnet2.samplers.unsorted_batch_sampler import UnsortedBatchSampler
    from espnet2.tasks.abs_task import scheduler_classes

    config = read_config(LARGE)
    shapes = tmp_path / "tr_26spk"
    shapes.write_text("".join(f"{n} 1\n" for n in range(10802)))
    epoch = len(UnsortedBatchSampler(config["batch_size"], str(shapes)))
    optimizer = torch.optim.Adam([torch.nn.Parameter()], **config["optim_conf"])
    scheduler = scheduler_classes[config["scheduler"]](
        optimizer, **config["scheduler_conf"]
    )
    assert config["scheduler_conf"]["steps_per_epoch"] == epoch
    rates = []
    for _ in range(20 * epoch):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert max(rates) == rates[3999] == pytest.approx(4e-4, rel=0.01)
    assert rates[1999] == pytest.approx(rates[3999] / 2, rel=0.01)
    assert rates[4000 + 2 * epoch] == pytest.approx(0.98 * rates[4000], rel=1e-6)
    assert rates[4000 + 8 * epoch] == pytest.approx(0.98**4 * rates[4000], rel=1e-6)


def test_the_page_lists_every_configuration():
    listed = re.findall(r"^\| `(.+)\.yaml` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == [name(path) for path in CONFIGS]


def test_every_command_of_the_page_runs(tmp_path, monkeypatch):
    (tmp_path / "conf").symlink_to(CONF)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(yaml|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for language, text in blocks:
        if language == "yaml":
            file = re.match(r"# (\w+\.yaml)\n", text)[1]
            (tmp_path / file).write_text(text)
        else:
            for line in text.splitlines():
                run(shlex.split(line))
    written = [yaml.safe_load(Path(x, "config.yaml").read_text()) for x in "ab"]
    for config, folder, file in zip(
        written, "ab", ("mine.yaml", "whole.yaml"), strict=True
    ):
        assert (config.pop("output_dir"), config.pop("config")) == (folder, file)
        assert config["separator_conf"]["upstream"] == "hubert_base"
    assert written[0] == written[1]


def run(words: list[str]) -> None:
    """Run a command in this process, where ESPnet has been imported."""
    if words[0] == "bspmpnet":
        assert cli.main(words[1:]) == 0
    elif words[0] == "./run.sh":
        assert (RECIPE / words[2]).is_file()
        subprocess.run([*words, "--help"], cwd=RECIPE, check=True, capture_output=True)
    else:
        assert words[0] in ("python", "bspmpnet-python") and words[1] == "-m"
        import_module(words[2]).main(words[3:])
