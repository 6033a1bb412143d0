"""What WHAMR! is made of and free: its scripts with the lists, and the WHAM! noise."""

import logging
from pathlib import Path

from espnet2_bspmpnet.files.download import RemoteFile, fetch
from espnet2_bspmpnet.files.unpacking import unpack

SCRIPTS = "whamr_scripts.tar.gz"  # 5 MB, the lists are in its data/
NOISE = "wham_noise.zip"  # 18 GB, unpacked 35 GB
_URL = "https://my-bucket-a8b4b49c25c811ee9a7e8bba05fa24c7.s3.amazonaws.com"


def fetch_unpacked(
    archive: str, download_dir: str | Path, url: str | None = None
) -> Path:
    """Download and unpack `SCRIPTS` or `NOISE`, unless that is done.

    No checksums are published. A download is complete when it has the size that the
    server states, and unpacking verifies the archive's own.

    Args:
        archive: its name.
        download_dir: gets the archive and its folder.
        url: address of a folder that has the archive; None takes the authors' own.

    Returns the folder, called as the archive. Raises a UserError if the download failed,
    the archive is damaged, or there is no space.
    """
    folder = Path(download_dir) / archive.partition(".")[0]
    if not folder.is_dir():  # it is made whole or not at all
        remote = RemoteFile(f"{url or _URL}/{archive}", archive)
        unpack(fetch(remote, download_dir), folder)
        logging.info("%s is unpacked; %s may be removed", folder, archive)
    return folder
