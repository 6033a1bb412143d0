"""Giving a packed model to others, and taking one: the Hugging Face hub and local files.

What is uploaded is the unpacked archive of stage 11, as espnet_model_zoo and ESPnet's
from_pretrained expect it, and a model card.
"""

import logging
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.atomic import replacing, write_text
from espnet2_bspmpnet.sharing.model_card import Card

META = "meta.yaml"
CARD = "README.md"
GENERATED = ".card"  # the card as it was written, which tells whether it was edited
CONFIG = "config.yaml"
PACK_MEND = "pack the model again (stage 11)"


def prepare_upload(
    packed: str | Path,
    repo: str,
    folder: str | Path,
    recipe: str,
    language: str | None = None,
    license: str = "cc-by-4.0",
) -> list[str]:
    """Write the folder that is uploaded: what is packed, and the model card.

    Args:
        packed: archive made by stage 11.
        repo: place on the hub, "owner/name".
        folder: to make; one that is there is replaced, but for a card that was edited.
        recipe: the recipe that made the model, "corpus/enh1".
        language: of the speech, a code such as "en", or None.
        license: the hub's name of the licence.

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
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    meta = unpack(packed, new)
    config = new / meta["yaml_files"]["train_config"]
    results = next(new.rglob("RESULTS.md"), None)
    made_with = {
        name: str(meta[name]).split()[0]
        for name in ("espnet", "torch", "python")
        if meta.get(name)
    }
    card = Card(
        repo=repo,
        recipe=recipe,
        config=config.read_text(encoding="utf-8"),
        results="" if results is None else results.read_text(encoding="utf-8"),
        made_with=made_with,
        language=language,
        license=license,
    )
    edited = _edited_card(folder)
    write_text(new / GENERATED, card.text())
    write_text(new / CARD, card.text() if edited is None else edited)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)
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


def unpack(packed: str | Path, folder: Path) -> dict:
    """Unpack an archive of ESPnet's pack as it is.

    Args:
        packed: a zip file.
        folder: where its files go.

    Returns:
        What its meta.yaml says.

    Raises:
        UserError: missing or damaged, or no packed enhancement model.
    """
    packed = Path(packed)
    if not packed.is_file():
        raise UserError(f"{packed}: no such file; {PACK_MEND}")
    try:
        with zipfile.ZipFile(packed) as archive:
            meta = yaml.safe_load(archive.read(META))
            check_meta(packed, meta)
            archive.extractall(folder)
    except (zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{packed}: damaged ({error}); {PACK_MEND}") from error
    except (KeyError, yaml.YAMLError) as error:
        raise UserError(
            f"{packed}: has no readable {META}, so it is no packed model; {PACK_MEND}"
        ) from error
    return meta


def check_meta(packed: str | Path, meta: object) -> None:
    """Make sure that a packed model's meta.yaml tells of an enhancement model.

    Raises:
        UserError: it does not.
    """
    try:
        names = {*meta["yaml_files"], *meta["files"]}
    except (TypeError, KeyError):
        names = set()
    if not {"train_config", "model_file"} <= names:
        raise UserError(
            f"{packed}: holds no speech-enhancement model, which has train_config and"
            f" model_file; it has {', '.join(sorted(names)) or 'neither'}"
        )


def check_repo(repo: str) -> None:
    """Refuse what cannot be a model's place on the hub, "owner/name".

    Raises:
        UserError: it cannot.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--hf_repo {repo!r}: {error}") from error
    if "/" not in repo:
        raise UserError(
            f"--hf_repo {repo!r}: whose is it? Write owner/name, the owner being your"
            " user name or organisation on the hub"
        )


def upload(folder: str | Path, repo: str, private: bool = False) -> str:
    """Upload a folder to the hub, whose address HF_ENDPOINT may change.

    Only what differs is sent.  The repository is made if it is not there.

    Args:
        folder: see `prepare_upload`.
        repo: "owner/name".
        private: whether a new repository is yours alone to see.

    Returns:
        Address of the model's page.

    Raises:
        UserError: not logged in, no right to write there, or no connection.
    """
    import httpx2
    from huggingface_hub import HfApi, constants, get_token

    check_repo(repo)
    where = constants.ENDPOINT
    if get_token() is None:
        raise UserError(
            f"not logged in to {where}; make a token with the right to write at"
            f" {where}/settings/tokens and run `hf auth login`, or set HF_TOKEN to it"
        )
    api = HfApi(library_name="espnet")
    try:
        page = api.create_repo(repo, exist_ok=True, private=private)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Upload a packed model",
            ignore_patterns=[GENERATED],
        )
    except (OSError, RuntimeError, ValueError, httpx2.HTTPError) as error:
        raise _refusal(repo, where, error) from error
    return str(page)


