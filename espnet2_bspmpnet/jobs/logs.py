"""Jobs as they are shown: lines of their logs as they come, and why a job failed."""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet2_bspmpnet.files.atomic import naming

TAIL_LINES = 15
TAIL_BYTES = 65536
CLEAR_REST = "\x1b[K"  # a terminal's code: clear from the cursor to the line's end


@dataclass
class Job:
    """One job: its log and how it ended."""

    number: int  # its place in the array
    log: Path
    status: int | None = None  # exit status, 128 + signal if killed; None while it runs
    reason: str = ""  # why it ended, where that is not seen from its status
    echoed: int = 0  # how much of the log was looked at, in bytes


def start_log(log: Path) -> None:
    """Make an empty log, and its folder."""
    with naming(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")


def echo_lines(job: Job, echo: re.Pattern | None) -> None:
    """Print the lines that have come to a job's log and match; without a pattern none."""
    if echo is None:
        return
    with job.log.open("rb") as log:
        log.seek(job.echoed)
        new = log.read()
    if job.status is None:
        # Only whole lines; a progress bar's end with a carriage return.
        new = new[: max(new.rfind(b"\n"), new.rfind(b"\r")) + 1]
    job.echoed += len(new)
    terminal = sys.stdout.isatty()
    for line in re.split(r"[\r\n]+", new.decode("utf-8", errors="replace")):
        found = echo.search(line) if line else None
        if not found:
            continue
        shown = found[1] if echo.groups else line
        if terminal and found.groupdict().get("progress"):
            # The next line takes its place: it must not be broken, nor reach further.
            width = shutil.get_terminal_size().columns - 1
            print(shown[:width], end=CLEAR_REST + "\r", flush=True)
        else:
            print(shown, end=(CLEAR_REST if terminal else "") + "\n", flush=True)
    if terminal and job.status is not None:
        print(end=CLEAR_REST, flush=True)


def report(program: str, jobs: Sequence[Job]) -> int:
    """Print why jobs failed, in the name of a program; return its exit status, 0 or 1."""
    failed = sorted((job for job in jobs if job.status), key=lambda job: job.number)
    for job in failed:
        why = f": {job.reason}" if job.reason else f" with status {job.status}"
        ending = f"log {job.log}, which ends:\n{_tail(job.log)}"
        print(f"{program}: job {job.number} failed{why}, {ending}", file=sys.stderr)
    if len(jobs) > 1 and failed:
        print(f"{program}: {len(failed)} of {len(jobs)} jobs failed", file=sys.stderr)
    return 1 if failed else 0


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join("  " + line for line in text.splitlines()[-TAIL_LINES:])
