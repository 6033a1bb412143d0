"""The options of a training, checked before it begins."""

import argparse
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.configurations import dump_config, read_config
from espnet2_bspmpnet.training.option_names import refuse_unknown

# Of the preprocessors "enh" (ESPnet's) and "bsp_mpnet": they make another waveform of an
# utterance each time.
RANDOM_OPTIONS = (
    "speech_segment",
    "speech_volume_normalize",
    "rir_scp",
    "noise_scp",
    "data_aug_prob",
    "gain_range",
    "speed_range",
    "remix_prob",
    "snr_range",
)


def parse_training(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of ESPnet's enh_train; the file of --config may have a base.

    Raises:
        UserError: for a wrong option, on the command line or in the file.
    """
    words = sys.argv[1:] if words is None else words
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(words)[0].config
    args = _parse(words, path, None if path is None else read_config(path))
    # What changes utterances may come by the command line, as the recipe's noises do.
    with _naming(path or "enh_train's options"):
        _check_feature_cache(args)
    _check_wandb(args)
    return args


def check_config(path: str | Path) -> None:
    """Check every option that ESPnet would otherwise refuse later, or with a traceback.

    Nothing is downloaded, and no pretrained weights are read.

    Args:
        path: ESPnet configuration file (YAML), see :func:`read_config`.

    Raises:
        UserError: names the unknown option, the nearest known one, or the wrong value.
    """
    config = read_config(path)
    with _naming(path):
        _check(path, config)


def _check(path: str | Path, config: dict) -> None:
    for name, value in config.items():
        if name.endswith("_conf") and not isinstance(value, dict):
            raise UserError(f"{name}: {value!r} is no table of options")
    args = _parse((), path, config)
    if args.separator == "bsp_mpnet":
        _check_separator(args.separator_conf)
        _check_feature_cache(args)
    _check_criteria(args.criterions)
    _check_training(args)
    with _naming("use_wandb"):
        _check_wandb(args)


def _parse(
    words: Sequence[str], path: str | Path | None, config: dict | None
) -> argparse.Namespace:
    """Have ESPnet's own parser read them, without its page of usage."""
    from espnet2.tasks.enh import EnhancementTask

    parser = EnhancementTask.get_parser()
    with TemporaryDirectory() as folder:
        resolved = Path(folder, "config.yaml")

        def refuse(message: str):
            raise UserError(message.replace(str(resolved), str(path)))

        parser.error = refuse
        if config is None:
            return parser.parse_args(words)
        resolved.write_text(dump_config(config), encoding="utf-8")
        args = parser.parse_args([*words, "--config", str(resolved)])
    # argparse checks choices on the command line, not those that a file gives.
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.choices and value is not None and value not in action.choices:
            known = ", ".join(map(str, action.choices))
            refuse(f"{action.dest}: {value!r} is not one of {known}")
    args.config = str(path)
    return args


def _check_separator(options: dict) -> None:
    from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
    from espnet2_bspmpnet.ssl.models import RANDOM
    from espnet2_bspmpnet.ssl.weights import find_checkpoint

    _check_names("separator_conf", BSPMPNetSeparator, options)
    chosen = inspect.signature(BSPMPNetSeparator).bind(1, **options)
    chosen.apply_defaults()
    checkpoint, upstream = map(chosen.arguments.get, ("checkpoint", "upstream"))
    with _naming("separator_conf"):
        # The upstream's own name stands for a download, for which it is too early.
        if checkpoint not in (None, RANDOM, upstream):
            find_checkpoint(checkpoint, upstream)
        BSPMPNetSeparator(1, **_with_few_layers(options))


def _with_few_layers(options: dict) -> dict:
    """One SSL layer shows as much as 24, and is built in no time."""
    if options.get("layers"):  # which must be there to be chosen
        return options
    upstream_conf = {**(options.get("upstream_conf") or {}), "encoder_layers": 1}
    return {**options, "upstream_conf": upstream_conf}


def _check_feature_cache(args: argparse.Namespace) -> None:
    if args.separator_conf.get("feature_cache"):
        for what, fix in _random_changes(args):
            raise UserError(
                f"{what} changes an utterance at random in each epoch, while"
                f" separator_conf: feature_cache keeps what was computed of it; {fix}, or"
                " leave feature_cache out"
            )


def _random_changes(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """What makes another waveform of an utterance each time, and how to fix it."""
    if args.iterator_type == "chunk":
        yield "iterator_type: chunk", "choose 'iterator_type: sequence'"
    if args.preprocessor == "dynamic_mixing":
        yield "preprocessor: dynamic_mixing", "choose 'preprocessor: enh'"
    if args.preprocessor in ("enh", "bsp_mpnet"):
        options = {**vars(args), **args.preprocessor_conf}
        for name in filter(options.get, RANDOM_OPTIONS):
            off = "0" if name.endswith("_prob") else "null"
            yield f"preprocessor_conf: {name}", f"set {name} to {off}"


def _check_criteria(criteria: list[dict]) -> None:
    from espnet2.tasks.enh import criterion_choices, loss_wrapper_choices

    for entry in criteria:
        where = f"criterions: {entry.get('name')}"
        for key in ("name", "wrapper", "wrapper_conf"):
            if key not in entry:
                raise UserError(f"{where}: ESPnet wants a {key!r}, too")
        with _naming(where):
            criterion_class = criterion_choices.get_class(entry["name"])
            wrapper_class = loss_wrapper_choices.get_class(entry["wrapper"])
        conf = entry.get("conf") or {}
        _check_names(where, criterion_class, conf)
        _check_names(where, wrapper_class, entry["wrapper_conf"])
        with _naming(where):
            criterion = criterion_class(**conf)
            wrapper_class(criterion=criterion, **entry["wrapper_conf"])


def _check_training(args: argparse.Namespace) -> None:
    import torch
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes
    from espnet2.tasks.enh import EnhancementTask

    if args.preprocessor != "dynamic_mixing":  # which reads the training data
        with _naming("preprocessor_conf"):
            EnhancementTask.build_preprocess_fn(args, train=True)
    with _naming("optim_conf"):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = optim_classes[args.optim]([parameter], **args.optim_conf)
    if args.scheduler is not None:
        scheduler_class = scheduler_classes[args.scheduler]
        _check_names("scheduler_conf", scheduler_class, args.scheduler_conf)
        with _naming("scheduler_conf"):
            scheduler_class(optimizer, **args.scheduler_conf)


def _check_wandb(args: argparse.Namespace) -> None:
    # ESPnet would say so after it has built the model and read the data.
    spec = find_spec("wandb") if args.use_wandb else None
    # Without an origin it is but a folder of that name, in which wandb left its runs.
    if args.use_wandb and (spec is None or spec.origin is None):
        raise UserError(
            "wandb is not installed; run 'python -m pip install wandb', or leave out"
            " use_wandb (TensorBoard's files are written in any case)"
        )


def _check_names(where: str, function: Callable, options: dict) -> None:
    parameters = inspect.signature(function).parameters.values()
    if all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters):
        refuse_unknown(where, options, {parameter.name for parameter in parameters})


@contextmanager
def _naming(where: str | Path) -> Iterator[None]:
    """Within this context an error about arguments names the place, on one line."""
    try:
        yield
    except (UserError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{where}: {error}") from None
