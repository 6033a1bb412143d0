"""Models to and from the Hugging Face hub, or from other places that ESPnet knows."""

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.atomic import replacing, replacing_folder, write_text
from espnet2_bspmpnet.files.plain_yaml import read_table
from espnet2_bspmpnet.sharing.fetching import open_shared
from espnet2_bspmpnet.sharing.model_card import GENERATED


def check_repo(repo: str) -> None:
    """Raise a UserError for what cannot be a place on the hub, "owner/name"."""
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

    Only what differs is sent. The repository is made if it is not there, to be seen by
    its owner alone if `private`.

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
        why = _why_refused(error, owner=repo.partition("/")[0])
        raise UserError(f"cannot upload to {where}/{repo}: {why}") from error
    return str(page)


def _why_refused(error: Exception, owner: str) -> str:
    status = _status(error)
    if status == 401:
        return "your token is not valid (any more); run `hf auth login` again"
    if status in (403, 404):
        return (
            f"you may not write there; is {owner} you or an organisation of yours, and"
            " has your token the right to write? `hf auth whoami` shows"
        )
    return (
        f"{getattr(error, 'server_message', None) or first_line(error)}; run it again"
    )


def _status(error: BaseException | None) -> int | None:
    """Look for the server's status in an error or in what caused it."""
    while error is not None:
        if getattr(error, "response", None) is not None:
            return error.response.status_code
        error = error.__cause__
    return None


def download_model(tag: str, expdir: str | Path) -> Path:
    """Bring a shared model into a folder, as if it had been trained there.

    The folder gets config.yaml and a link to the model file, which is in the hub's cache
    or, out of an archive, in unpacked/.

    Args:
        tag: "owner/name" on the hub, an address, or the path of a packed model.
        expdir: folder of the experiment.

    Returns:
        The link.

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
    logging.info("fetching %s", tag)
    with open_shared(tag) as packed:
        config = packed.read_text("train_config")
        read_table(config, f"{tag}: {packed.files['train_config']}")
        if packed.source.is_dir():
            source = packed.file("model_file")
        else:
            folder = expdir / "unpacked"
            with replacing_folder(folder) as new:
                for name in packed.members:
                    packed.extract(name, new)
            source = folder / packed.files["model_file"]
    model = expdir / PurePosixPath(packed.files["model_file"]).name
    with replacing(model) as temporary:
        temporary.symlink_to(source.resolve())
    write_text(expdir / "config.yaml", config)
    return model


def fetch_recogniser(tag: str) -> Mapping[str, Any]:
    """Have espnet_model_zoo fetch and unpack a model, as ESPnet's recognition does.

    Args:
        tag: see `download_model`.

    Returns:
        What ESPnet's recognition takes -> path, such as asr_train_config.

    Raises:
        UserError: there is no such model, or the hub cannot be reached.
    """
    import httpx2
    import requests
    from espnet_model_zoo.downloader import ModelDownloader
    from huggingface_hub import constants

    logging.info("fetching %s", tag)
    if re.search(r"\.zip$|^[./~]", tag) and not Path(tag).is_file():
        raise UserError(f"{tag}: no such file; name a packed model, or OWNER/NAME")
    try:
        return ModelDownloader().download_and_unpack(tag)
    except (
        *(OSError, RuntimeError, ValueError, AssertionError, KeyError),
        *(zipfile.BadZipFile, httpx2.HTTPError, requests.RequestException),
    ) as error:
        why = f"cannot be fetched or unpacked ({first_line(error)})"
        if _status(error) in (401, 403, 404):
            why = (
                f"{constants.ENDPOINT} has no such model, or it is private; check the"
                " name, or run `hf auth login`"
            )
        raise UserError(f"model {tag}: {why}") from error
