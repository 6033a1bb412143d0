"""The folder that is uploaded: an unpacked model, as ESPnet expects it, and its card."""

import logging
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import replacing_folder, write_text
from espnet2_bspmpnet.sharing.archives import META, open_packed
from espnet2_bspmpnet.sharing.hub import check_repo
from espnet2_bspmpnet.sharing.model_card import CARD, GENERATED, LICENSE, model_card


def prepare_upload(
    packed: str | Path,
    repo: str,
    folder: str | Path,
    recipe: str,
    language: str | None = None,
    license: str = LICENSE,
) -> list[str]:
    """Write the folder that is uploaded.

    Args:
        packed: archive made by stage 11.
        repo: see `model_card`, as for recipe, language and license.
        folder: to make; one that is there is replaced, but for a card that was edited.

    Returns:
        Paths of the files, relative to the folder.

    Raises:
        UserError: a wrong name, or an archive that is damaged or no packed model.
    """
    check_repo(repo)
    folder = Path(folder)
    if folder.exists() and not (folder / META).is_file():
        raise UserError(
            f"{folder}: is there already and is no unpacked model; name another"
            " folder, or remove it"
        )
    with open_packed(packed) as model, replacing_folder(folder) as new:
        results = [name for name in model.members if Path(name).name == "RESULTS.md"]
        versions = {
            name: str(model.meta[name]).partition(" ")[0]
            for name in ("espnet", "torch", "python")
            if model.meta.get(name)
        }
        card = model_card(
            repo,
            recipe,
            model.read_text("train_config"),
            model.read_text(results[0]) if results else "",
            versions,
            language,
            license,
        )
        for name in model.members:
            model.extract(name, new)
        edited = _edited_card(folder)
        write_text(new / GENERATED, card)
        write_text(new / CARD, card if edited is None else edited)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(
        str(path.relative_to(folder)) for path in files if path.name != GENERATED
    )


def _edited_card(folder: Path) -> str | None:
    """Read the card of a folder that was there, if it was changed since."""
    card, generated = folder / CARD, folder / GENERATED
    if not card.is_file() or not generated.is_file():
        return None
    text = card.read_text(encoding="utf-8")
    if text == generated.read_text(encoding="utf-8"):
        return None
    logging.warning("%s was edited and stays as it is; remove it for a new one", card)
    return text
