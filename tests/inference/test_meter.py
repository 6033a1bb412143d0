"""The summary counts recordings and audio; failures are shown as they happen."""

import io
import re

from espnet2_bspmpnet.inference.events import Done, Failed, Progress, Task
from espnet2_bspmpnet.inference.meter import SHOWN, Meter


def task(name):
    return Task(f"{name}.wav", f"out/{name}.wav")


def test_the_summary_counts_what_was_reported(capsys):
    meter = Meter(6)
    meter.skip()
    for name in "ab":
        meter.report(Done(task(name), 15.0, 1.0, note="a.wav: became 16 bits"))
    meter.report(Progress(task("long"), 0.25, 1800.0))
    meter.report(Progress(task("long"), 0.75, 5400.0))
    meter.report(Done(task("long"), 7200.0, 1.0))
    meter.report(Progress(task("cut"), 0.5, 60.0))
    meter.report(Failed(task("cut"), "is truncated"))
    meter.close()
    assert re.fullmatch(
        r"3 of 6 recordings enhanced: 2\.02 h of audio in \d\.\d s \(\d+\.\d x real"
        r" time\), 1 left as they are, 1 failed, 1 still to do: run it"
        r" again with --skip_existing",
        meter.summary(),
    )
    shown = capsys.readouterr().err
    assert "cut.wav: is truncated\n" in shown and shown.count("became 16 bits") == 1


def test_only_the_first_failures_are_shown(capsys):
    meter = Meter(100)
    for number in range(SHOWN + 5):
        meter.report(Failed(task(f"a\n{number}"), "is empty"))
    meter.close()
    shown = capsys.readouterr().err
    assert shown.count("is empty") == SHOWN and r"'a\n0.wav': is empty" in shown
    assert shown.count("further failures are not shown") == 1


def test_in_a_log_a_line_comes_now_and_then(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    meter = Meter(103)
    for _ in range(3):
        meter.skip()
    for number in range(10):
        now += 10.0
        meter.report(Done(task(f"{number}"), 120.0, 10.0))
    assert capsys.readouterr().err.splitlines() == [
        "7 of 103 files, 12.0 x real time, about 16.0 min left",
        "11 of 103 files, 12.0 x real time, about 15.3 min left",
    ]


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    meter = Meter(4)
    meter.skip()
    meter.report(Progress(task("a"), 0.5, 30.0))
    meter.report(Failed(task("b"), "is empty"))
    meter.report(Done(task("a"), 60.0, 1.0))
    meter.close()
    shown = terminal.getvalue()
    assert "enhancing:  75%" in shown and "3/4 files" in shown
    assert "x real time]" in shown and "b.wav: is empty\n" in shown
