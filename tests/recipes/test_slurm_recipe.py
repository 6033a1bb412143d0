"""The mini recipe's jobs on a Slurm cluster, and what becomes of a cancelled one."""

import os
import re
import signal

import pytest
import yaml

from tests.networks import save_model
from tests.processes import wait_until
from tests.recipes.conftest import CONFIG
from tests.slurm import running_cluster

OPTIONS = ["--stop_stage", "8", "--backend", "slurm", "--slurm_args", "--time 30"]
OPTIONS += ["--nj", "2", "--inference_nj", "2", "--pcs_outputs", "natural"]
# Each node takes its share of a batch.
SHARED = {**CONFIG, "max_epoch": 3, "valid_batch_size": 2}


@pytest.mark.recipe
def test_a_cancelled_training_on_two_nodes_is_reported_and_resumed(
    recipe, eight_pairs, tmp_path
):
    (recipe.folder / "conf/shared.yaml").write_text(yaml.safe_dump(SHARED))
    options = [*OPTIONS, "--enh_config", "conf/shared.yaml", "--local_data_opts"]
    options += [eight_pairs, "--ngpu", "0", "--num_nodes", "2"]
    experiment = recipe.folder / "exp/enh_shared_raw"
    with running_cluster() as cluster:
        recipe.env["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        process = recipe.start(*options)
        wait_until(
            lambda: (
                (experiment / "checkpoint.pth").exists() or process.poll() is not None
            ),
            400,
        )
        cluster.ask("scancel", "--name=train")
        printed, _ = process.communicate(timeout=100)
        assert process.returncode == 1, printed
        assert "ended by Slurm: CANCELLED (by scancel, or by an admin" in printed
        assert "log exp/enh_shared_raw/train.log, which ends:" in printed
        assert "stage 7: " not in printed

        status, printed = recipe.run(*options, timeout=500)
        assert status == 0, printed
        assert printed.count("done already") == 1 + 3 + 2 + 2
        log = (experiment / "train.log").read_text()
        assert re.search(r":0/2\].* INFO: The training was resumed using", log)
        assert (experiment / "3epoch.pth").exists()
    assert len(recipe.lines("exp/enh_shared_raw/enhanced_tt_mini/spk1.scp")) == 8
    assert (experiment / "RESULTS.md").exists()
    for log in (
        "dump/raw/org/tr_mini/logdir/format.2.log",
        "exp/enh_shared_raw/train.log",
    ):
        assert ", Slurm job " in (recipe.folder / log).read_text()


@pytest.mark.recipe
def test_jobs_of_stage_7_that_outlived_run_sh_are_waited_for(recipe, eight_pairs):
    status, printed = recipe.run("--local_data_opts", eight_pairs, "--stop_stage", "4")
    assert status == 0, printed
    save_model(recipe.folder / "exp/enh_tiny_raw")
    options = ["--stage", "7", *OPTIONS, "--stop_stage", "7"]
    logdir = recipe.folder / "exp/enh_tiny_raw/enhanced_tt_mini/logdir"
    with running_cluster() as cluster:
        recipe.env["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        cluster.ask("scontrol", "update", "PartitionName=normal", "State=DOWN")
        lost = recipe.start(*options)
        wait_until((logdir / "slurm/enh_inference.job").exists, 100)
        os.killpg(lost.pid, signal.SIGKILL)
        lost.communicate()
        status, printed = recipe.run(*options, "--inference_args", "--segment_size 1")
        assert status == 1
        assert "of another command, still writes to exp/enh_tiny_raw/enh" in printed
        again = recipe.start(*options)
        wait_until(lambda: "waiting for it" in again.stdout.readline(), 100)
        cluster.ask("scontrol", "update", "PartitionName=normal", "State=UP")
        printed, _ = again.communicate(timeout=300)
    assert again.returncode == 0, printed
    assert len(list(logdir.glob("keys.*.scp"))) == 2
    assert len(recipe.lines("exp/enh_tiny_raw/enhanced_tt_mini/spk1.scp")) == 8
