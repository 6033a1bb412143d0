"""A packed model: the archive that ESPnet's pack makes in stage 11."""

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import yaml

from espnet2_bspmpnet.errors import UserError

META = "meta.yaml"
_PACK_AGAIN = "pack the model again (stage 11)"


def unpack(packed: str | Path, folder: Path) -> dict:
    """Unpack an archive of one's own into a folder.

    Returns:
        What its meta.yaml says.

    Raises:
        UserError: missing or damaged, or no packed enhancement model.
    """
    packed = Path(packed)
    if not packed.is_file():
        raise UserError(f"{packed}: no such file; {_PACK_AGAIN}")
    try:
        with zipfile.ZipFile(packed) as archive:
            meta = yaml.safe_load(archive.read(META))
            check_parts(packed, [*meta["yaml_files"], *meta["files"]])
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{packed}: damaged ({error}); {_PACK_AGAIN}") from error
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(
            f"{packed}: has no readable {META}, so it is no packed model; {_PACK_AGAIN}"
        ) from error
    return meta


def check_parts(packed: str | Path, names: Iterable[str]) -> None:
    """Raise a UserError if the parts of a packed model are not those of our task.

    Args:
        packed: the model, for the message.
        names: what meta.yaml calls its parts, such as model_file.
    """
    if not {"train_config", "model_file"} <= set(names):
        raise UserError(
            f"{packed}: holds no speech-enhancement model, which has train_config and"
            f" model_file; it has {', '.join(sorted(names)) or 'neither'}"
        )
