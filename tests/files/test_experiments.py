"""An experiment's folder: which model is the best, and of which epoch."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.experiments import (
    NoModel,
    config_of,
    epoch_of,
    find_model,
)


@pytest.fixture
def expdir(tmp_path):
    """Two epochs, of which the second is the best by both criteria."""
    (tmp_path / "config.yaml").write_text(
        "best_model_criterion: [[valid, pesq, max], [valid, loss, min]]\n"
    )
    for epoch in (1, 2):
        (tmp_path / f"{epoch}epoch.pth").touch()
    for criterion in ("loss", "pesq"):
        (tmp_path / f"valid.{criterion}.best.pth").symlink_to("2epoch.pth")
    return tmp_path


def test_the_config_is_looked_up_in_the_experiment(tmp_path):
    assert config_of(tmp_path) == {}
    (tmp_path / "config.yaml").write_text("config: conf/train.yaml\nseed: 1\n")
    assert config_of(tmp_path) == {"config": "conf/train.yaml", "seed": 1}
    (tmp_path / "config.yaml").write_text("config: [")
    with pytest.raises(UserError, match="config.yaml: not valid YAML"):
        config_of(tmp_path)


def test_the_best_model_is_that_of_the_first_criterion(expdir):
    assert find_model(expdir).name == "valid.pesq.best.pth"
    (expdir / "valid.pesq.best.pth").unlink()
    assert find_model(expdir).name == "valid.loss.best.pth"
    (expdir / "valid.loss.best.pth").unlink()
    with pytest.raises(NoModel, match="no trained model .*valid"):
        find_model(expdir)


def test_any_best_model_is_found_where_the_criteria_are_not_known(expdir):
    (expdir / "config.yaml").unlink()
    assert find_model(expdir).name == "valid.loss.best.pth"


def test_a_model_is_taken_by_its_name(expdir):
    assert find_model(expdir, "1epoch.pth") == expdir / "1epoch.pth"
    with pytest.raises(UserError, match="9epoch.pth: no such model"):
        find_model(expdir, "9epoch.pth")


@pytest.mark.parametrize("criteria", ["7", "[[valid]]"])
def test_criteria_that_cannot_be_read_are_refused(expdir, criteria):
    (expdir / "config.yaml").write_text(f"best_model_criterion: {criteria}\n")
    with pytest.raises(UserError, match="config.yaml: best_model_criterion: .*such as"):
        find_model(expdir)


def test_the_epoch_of_a_model_is_that_of_the_file_it_links_to(expdir):
    assert epoch_of(expdir / "valid.pesq.best.pth") == 2
    assert epoch_of(expdir / "checkpoint.pth") is None
