"""A copy of a recipe, to be run as a user runs it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


class Recipe:
    """A copy of a recipe beside copies of what all recipes share.

    Args:
        repository: where the scripts are taken from.
        root: where the copies go.
        corpus: the recipe's folder in egs2/.
        env: further variables of the environment.
    """

    def __init__(self, repository: Path, root: Path, corpus: str, **env: str):
        made = shutil.ignore_patterns("data", "dump", "exp", "corpus", "downloads")
        parts = ("local", "conf", "egs2/mini/enh1", f"egs2/{corpus}/enh1")
        for part in dict.fromkeys(parts):
            shutil.copytree(
                *(repository / part, root / part),
                symlinks=True,
                ignore=made,
                dirs_exist_ok=True,
            )
        self.folder = root / "egs2" / corpus / "enh1"
        self.command = [str(self.folder / "run.sh")]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, **env}

    def start(self, *options: str) -> subprocess.Popen:
        """Start it, in a process group of its own, from some other folder."""
        return subprocess.Popen(
            [*self.command, *options],
            cwd="/",
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: str, timeout: float = 300) -> tuple[int, str]:
        """Run to the end; the exit status and all that was printed."""
        process = self.start(*options)
        printed, _ = process.communicate(timeout=timeout)
        return process.returncode, printed

    def lines(self, file: str) -> list[str]:
        """The lines of a file in the recipe's folder."""
        return (self.folder / file).read_text().splitlines()
