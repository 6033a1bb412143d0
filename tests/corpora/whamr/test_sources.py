"""WHAMR!'s free parts are downloaded once, unpacked and kept."""

import tarfile
import zipfile
from io import BytesIO

import pytest

from espnet2_bspmpnet.corpora.whamr.sources import fetch_lists, fetch_noise
from espnet2_bspmpnet.errors import UserError
from tests.file_server import serving


@pytest.fixture
def archives() -> dict[str, bytes]:
    """The two archives as the authors publish them, with a file in each."""
    scripts, noise = BytesIO(), BytesIO()
    with tarfile.open(fileobj=scripts, mode="w:gz") as archive:
        entry = tarfile.TarInfo("whamr_scripts/data/reverb_params_tr.csv")
        entry.size = 3
        archive.addfile(entry, BytesIO(b"T60"))
    with zipfile.ZipFile(noise, "w") as archive:
        archive.writestr("wham_noise/tr/a.wav", b"RIFF")
    return {
        "whamr_scripts.tar.gz": scripts.getvalue(),
        "wham_noise.zip": noise.getvalue(),
    }


def test_lists_and_noise_are_downloaded_once(archives, tmp_path):
    with serving(archives) as server:
        for _ in range(2):
            lists = fetch_lists(tmp_path, server.url)
            noise = fetch_noise(tmp_path, server.url)
        assert [name for name, _ in server.requests] == list(archives)
    assert (lists / "reverb_params_tr.csv").read_text() == "T60"
    assert (noise / "tr/a.wav").read_bytes() == b"RIFF"


def test_a_damaged_archive_is_named_and_leaves_no_folder(archives, tmp_path):
    archives["wham_noise.zip"] = archives["wham_noise.zip"][:-30]
    with (
        serving(archives) as server,
        pytest.raises(UserError, match="wham_noise.zip"),
    ):
        fetch_noise(tmp_path, server.url)
    assert not (tmp_path / "wham_noise").exists()
