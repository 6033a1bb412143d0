"""How far a run is: a progress bar with the speed and the time left, and a summary."""

import sys
import time
from collections import defaultdict

from tqdm import tqdm

from espnet2_bspmpnet.data.recordings import printable
from espnet2_bspmpnet.inference.events import Done, Event, Failed, Progress, Task

SHOWN = 10  # failures that are shown as they happen
PAUSE = 30  # seconds between lines in a log
_FORMAT = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total} files"
    " [{elapsed}<{remaining}{postfix}]"
)


class Meter:
    """Counts what is reported, and shows it: on a terminal as a bar, in a log by lines.

    Args:
        total: number of recordings.
    """

    def __init__(self, total: int):
        self.total = total
        self.done = self.failed = self.skipped = 0
        self.audio = 0.0  # seconds enhanced
        self._files = 0.0  # done or failed, those under way by their shares
        self._begun = self._shown = time.perf_counter()
        self._noted = False
        self._shares: dict[Task, float] = defaultdict(float)  # of long ones under way
        self._bar = tqdm(
            total=total,
            desc="enhancing",
            file=sys.stderr,
            bar_format=_FORMAT,
            smoothing=0,
            disable=not sys.stderr.isatty(),
        )

    def report(self, event: Event) -> None:
        """Count a recording, or a part of one; show a failure."""
        begun = self._shares.pop(event.task, 0.0)
        if isinstance(event, Progress):
            self._shares[event.task] = begun + event.share
            self._advance(event.share, event.audio)
            return
        if isinstance(event, Done):
            self.done += 1
            if event.note and not self._noted:  # once: there may be a million
                self._noted = True
                self._bar.write(event.note, file=sys.stderr)
            self._advance(1 - begun, event.audio * (1 - begun))
        else:
            self._show(event)
            self._advance(1 - begun, 0.0)

    def skip(self) -> None:
        """Count a recording that need not be enhanced; it says nothing on the speed."""
        self.skipped += 1
        if not self._bar.disable:
            self._bar.initial += 1
            self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def summary(self) -> str:
        """Sum up in one line."""
        took = time.perf_counter() - self._begun
        parts = [
            f"{self.done} of {self.total} recordings enhanced:"
            f" {_duration(self.audio)} of audio in {_duration(took)} ({self._speed})"
        ]
        to_do = self.total - self.done - self.skipped - self.failed
        for number, what in (
            (self.skipped, "left as they are"),
            (self.failed, "failed"),
            (to_do, "still to do: run it again with --skip_existing"),
        ):
            if number:
                parts.append(f"{number} {what}")
        return ", ".join(parts)

    @property
    def _speed(self) -> str:
        took = max(time.perf_counter() - self._begun, 1e-9)
        return f"{self.audio / took:.1f} x real time"

    def _advance(self, files: float, audio: float) -> None:
        self.audio += audio
        self._files += files
        self._bar.set_postfix_str(self._speed, refresh=False)
        self._bar.update(files)
        now = time.perf_counter()
        to_do = self.total - self.skipped - self._files
        if self._bar.disable and now - self._shown > PAUSE and to_do:
            self._shown = now
            left = _duration((now - self._begun) * to_do / max(self._files, 1e-9))
            print(
                f"{int(self._files + self.skipped)} of {self.total} files,"
                f" {self._speed}, about {left} left",
                file=sys.stderr,
            )

    def _show(self, failure: Failed) -> None:
        self.failed += 1
        if self.failed <= SHOWN:
            message = f"{printable(failure.task.source)}: {failure.reason}"
            self._bar.write(message, file=sys.stderr)
        elif self.failed == SHOWN + 1:
            self._bar.write("further failures are not shown", file=sys.stderr)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.2f} h"
