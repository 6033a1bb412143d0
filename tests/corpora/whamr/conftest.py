"""WHAMR! in miniature: what it is generated from, and the generated tree."""

import shutil
from pathlib import Path

import pytest

from tests.miniatures.whamr import FEW, generate_from, write_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory) -> Path:
    """WSJ0's discs, the noise and the lists."""
    folder = tmp_path_factory.mktemp("sources")
    write_sources(folder)
    return folder


@pytest.fixture
def few(tmp_path) -> Path:
    """The same of five utterances, to be damaged."""
    write_sources(tmp_path / "sources", FEW)
    return tmp_path / "sources"


@pytest.fixture(scope="session")
def tree(sources, tmp_path_factory) -> Path:
    """A generated WHAMR!, min and max."""
    pytest.importorskip("pyroomacoustics", reason="the extra [whamr] is not installed")
    from espnet2_bspmpnet.corpora.whamr.mixing import generate

    folder = tmp_path_factory.mktemp("tree")
    for mode in ("min", "max"):
        generate(**generate_from(sources), whamr_dir=folder, mode=mode)
    return folder


@pytest.fixture
def own_tree(tree, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(tree, tmp_path / "tree")
