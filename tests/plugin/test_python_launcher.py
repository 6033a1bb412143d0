"""bspmpnet-python is Python in which ESPnet knows the model, in spawned children too."""

import os
import sys

import pytest

from tests.processes import completed

LAUNCHER = [sys.executable, "-m", "espnet2_bspmpnet.plugin.python_launcher"]
PROBE = """
import multiprocessing, sys

def known():
    from espnet2.tasks.enh import separator_choices
    return "bsp_mpnet" in separator_choices.classes

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(known), sys.argv[1:])
"""


@pytest.fixture
def launch(tmp_path, repository):
    """Return a function that gives bspmpnet-python words, and returns its output."""

    def launch(*words, path=repository):
        environment = {**os.environ, "PYTHONPATH": str(path)}
        result = completed(LAUNCHER, *words, cwd=tmp_path, env=environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return launch


def test_children_that_a_script_spawns_know_the_model(launch, tmp_path):
    """As stock ESPnet's training spawns one process for each GPU."""
    (tmp_path / "probe.py").write_text(PROBE)
    assert launch("probe.py", "--a", "b c") == "True ['--a', 'b c']\n"


def test_a_sitecustomize_that_was_there_before_runs_as_well(
    launch, tmp_path, repository
):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.was_there = True\n")
    probe = "import sys; print(sys.was_there, 'espnet2_bspmpnet' in sys.modules)"
    path = f"{tmp_path}{os.pathsep}{repository}"
    assert launch("-c", probe, path=path) == "True True\n"
