"""``bspmpnet-python``: a drop-in for ``python`` in which ESPnet knows BSP-MPNet.

``./enh.sh --python bspmpnet-python`` of a stock ESPnet checkout trains and decodes with
this package's separator.  Every Python process below this one registers it too, spawned
ones included: a sitecustomize module on PYTHONPATH imports the package at start-up,
which costs nothing until ESPnet's enhancement task is imported.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    """Replace this process by Python with the given arguments."""
    package = Path(__file__).resolve().parent.parent
    # The package's own folder too, in case it is not installed but run from a clone.
    added = [str(package / "plugin/_site"), str(package.parent)]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = added + [path for path in paths if path and path not in added]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
