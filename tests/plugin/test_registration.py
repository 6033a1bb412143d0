"""`import espnet2_bspmpnet` adds entries to ESPnet's tables and one seam, once."""

import os
import pickle
import subprocess
import sys

import pytest

from espnet2_bspmpnet.plugin import registration
from espnet2_bspmpnet.plugin.registration import RegistrationError


@pytest.fixture(scope="module")
def task():
    import espnet2.tasks.enh

    return espnet2.tasks.enh


def everything(task):
    """All tables of the task's module, and all that its class has."""
    from espnet2.train.class_choices import ClassChoices

    tables = {
        name: dict(value.classes)
        for name, value in vars(task).items()
        if isinstance(value, ClassChoices)
    }
    return {**tables, "EnhancementTask": dict(vars(task.EnhancementTask))}


def test_importing_adds_separator_criteria_wrappers_and_preprocessor(task):
    from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.training.augmentation import AugmentingPreprocessor
    from espnet2_bspmpnet.training.validation import PESQScore, ValidationSolver

    ours = {
        (table, name): entry
        for table, entries in everything(task).items()
        for name, entry in entries.items()
        if getattr(entry, "__module__", "").startswith("espnet2_bspmpnet")
    }
    assert ours == {
        ("separator_choices", "bsp_mpnet"): BSPMPNetSeparator,
        ("criterion_choices", "bsp_mpnet"): BSPMPNetLoss,
        ("criterion_choices", "pesq"): PESQScore,
        ("loss_wrapper_choices", "bsp_mpnet"): BSPMPNetSolver,
        ("loss_wrapper_choices", "validation"): ValidationSolver,
        ("preprocessor_choices", "bsp_mpnet"): AugmentingPreprocessor,
    }


def test_trainer_optimizers_and_batches_of_the_task_stay_espnets(task):
    from espnet2.train.trainer import Trainer

    replaced = [
        name
        for name, value in vars(task.EnhancementTask).items()
        if isinstance(value, classmethod)
        and "espnet2_bspmpnet" in value.__func__.__code__.co_filename
    ]
    assert sorted(replaced) == ["build_preprocess_fn", "main_worker"]
    assert task.EnhancementTask.trainer is Trainer


def test_registering_twice_changes_nothing(task):
    before = everything(task)
    registration.register()
    registration.register()
    assert everything(task) == before


def test_the_seam_can_be_sent_to_a_spawned_process(task):
    """As ESPnet's training sends it, one for each GPU."""
    worker = task.EnhancementTask.main_worker
    assert pickle.loads(pickle.dumps(worker)) == worker


def test_a_foreign_class_of_that_name_is_an_error(task, monkeypatch):
    foreign = task.separator_choices.classes["rnn"]
    monkeypatch.setitem(task.separator_choices.classes, "bsp_mpnet", foreign)
    with pytest.raises(RegistrationError, match="has 'bsp_mpnet' already"):
        registration.register()


def test_a_class_of_the_wrong_kind_is_an_error(task):
    with pytest.raises(RegistrationError, match="must subclass"):
        registration._add(task.separator_choices, "not_a_separator", dict)
    assert "not_a_separator" not in task.separator_choices.classes


def test_importing_costs_nothing_and_public_names_are_lazy(repository):
    heavy = subprocess.run(
        [sys.executable, "-c",
         "import sys, espnet2_bspmpnet; "
         "print([m for m in ('torch', 'espnet2', 's3prl', 'numpy') if m in sys.modules]);"
         "print(espnet2_bspmpnet.UserError.__module__)"],
        env={**os.environ, "PYTHONPATH": str(repository)}, capture_output=True, text=True,
    )  # fmt: skip
    assert heavy.stdout.splitlines() == ["[]", "espnet2_bspmpnet.errors"], heavy.stderr
