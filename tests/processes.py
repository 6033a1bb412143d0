"""Watching the processes that a test has started."""

import subprocess
import time


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True
    ).stdout
    return status.strip() != "" and not status.startswith("Z")
