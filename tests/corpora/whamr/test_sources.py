"""WHAMR!'s free parts are downloaded once, unpacked and kept."""

import tarfile
import zipfile
from io import BytesIO

import pytest

from espnet2_bspmpnet.corpora.whamr.sources import NOISE, SCRIPTS, fetch_unpacked
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
    return {SCRIPTS: scripts.getvalue(), NOISE: noise.getvalue()}


def test_lists_and_noise_are_downloaded_once(archives, tmp_path):
    with serving(archives) as server:
        for _ in range(2):
            scripts = fetch_unpacked(SCRIPTS, tmp_path, server.url)
            noise = fetch_unpacked(NOISE, tmp_path, server.url)
        assert [name for name, _ in server.requests] == list(archives)
    assert (scripts / "data/reverb_params_tr.csv").read_text() == "T60"
    assert (noise / "tr/a.wav").read_bytes() == b"RIFF"


def test_a_damaged_archive_is_named_and_leaves_no_folder(archives, tmp_path):
    archives[NOISE] = archives[NOISE][:-30]
    with (
        serving(archives) as server,
        pytest.raises(UserError, match="wham_noise.zip"),
    ):
        fetch_unpacked(NOISE, tmp_path, server.url)
    assert not (tmp_path / "wham_noise").exists()
