"""Trainings side by side, in processes that share what importing ESPnet costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, multiprocessing, os, sys
from espnet2.bin.enh_train import main

def train(folder, with_us, words):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    log = os.open(f"log.{os.getpid()}", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if with_us:
        import espnet2_bspmpnet
    assert ("espnet2_bspmpnet" in sys.modules) == with_us
    main(words)

fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=train, args=given) for given in json.load(sys.stdin)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


def train(*trainings: tuple[Path, bool, list[str]]) -> list[str]:
    """Run ESPnet's own enh_train several times at once.

    Args:
        trainings: for each its folder, whether this package is imported, and the words
            of its command line.

    Returns:
        What each of them logged.
    """
    given = [(str(folder), ours, words) for folder, ours, words in trainings]
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(given),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
        timeout=300,
    )
    logs = {
        path: path.read_text()
        for folder, _, _ in trainings
        for path in sorted(folder.glob("log.*"))
    }
    assert ended.returncode == 0, "\n".join(logs.values())
    return list(logs.values())
