"""`import espnet2_bspmpnet` adds the separator and its losses to ESPnet, once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet2_bspmpnet.plugin import registration
from espnet2_bspmpnet.plugin.registration import RegistrationError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def task():
    import espnet2.tasks.enh

    return espnet2.tasks.enh


def run_python(*arguments, launcher=(sys.executable,)):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [*launcher, *arguments], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_registers_separator_criteria_wrappers_and_trainer(task):
    from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.training.trainer import ResumableTrainer

    assert task.separator_choices.get_class("bsp_mpnet") is BSPMPNetSeparator
    assert task.criterion_choices.get_class("bsp_mpnet") is BSPMPNetLoss
    assert task.loss_wrapper_choices.get_class("bsp_mpnet") is BSPMPNetSolver
    assert task.criterion_choices.get_class("pesq").__name__ == "PESQScore"
    assert task.loss_wrapper_choices.get_class("validation") is not None
    assert task.EnhancementTask.trainer is ResumableTrainer


def test_registering_twice_changes_nothing(task):
    before = dict(task.separator_choices.classes)
    registration.register()
    registration.register()
    assert task.separator_choices.classes == before


def test_a_foreign_class_of_that_name_is_an_error(task, monkeypatch):
    foreign = task.separator_choices.classes["rnn"]
    monkeypatch.setitem(task.separator_choices.classes, "bsp_mpnet", foreign)
    with pytest.raises(RegistrationError, match="has 'bsp_mpnet' already"):
        registration.register()


def test_a_class_of_the_wrong_kind_is_an_error(task):
    with pytest.raises(RegistrationError, match="must subclass"):
        registration._add(task.separator_choices, "not_a_separator", dict)
    assert "not_a_separator" not in task.separator_choices.classes


def test_importing_costs_nothing_and_public_names_are_lazy():
    heavy = run_python(
        "-c",
        "import sys, espnet2_bspmpnet; "
        "print([m for m in ('torch', 'espnet2', 's3prl', 'numpy') if m in sys.modules]);"
        "print(espnet2_bspmpnet.UserError.__module__)",
    )
    assert heavy.splitlines() == ["[]", "espnet2_bspmpnet.errors"]


PROBE = """
import multiprocessing, sys

def names():
    from espnet2.tasks.enh import separator_choices
    return "bsp_mpnet" in separator_choices.classes

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(names), names(), sys.argv[1:])
"""


def test_bspmpnet_python_is_python_with_us_registered_in_spawned_children_too(tmp_path):
    """As stock ESPnet's training spawns one process a GPU."""
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    launcher = [sys.executable, "-m", "espnet2_bspmpnet.plugin.python_launcher"]
    out = run_python(str(script), "--a", "b c", launcher=launcher)
    assert out.split(maxsplit=2) == ["True", "True", "['--a', 'b c']\n"]


def test_bspmpnet_python_runs_a_sitecustomize_that_was_there_before(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.was_there = True\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    result = subprocess.run(
        [sys.executable, "-m", "espnet2_bspmpnet.plugin.python_launcher", "-c",
         "import sys; print(sys.was_there, 'espnet2_bspmpnet' in sys.modules)"],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert result.stdout == "True True\n", result.stderr


SPAWNED = """
import multiprocessing
from espnet2_bspmpnet.bin.enh_train import main

def names():
    from espnet2.tasks.enh import separator_choices
    return "bsp_mpnet" in separator_choices.classes
"""


def test_our_enh_train_as_main_module_registers_in_a_spawned_child(tmp_path):
    """A child imports the main module again: that import registers."""
    script = tmp_path / "as_main.py"
    script.write_text(
        SPAWNED + "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(names))\n"
    )
    assert run_python(str(script)) == "True\n"