def _refusal(repo: str, where: str, error: Exception) -> UserError:
    """Say in words why the hub did not take a model."""
    response = _response(error)
    status = getattr(response, "status_code", None)
    if status == 401:
        why = "your token is not valid (any more); run `hf auth login` again"
    elif status in (403, 404):
        owner = repo.partition("/")[0]
        why = (
            f"you may not write there; is {owner} you or an organisation of yours, and"
            " has your token the right to write? `hf auth whoami` tells"
        )
    else:
        said = getattr(error, "server_message", None) or first_line(error)
        why = f"{said}; run it again"
    return UserError(f"cannot upload to {where}/{repo}: {why}")


def _response(error: BaseException | None):
    """Look for the server's answer in an error or in what caused it."""
    while error is not None:
        if getattr(error, "response", None) is not None:
            return error.response
        error = error.__cause__
    return None


@dataclass(frozen=True)
class Downloaded:
    """A shared model in an experiment's folder.

    Attributes:
        config: training configuration.
        model: model file, a link to where it was downloaded to.
    """

    config: Path
    model: Path


def download_model(tag: str, expdir: str | Path) -> Downloaded:
    """Bring a shared model into a folder, as if it had been trained there.

    The folder gets config.yaml and a link to the model file.

    Args:
        tag: "owner/name" on the hub, an address, or the path of a packed model.
        expdir: folder of the experiment.

    Raises:
        UserError: there is no such model, it is none for speech enhancement, the hub
            cannot be reached, or a model was trained in the folder.
    """
    expdir = Path(expdir)
    if (expdir / "checkpoint.pth").exists():
        raise UserError(
            f"{expdir}: a model was trained here, which {tag} would replace; name"
            " another folder by --enh_exp"
        )
    found = fetch(tag, expdir / "unpacked")
    check_meta(tag, {"yaml_files": {}, "files": found})
    source = Path(found["model_file"])
    model = expdir / source.name
    with replacing(model) as temporary:
        temporary.symlink_to(source.resolve())
    config = expdir / CONFIG
    text = Path(found["train_config"]).read_text(encoding="utf-8")
    write_text(config, text)
    return Downloaded(config, model)


def fetch(tag: str, folder: str | Path | None = None) -> Mapping[str, str]:
    """Have espnet_model_zoo fetch and unpack a model.

    Args:
        tag: see `download_model`.
        folder: where a local file is unpacked, replacing what was; by default in the
            cache of espnet_model_zoo, which keeps what an older file of the name held.

    Returns:
        What ESPnet's inference takes -> path, such as model_file.

    Raises:
        UserError: there is no such model, or the hub cannot be reached.
    """
    import httpx2
    import requests
    from espnet_model_zoo.downloader import ModelDownloader

    logging.info("fetching %s", tag)
    downloader = ModelDownloader()
    if Path(tag).is_file():
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            downloader = ModelDownloader(folder)
    elif re.search(r"\.zip$|^[./~]", tag):
        raise UserError(f"{tag}: no such file; name a packed model, or OWNER/NAME")
    try:
        return downloader.download_and_unpack(tag)
    except (
        OSError,
        RuntimeError,
        ValueError,
        AssertionError,
        KeyError,
        zipfile.BadZipFile,
        httpx2.HTTPError,
        requests.RequestException,
    ) as error:
        raise UserError(f"model {tag}: {_why_absent(error)}") from error


def _why_absent(error: Exception) -> str:
    from huggingface_hub import constants

    status = getattr(_response(error), "status_code", None)
    if status in (401, 403, 404):
        return (
            f"{constants.ENDPOINT} has no such model, or it is private; check the name,"
            " or run `hf auth login`"
        )
    return f"cannot be fetched or unpacked ({first_line(error)})"
