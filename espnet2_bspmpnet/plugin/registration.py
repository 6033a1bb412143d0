"""The only file that touches ESPnet's class tables.

ESPnet2 builds models from tables of classes by name (``espnet2.tasks.enh``) and has no
plug-in hook.  That module takes ten seconds and more to import, so registering never
imports it: the entries are added at once where it is loaded already, else right after
whoever needs it has imported it.
"""

import sys
from importlib.abc import MetaPathFinder

ESPNET_TASK = "espnet2.tasks.enh"


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
    """Add separator, criteria, wrappers, preprocessor and trainer to the task module.

    Args:
        task_module: the imported module ``espnet2.tasks.enh``.

    Raises:
        RegistrationError: see :func:`register`.
    """
    from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.training.augmentation import AugmentingPreprocessor
    from espnet2_bspmpnet.training.trainer import ResumableTrainer
    from espnet2_bspmpnet.training.validation import PESQScore, ValidationSolver

    _add(task_module.separator_choices, "bsp_mpnet", BSPMPNetSeparator)
    _add(task_module.criterion_choices, "bsp_mpnet", BSPMPNetLoss)
    _add(task_module.criterion_choices, "pesq", PESQScore)
    _add(task_module.loss_wrapper_choices, "bsp_mpnet", BSPMPNetSolver)
    _add(task_module.loss_wrapper_choices, "validation", ValidationSolver)
    _add(task_module.preprocessor_choices, "bsp_mpnet", AugmentingPreprocessor)
    ResumableTrainer.install(task_module.EnhancementTask)


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
