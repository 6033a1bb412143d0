"""What WHAMR! is made of and free: its scripts with the lists, and the WHAM! noise.

No checksums are published. A download is complete when it has the size that the server
says, and unpacking verifies the archives' own.
"""

import logging
from pathlib import Path

from espnet2_bspmpnet.files.download import RemoteFile, fetch
from espnet2_bspmpnet.files.unpacking import unpack

_URL = "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com"


def fetch_lists(download_dir: str | Path, url: str | None = None) -> Path:
    """Download WHAMR!'s scripts (5 MB) unless they are there; see `fetch_noise`.

    Returns:
        The folder of the lists.
    """
    return _fetch("whamr_scripts", ".tar.gz", download_dir, url) / "data"


def fetch_noise(download_dir: str | Path, url: str | None = None) -> Path:
    """Download the WHAM! noise (18 GB, unpacked 35 GB) unless it is there.

    Args:
        download_dir: gets the archive and its folder.
        url: address of a folder that has the archive; None takes the authors' own.

    Returns:
        The noise's folder.

    Raises:
        UserError: the download failed, the archive is damaged, or no space.
    """
    return _fetch("wham_noise", ".zip", download_dir, url)


def _fetch(name: str, suffix: str, download_dir: str | Path, url: str | None) -> Path:
    folder = Path(download_dir) / name
    if not folder.is_dir():  # it is made whole or not at all
        archive = name + suffix
        remote = RemoteFile(f"{url or _URL}/{archive}", archive)
        unpack(fetch(remote, download_dir), folder)
        logging.info("%s is unpacked; %s may be removed", folder, archive)
    return folder
