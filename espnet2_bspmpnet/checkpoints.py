"""ESPnet's checkpoint.pth, read for its values alone."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import torch


def read_checkpoint(path: Path) -> dict:
    """Read ESPnet's checkpoint.pth without running code that a pickle may carry.

    Of a checkpoint of gigabytes only what is used is read from the disk.  ESPnet 202511
    keeps numpy scalars and durations there, which torch has to be told are harmless.
    """
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    harmless = [scalar, np.dtype, *dtypes, timedelta]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
