"""checkpoint.pth gives its values and runs nothing."""

import os
from collections import OrderedDict
from datetime import timedelta

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.files.checkpoints import DAMAGE, damage_reason, read_checkpoint


def test_what_espnet_keeps_is_read(tmp_path):
    stats = {
        "loss": np.float64(0.5),
        "count": np.int64(3),
        "time": timedelta(seconds=9),
    }
    states = {
        "model": OrderedDict(weight=torch.ones(2)),
        "reporter": {"epoch": 1, "stats": {1: {"train": stats}}},
        "optimizers": [{"state": {}, "param_groups": [{"lr": 4e-4}]}],
        "scaler": None,
    }
    torch.save(states, tmp_path / "checkpoint.pth")
    found = read_checkpoint(tmp_path / "checkpoint.pth")
    assert torch.equal(found["model"].pop("weight"), states["model"].pop("weight"))
    assert found == states


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path):
    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"reporter": Program()}, tmp_path / "checkpoint.pth")
    with pytest.raises(DAMAGE, match="(?i)unsupported|weights only"):
        read_checkpoint(tmp_path / "checkpoint.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half"])
def test_a_damaged_file_has_a_reason_of_one_line(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    if content == "half":
        torch.save({"model": torch.ones(1000)}, path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(DAMAGE) as raised:
        read_checkpoint(path)
    reason = damage_reason(raised.value)
    assert reason and "\n" not in reason


def test_an_error_without_words_has_a_reason_too():
    assert damage_reason(EOFError()) == "it ends too soon"
