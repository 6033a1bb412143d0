"""The only file that touches ESPnet: entries in its class tables, and one seam.

ESPnet2 builds models from tables of classes by name (``espnet2.tasks.enh``) and has no
plug-in hook.  That module takes ten seconds and more to import, so registering never
imports it: the entries are added at once where it is loaded already, else right after
whoever needs it has imported it.

A trainer, optimizers or batches of one's own ESPnet takes from the task, which trains all
enhancement models.  So the task's training is handed to a subclass (training/task.py)
where the separator is ``bsp_mpnet``; every other model is trained by ESPnet's own.
"""

import sys
from functools import partial, wraps
from importlib.abc import MetaPathFinder

ESPNET_TASK = "espnet2.tasks.enh"
NAME = (
    "bsp_mpnet"  # of the separator, its loss, the loss's wrapper and the preprocessor
)


class RegistrationError(RuntimeError):
    """A name of ours is taken in ESPnet's tables, or a class does not fit there."""


def register() -> None:
    """Make ESPnet2's enhancement task know BSP-MPNet, now or once it is imported.

    Calling it again changes nothing.

    Raises:
        RegistrationError: if one of our names belongs to another class already.
    """
    task_module = sys.modules.get(ESPNET_TASK)
    if task_module is not None:
        add_entries(task_module)
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport(MetaPathFinder):
    """Finds ESPnet's task module as everybody does, and adds our entries to it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != ESPNET_TASK:
            return None
        for finder in [finder for finder in sys.meta_path if finder is not self]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader) -> None:
        execute = loader.exec_module

        def execute_and_register(module):
            execute(module)
            add_entries(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        loader.exec_module = execute_and_register


def add_entries(task_module) -> None:
    """Add separator, criteria, wrappers and preprocessor to the task module.

    Args:
        task_module: the imported module ``espnet2.tasks.enh``.

    Raises:
        RegistrationError: see :func:`register`.
    """
    from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.training.augmentation import AugmentingPreprocessor
    from espnet2_bspmpnet.training.validation import PESQScore, ValidationSolver

    _add(task_module.separator_choices, NAME, BSPMPNetSeparator)
    _add(task_module.criterion_choices, NAME, BSPMPNetLoss)
    _add(task_module.criterion_choices, "pesq", PESQScore)
    _add(task_module.loss_wrapper_choices, NAME, BSPMPNetSolver)
    _add(task_module.loss_wrapper_choices, "validation", ValidationSolver)
    _add(task_module.preprocessor_choices, NAME, AugmentingPreprocessor)
    _add_seam(task_module.EnhancementTask)


def _add(choices, name: str, entry: type) -> None:
    # ESPnet checks the type only of what it was constructed with.
    if not issubclass(entry, choices.base_type):
        raise RegistrationError(f"{entry} must subclass {choices.base_type}")
    present = choices.classes.setdefault(name, entry)
    if present is not entry:
        raise RegistrationError(
            f"ESPnet's {choices.name} table has {name!r} already: {present}. Two"
            " packages cannot share the name; import only one of them"
        )


def _add_seam(task: type) -> None:
    """Let a task train and preprocess by ours where the options name it, once."""
    from espnet2_bspmpnet.training.augmentation import build_augmenting
    from espnet2_bspmpnet.training.task import training_task

    if hasattr(task.main_worker, "espnets"):
        return
    espnets_worker = task.main_worker.__func__
    espnets_preprocess = task.build_preprocess_fn.__func__

    # ESPnet calls this in each process that trains.
    @wraps(espnets_worker)
    def main_worker(task, args):
        ours = getattr(args, "separator", None) == NAME
        return espnets_worker(training_task(task) if ours else task, args)

    # It builds only its own two preprocessors, whatever its table has; for inference, too.
    @wraps(espnets_preprocess)
    def build_preprocess_fn(task, args, train):
        build = partial(espnets_preprocess, task)
        if getattr(args, "preprocessor", None) == NAME:
            return build_augmenting(build, args, train)
        return build(args, train)

    main_worker.espnets = espnets_worker
    task.main_worker = classmethod(main_worker)
    task.build_preprocess_fn = classmethod(build_preprocess_fn)
