"""Starting processes, and watching those that a test has started."""

import subprocess
import time


def completed(command, *words, cwd, env) -> subprocess.CompletedProcess:
    """Run a command with more words to its end, and keep what it prints."""
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def wait_until(condition, seconds: float = 60.0) -> None:
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, "waited in vain"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    status = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True
    ).stdout
    return status.strip() != "" and not status.startswith("Z")
