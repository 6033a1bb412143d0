"""A training configuration, checked before hours are spent on it."""

import argparse
import difflib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from espnet2_bspmpnet.errors import UserError


def check_config(path: str | Path) -> None:
    """Check every option that ESPnet would otherwise stumble over, one by one.

    Args:
        path: ESPnet configuration file (YAML).

    Raises:
        UserError: names the unknown option, the nearest known one, or the wrong value.
    """
    config = _read(path)
    if config.get("separator") == "bsp_mpnet":
        _check_separator(path, config.get("separator_conf") or {})
    args = _parse(path)
    _check_criteria(path, args.criterions)
    _check_training(path, args)


def _read(path: str | Path) -> dict:
    import yaml

    if not Path(path).is_file():
        raise UserError(f"{path}: no such configuration file; give one with --enh_config")
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: empty, or not a table of options")
    return config


def _check_separator(path: str | Path, options: dict) -> None:
    from espnet2_bspmpnet.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.ssl_models import RANDOM

    _check_names(path, "separator_conf", BSPMPNetSeparator, options)
    checkpoint = options.get("checkpoint")
    if checkpoint and checkpoint != RANDOM and not Path(checkpoint).is_file():
        raise UserError(
            f"{path}: separator_conf: checkpoint: {checkpoint} does not exist; give the"
            f" file of the pretrained weights, or '{RANDOM}'"
        )
    # One SSL layer tells as much as 24, and is built in no time.
    upstream_conf = {**(options.get("upstream_conf") or {}), "encoder_layers": 1}
    with _telling(path, "separator_conf"):
        BSPMPNetSeparator(1, **{**options, "upstream_conf": upstream_conf})


def _parse(path: str | Path) -> argparse.Namespace:
    """Have ESPnet's own parser read the file, without its page of usage."""
    from espnet2.tasks.enh import EnhancementTask

    parser = EnhancementTask.get_parser()

    def refuse(message: str):
        raise UserError(f"{path}: {message}")

    parser.error = refuse
    args = parser.parse_args(["--config", str(path)])
    # argparse checks choices on the command line, not those that a file gives.
    for choices in EnhancementTask.class_choices_list:
        with _telling(path, choices.name):
            choices.get_class(getattr(args, choices.name))
    return args


def _check_criteria(path: str | Path, criteria: list[dict]) -> None:
    from espnet2.tasks.enh import criterion_choices, loss_wrapper_choices

    for entry in criteria:
        where = f"criterions: {entry.get('name')}"
        for key in ("name", "wrapper", "wrapper_conf"):
            if key not in entry:
                raise UserError(f"{path}: {where}: ESPnet wants a {key!r}, too")
        with _telling(path, where):
            criterion_class = criterion_choices.get_class(entry["name"])
            wrapper_class = loss_wrapper_choices.get_class(entry["wrapper"])
        conf = entry.get("conf") or {}
        _check_names(path, where, criterion_class, conf)
        _check_names(path, where, wrapper_class, entry["wrapper_conf"])
        with _telling(path, where):
            criterion = criterion_class(**conf)
            wrapper_class(criterion=criterion, **entry["wrapper_conf"])


def _check_training(path: str | Path, args: argparse.Namespace) -> None:
    import torch
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes
    from espnet2.tasks.enh import EnhancementTask

    with _telling(path, "preprocessor_conf"):
        EnhancementTask.build_preprocess_fn(args, train=True)
    with _telling(path, "optim_conf"):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = optim_classes[args.optim]([parameter], **args.optim_conf)
    if args.scheduler is not None:
        scheduler_class = scheduler_classes[args.scheduler]
        _check_names(path, "scheduler_conf", scheduler_class, args.scheduler_conf)
        with _telling(path, "scheduler_conf"):
            scheduler_class(optimizer, **args.scheduler_conf)


def _check_names(path: str | Path, where: str, function: Callable, options: dict):
    """Refuse an option that ``function`` does not take, and suggest the nearest."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters]
    for name in options:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            mend = f"did you mean {nearest[0]!r}?" if nearest else f"known: {known}"
            raise UserError(f"{path}: {where} has no option {name!r}; {mend}")


@contextmanager
def _telling(path: str | Path, where: str) -> Iterator[None]:
    """Turn what a constructor says of its arguments into one message with the place."""
    try:
        yield
    except (UserError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{path}: {where}: {error}") from None
