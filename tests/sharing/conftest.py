"""A packed model, and the folder that is uploaded."""

import pytest

from espnet2_bspmpnet.sharing.upload_folder import prepare_upload
from tests.networks import save_model

REPO = "ann/enh_tiny"
EXPDIR = "exp/enh_tiny"


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A small model, packed as in stage 11, beside its experiment's folder."""
    from espnet2.bin.pack import main as pack

    root = tmp_path_factory.mktemp("recipe")
    save_model(root / EXPDIR)
    (root / EXPDIR / "RESULTS.md").write_text("# RESULTS\n|dataset|PESQ|\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # so that the archive has relative paths
        words = ["--train_config", f"{EXPDIR}/config.yaml"]
        words += ["--model_file", f"{EXPDIR}/valid.loss.best.pth"]
        words += ["--option", f"{EXPDIR}/RESULTS.md", "--outpath", "packed.zip"]
        pack(["enh", *words])
    return root / "packed.zip"


@pytest.fixture
def folder(packed, tmp_path):
    """What is uploaded."""
    prepare_upload(packed, REPO, tmp_path / "hf_ann_enh_tiny", "mini/enh1")
    return tmp_path / "hf_ann_enh_tiny"
