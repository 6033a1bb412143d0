"""Shared models, found by name: on the Hugging Face hub, or in ESPnet's model zoo.

Files come as they are into the caches of those who own them; sharing/archives.py reads
them.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.sharing.archives import (
    META,
    MOST_BYTES,
    MOST_TEXT,
    Packed,
    open_packed,
)

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?", re.ASCII)
_HUB = "huggingface.co"  # in the table of espnet_model_zoo, with or without the rest
_HUB_PAGE = re.compile(r"(?:https://)?huggingface\.co/?(.*)")


class HubModel:
    """A model on the Hugging Face hub, whose address HF_ENDPOINT may change.

    All files come from the commit that the first one came from.

    Args:
        name: OWNER/NAME, with the revision after an @ if it is not the latest.
    """

    def __init__(self, name: str):
        self.name = name
        self.repo, _, revision = name.partition("@")
        self._revision = revision or None

    def fetch(self, path: str, most: int = MOST_BYTES) -> Path:
        """Return a file from the hub's cache, downloaded if it is not there.

        Args:
            path: within the repository.
            most: bytes; a larger file is not downloaded.

        Raises:
            UserError: no such model or file, a larger one, or no connection.
        """
        from huggingface_hub import hf_hub_download

        with self._explaining(path):
            size = self._size(path)
            if size is not None and size > most:
                raise UserError(
                    f"{self.name}: {path!r} takes {size} bytes on the hub; at most"
                    f" {most} are downloaded"
                )
            file = Path(
                hf_hub_download(
                    self.repo,
                    path,
                    revision=self._revision,
                    local_files_only=size is None,
                )
            )
        self._revision = file.parents[len(Path(path).parts) - 1].name  # of the snapshot
        return file

    def _size(self, path: str) -> int | None:
        """Ask for a file's size; None if the hub cannot be reached."""
        import httpx2
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        # hf_hub_download would try for half a minute.
        try:
            url = hf_hub_url(self.repo, path, revision=self._revision)
            return get_hf_file_metadata(url).size
        except errors.HfHubHTTPError as error:
            if error.response.status_code < 500:
                raise
        except (httpx2.TransportError, errors.OfflineModeIsEnabled):
            pass
        return None

    @contextmanager
    def _explaining(self, path: str) -> Iterator[None]:
        import httpx2
        from huggingface_hub import constants, errors

        where = constants.ENDPOINT
        try:
            yield
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            why = (
                f"{where} has no such model, or it is private; check the name, or run"
                " `hf auth login`"
            )
            raise UserError(f"{self.name}: no such file or folder; {why}") from error
        except errors.LocalEntryNotFoundError as error:
            raise UserError(
                f"{self.name}: no such file or folder, and no connection to {where};"
                " where there is one, run"
                f" `hf download {self.repo} --local-dir FOLDER`, and name that FOLDER"
            ) from error
        except errors.EntryNotFoundError as error:
            raise UserError(
                f"{self.name}: has no {path!r} on {where}, so it is no packed model"
            ) from error
        except (OSError, ValueError, RuntimeError, httpx2.HTTPError) as error:
            raise UserError(
                f"{self.name}: cannot be fetched from {where}: {first_line(error)}; run"
                " again"
            ) from error


@contextmanager
def open_shared(model: str, kinds: str = "a packed model") -> Iterator[Packed]:
    """Open a packed model wherever it is; from the hub only what is read comes.

    Args:
        model: path of an archive or folder, or a name or address for `find_shared`.
        kinds: what on this machine it could be, for the message.

    Raises:
        UserError: no such model, no connection, or see `open_packed`.
    """
    path = Path(model).expanduser()
    shared = None if path.exists() else _find_elsewhere(model, kinds)
    if isinstance(shared, HubModel):
        fetch = cache(shared.fetch)
        with open_packed(fetch(META, MOST_TEXT).parent, fetch) as packed:
            yield packed
    else:
        with open_packed(path if shared is None else fetch_archive(shared)) as packed:
            yield packed


def _find_elsewhere(model: str, kinds: str) -> HubModel | str:
    is_path = re.search(r"^[./~]|\.(zip|tar|tgz|gz|tbz2|bz2|txz|xz|pth)$", model)
    is_address = re.match("https?://", model)
    shared = None if is_path and not is_address else find_shared(model)
    if shared is None:
        raise UserError(
            f"{model}: no such file or folder; name {kinds}, or OWNER/NAME on the"
            " Hugging Face hub"
        )
    return shared


def find_shared(name: str) -> HubModel | str | None:
    """Find out where a model of a name is, without asking the network.

    Args:
        name: OWNER/NAME on the hub, a name in espnet_model_zoo's table, or an address.

    Returns:
        The model on the hub, or the address of an archive; None if it is no such name.
    """
    is_address = name.startswith(("https://", "http://"))
    address = name if is_address else _zoo_table().get(name, _HUB)
    if not (page := _HUB_PAGE.fullmatch(address)):
        return address
    on_hub = page[1] or name
    return HubModel(on_hub) if _HUB_NAME.fullmatch(on_hub) else None


def fetch_archive(address: str) -> Path:
    """Return an archive from espnet_model_zoo's cache, downloaded if it is not there.

    Raises:
        UserError: no connection, or no such file.
    """
    import requests
    from espnet_model_zoo.downloader import ModelDownloader

    try:
        return Path(ModelDownloader().download(address))
    except (OSError, ValueError, RuntimeError, requests.RequestException) as error:
        raise UserError(
            f"{address}: cannot be downloaded: {first_line(error)}; download it where"
            " there is a connection, and name the file"
        ) from error


def _zoo_table() -> dict[str, str]:
    """Read names -> addresses; the package itself takes seconds to import."""
    package = find_spec("espnet_model_zoo")
    table = Path(package.origin).with_name("table.csv") if package else None
    if table is None or not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["url"] for row in csv.DictReader(file)}
