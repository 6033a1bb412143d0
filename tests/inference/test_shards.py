"""Shares of the work are those of a Slurm array's tasks, and have files of their own."""

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.inference.shards import (
    WHOLE,
    array_shard,
    file_of,
    files_of_other_splits,
)


def array(task, first, last, count, step=1):
    values = dict(ID=task, MIN=first, MAX=last, COUNT=count, STEP=step)
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    "environment, shard",
    [
        ({}, None),
        (array(1, 1, 4, 4), (1, 4)),
        (array(4, 1, 4, 4), (4, 4)),
        (array(0, 0, 9, 10), (1, 10)),
        (array(7, 1, 9, 5, 2), (4, 5)),
        (array(1, 1, 10, 4, 3), (1, 4)),
        (array(5, 5, 5, 1), (1, 1)),
    ],
)
def test_a_task_of_an_array_has_its_share(environment, shard):
    assert array_shard(environment) == shard


@pytest.mark.parametrize("numbers", [(3, 1, 9, 3), (2, 1, 9, 5, 2)])
def test_an_array_with_gaps_is_refused(numbers):
    with pytest.raises(UserError, match="have gaps.*give it by --shard K/N"):
        array_shard(array(*numbers))


def test_files_of_runs_that_were_split_otherwise_are_found(tmp_path):
    name = "done.jsonl"
    paths = {
        shard: file_of(tmp_path, name, shard) for shard in (WHOLE, (1, 4), (3, 14))
    }
    assert [path.name for path in paths.values()] == [
        "done.jsonl",
        "done.1-4.jsonl",
        "done.3-14.jsonl",
    ]
    assert files_of_other_splits(tmp_path, name, WHOLE) == []
    for path in paths.values():
        path.touch()
    for shard in paths:
        others = [path for other, path in paths.items() if other != shard]
        assert files_of_other_splits(tmp_path, name, shard) == others
    assert len(files_of_other_splits(tmp_path, name, (2, 4))) == 2
