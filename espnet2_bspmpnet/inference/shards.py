"""A share of the work, k of n, as of the tasks of a Slurm array, and its files."""

import os
from collections.abc import Mapping
from pathlib import Path

from espnet2_bspmpnet.errors import UserError

Shard = tuple[int, int]  # k in 1 ... n, and n
WHOLE = (1, 1)


def array_shard(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """Say which share is that of this task of a Slurm array; None outside of one.

    Raises:
        UserError: the array's numbers have gaps.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    task, first, last, count, step = (
        int(environment.get(f"SLURM_ARRAY_TASK_{name}", 1))
        for name in ("ID", "MIN", "MAX", "COUNT", "STEP")
    )
    place, rest = divmod(task - first, step)
    if rest or (last - first) // step + 1 != count:
        raise UserError(
            "the numbers of this Slurm array have gaps, so that it is unclear which share"
            " is this task's; give it by --shard K/N, or all by --shard 1/1"
        )
    return place + 1, count


def file_of(folder: Path, name: str, shard: Shard) -> Path:
    """Name a share's file: done.jsonl, or done.2-4.jsonl for the second of four."""
    stem, suffix = name.split(".")
    return folder / (
        name if shard == WHOLE else f"{stem}.{shard[0]}-{shard[1]}.{suffix}"
    )


def files_of_other_splits(folder: Path, name: str, shard: Shard) -> list[Path]:
    """Find such files of runs that were split into another number of shares."""
    stem, suffix = name.split(".")
    found = [path for path in [folder / name] if path.exists()]
    found += sorted(folder.glob(f"{stem}.*-*.{suffix}"))
    own = name if shard == WHOLE else f"-{shard[1]}.{suffix}"
    return [path for path in found if not path.name.endswith(own)]
