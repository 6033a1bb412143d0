"""ESPnet's checkpoint.pth, read without running code; the errors of a damaged file."""

from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch

# What torch raises for a file that is truncated or not one of its own.
DAMAGE = (RuntimeError, UnpicklingError, EOFError, ValueError)


def damage_reason(error: Exception) -> str:
    """Say in one line what one of DAMAGE means."""
    return str(error).splitlines()[0] if str(error) else "it ends too soon"


def read_checkpoint(path: Path) -> dict:
    """Read ESPnet's checkpoint.pth without running code that a pickle may carry.

    Only what is used is read from the disk. ESPnet 202511 keeps numpy scalars and
    durations there, which are allowed here, as torch refuses them by default.
    """
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    harmless = [scalar, np.dtype, *dtypes, timedelta]
    with torch.serialization.safe_globals(harmless):
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
