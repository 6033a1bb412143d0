"""A trained model from wherever it is, loaded without ESPnet's task.

Nothing in a model is trusted: its configuration can ask for this package's network alone,
its weights have to be those of that network, and nothing that it contains is run.
"""

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.experiments import CONFIG, find_model
from espnet2_bspmpnet.files.plain_yaml import MOST_TEXT, read_table
from espnet2_bspmpnet.inference.weights import load_separator
from espnet2_bspmpnet.sharing.archives import META
from espnet2_bspmpnet.sharing.fetching import open_shared
from espnet2_bspmpnet.ssl.weights import RELEASES

SEPARATOR = "bsp_mpnet"
IN_THE_BOX = Path(__file__).parents[1] / "box"  # the model that the package comes with
# ESPnet changes the signal around the separator where one of these is set.
ESPNETS_OWN = (
    "normalize_variance",
    "normalize_variance_per_ch",
    "always_forward_in_48k",
)
# Options that matter in training alone, and what they are here.
TRAINING_ONLY = {
    "checkpoint": "random",
    "feature_cache": None,
    "gradient_checkpointing": False,
    "ssl_lr_scale": 1.0,
}
# No option of a network is larger; of modules, each of which takes time to make, fewer.
MOST_NUMBER = 1 << 16
MOST_MODULES = 100
NUMBERS_OF_MODULES = ("num_blocks", "encoder_layers", "pos_conv_depth")
LONGEST_CONVOLUTIONS = 1000  # characters


@dataclass(frozen=True)
class LoadedModel:
    """A trained model.

    Attributes:
        separator: the network, to enhance with: in evaluation mode, without gradients.
        config: the configuration that it was trained with.
        source: where it came from, for messages.
    """

    separator: BSPMPNetSeparator
    config: dict
    source: str


def load_model(
    model: str | Path | None = None,
    *,
    model_file: str | None = None,
    pcs_output: str | None = None,
) -> LoadedModel:
    """Load a model.

    Args:
        model: folder of an experiment, a packed model (an archive, an unpacked one, a
            copy of one on the Hugging Face hub), OWNER/NAME on the hub, or a name in
            espnet_model_zoo; None takes the one in the box.
        model_file: which of an experiment's models; None takes the best by the first of
            best_model_criterion.
        pcs_output: "natural" or "boosted" in place of what it was trained with.

    Raises:
        UserError: no such model, no connection, or one that is damaged, malicious, or
            not of this package's network.
    """
    model = IN_THE_BOX if model is None else model
    with _opened(str(model), model_file) as (name, text, find_weights):
        config = read_table(text, name)
        conf = _separator_conf(config, name)
        if pcs_output is not None:
            conf["pcs_output"] = pcs_output
        separator = load_separator(conf, find_weights(), name)
    return LoadedModel(separator.eval().requires_grad_(False), config, str(model))


# The configuration's name for messages, its text, and what finds the model file then.
_Parts = tuple[str, str, Callable[[], Path]]


@contextmanager
def _opened(model: str, model_file: str | None) -> Iterator[_Parts]:
    path = Path(model).expanduser()
    config = path / CONFIG
    if config.is_file() and not (path / META).is_file():
        with config.open("rb") as opened:
            text = opened.read(MOST_TEXT + 1).decode("utf-8", errors="replace")
        yield str(config), text, lambda: find_model(path, model_file)
        return
    if model_file is not None:
        raise UserError(
            f"{model}: is no experiment's folder, the only one to choose {model_file} of"
        )
    if path.is_dir() and not (path / META).is_file():
        raise UserError(
            f"{model}: has neither {CONFIG}, as an experiment's folder, nor {META}, as a"
            " packed model"
        )
    with open_shared(model, "an experiment's folder, a packed model") as packed:
        name = f"{model}: {packed.files['train_config']}"
        yield name, packed.read_text("train_config"), partial(packed.file, "model_file")


def _separator_conf(config: dict, name: str) -> dict:
    """Check what a configuration asks for, and give the separator's options.

    Raises:
        UserError: another network than this package's, or options of another kind.
    """
    _check_classes(config, name)
    conf = config.get("separator_conf") or {}
    if not isinstance(conf, dict):
        raise UserError(f"{name}: separator_conf is no table of options")
    parameters = inspect.signature(BSPMPNetSeparator).parameters.values()
    known = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
    if unknown := [key for key in conf if key not in known]:
        raise UserError(
            f"{name}: separator_conf: unknown option {unknown[0]!r}; known are"
            f" {', '.join(sorted(known))}"
        )
    _check_numbers(conf, name)
    if conf.get("save_ssl", True) is False:
        _report_checkpoint(conf, name)
        return {**conf, "feature_cache": None}
    return {**conf, **TRAINING_ONLY}


def _check_classes(config: dict, name: str) -> None:
    for part, ours in (
        ("separator", SEPARATOR),
        ("encoder", "same"),
        ("decoder", "same"),
    ):
        if config.get(part) != ours:
            raise UserError(
                f"{name}: {part}: {config.get(part)!r:.60} is not {ours}; models of"
                " other networks are for ESPnet's own SeparateSpeech"
            )
    if "base" in config:
        raise UserError(f"{name}: base: is not followed; name an experiment's folder")
    own = config.get("model_conf") or {}
    if not isinstance(own, dict) or any(map(own.get, ESPNETS_OWN)):
        raise UserError(
            f"{name}: model_conf: {', '.join(ESPNETS_OWN)} are not supported; use"
            " ESPnet's own SeparateSpeech"
        )


def _check_numbers(conf: dict, name: str) -> None:
    """Refuse sizes that no network has, before time or memory is taken for them."""
    upstream = conf.get("upstream_conf") or {}
    if not isinstance(upstream, dict):
        raise UserError(f"{name}: upstream_conf is no table of options")
    for option, value in {**upstream, **conf}.items():
        most = MOST_MODULES if option in NUMBERS_OF_MODULES else MOST_NUMBER
        if isinstance(value, int) and abs(value) > most:
            raise UserError(
                f"{name}: {option}: larger than any network's, which is at most {most}"
            )
    convolutions = str(upstream.get("conv_feature_layers"))
    repeats = re.findall(r"\*\s*(\d+)", convolutions)
    if len(convolutions) > LONGEST_CONVOLUTIONS or any(
        len(number) > 2 for number in repeats
    ):
        raise UserError(f"{name}: conv_feature_layers: more than any network has")


def _report_checkpoint(conf: dict, name: str) -> None:
    """Say that SSL weights are read, which a model saved without them needs."""
    checkpoint = conf.get("checkpoint") or conf.get("upstream")
    logging.warning(
        "%s: was saved without its SSL weights (save_ssl: false), which are now read"
        " from %s",
        name,
        checkpoint or "the hub",
    )
    if isinstance(checkpoint, str) and checkpoint not in RELEASES:
        path = Path(checkpoint).expanduser()
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{name}: checkpoint: {checkpoint} is no plain file")
