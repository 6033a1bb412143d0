"""Our enh_train registers as a main module, which spawned children import again."""

import os
import sys

from tests.processes import completed

MAIN = """
import multiprocessing
from espnet2_bspmpnet.bin.enh_train import main

def known():
    from espnet2.tasks.enh import separator_choices
    return "bsp_mpnet" in separator_choices.classes

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(known))
"""


def test_a_spawned_child_knows_the_model(tmp_path, repository):
    (tmp_path / "as_main.py").write_text(MAIN)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "as_main.py"]
    result = completed(command, cwd=tmp_path, env=environment)
    assert result.stdout == "True\n", result.stderr
