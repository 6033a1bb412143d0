"""Import espnet2_bspmpnet at the start of every process below bspmpnet-python."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

# Python imports one sitecustomize only: run the one that this file stands before.
_here = str(Path(__file__).resolve().parent)
_others = [path for path in sys.path if str(Path(path).resolve()) != _here]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _spec is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))

import espnet2_bspmpnet  # noqa: E402, F401
