"""What is to be done with recordings, and what is reported of it."""

from collections.abc import Callable
from typing import NamedTuple


class Task(NamedTuple):
    """A recording to enhance."""

    source: str
    output: str  # path of the file to write
    wanted: bool = True  # else only its share in a batch is


Chunk = list[Task]  # from which batches are made


class Done(NamedTuple):
    """An output is written."""

    task: Task
    audio: float  # seconds that it lasts
    took: float  # seconds of computing
    gain_db: float = 0.0  # that kept it from clipping, or normalised it
    note: str = ""  # why its format is not the input's


class Failed(NamedTuple):
    """There is no output."""

    task: Task
    reason: str
    is_last: bool = False  # the others would fail as well, as on a full disk


class Progress(NamedTuple):
    """Some of a long recording is enhanced."""

    task: Task
    share: float  # of the whole, since the last report
    audio: float  # seconds, since the last report


Event = Done | Failed | Progress
Report = Callable[[Event], None]
