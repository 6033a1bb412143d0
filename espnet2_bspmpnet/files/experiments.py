"""An experiment's folder: its configuration and its trained models."""

import re
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.configurations import read_config

CONFIG = "config.yaml"


class NoModel(UserError):
    """Nothing was trained in an experiment's folder yet."""


def config_of(expdir: str | Path) -> dict:
    """Read the experiment's config.yaml; empty where there is none.

    Raises:
        UserError: not valid YAML.
    """
    path = Path(expdir) / CONFIG
    return read_config(path) if path.is_file() else {}


def find_model(expdir: str | Path, name: str | None = None) -> Path:
    """Find the trained model.

    Args:
        expdir: folder of the experiment.
        name: file in it; None takes the best by the first of best_model_criterion.

    Raises:
        NoModel: there is none.
        UserError: the named one is missing, or best_model_criterion cannot be read.
    """
    expdir = Path(expdir)
    if name is not None:
        if not (expdir / name).is_file():
            raise UserError(
                f"{expdir / name}: no such model; train it, or name another"
            )
        return expdir / name
    criteria = config_of(expdir).get("best_model_criterion") or []
    try:
        chosen = [f"{phase}.{value}.best.pth" for phase, value, *_ in criteria]
    except (TypeError, ValueError):
        raise UserError(
            f"{expdir / CONFIG}: best_model_criterion: {criteria!r} is no list such as"
            " [[valid, loss, min]]"
        ) from None
    for path in [
        *map(expdir.joinpath, chosen),
        *sorted(expdir.glob("valid.*.best.pth")),
    ]:
        if path.is_file():
            return path
    raise NoModel(f"there is no trained model {expdir}/valid.*.best.pth")


def epoch_of(model: Path) -> int | None:
    """Look up which epoch's model it is a link to."""
    found = re.fullmatch(r"(\d+)epoch\.pth", model.resolve().name)
    return int(found[1]) if found else None
