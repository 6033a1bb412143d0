"""The command line that both commands share, which is that of Kaldi's run.pl."""

import os
import signal
from dataclasses import dataclass

import pytest

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.jobs.command_line import (
    Options,
    UsageError,
    catch_signals,
    parse,
    run_command_line,
)
from espnet2_bspmpnet.jobs.logs import Job


@dataclass
class MoreOptions(Options):
    partition: str | None = None


MORE = {"partition": str, "mem": str}


def test_options_may_stand_on_both_sides_of_the_array():
    words = "--gpu 1 JOB=1:3 --partition=p x.JOB.log cmd --gpu A=1"
    options = parse(words.split(), MoreOptions, MORE)
    assert (options.array, list(options.numbers)) == ("JOB", [1, 2, 3])
    assert (options.gpu, options.partition, options.log) == (1, "p", "x.JOB.log")
    assert options.command == ["cmd", "--gpu", "A=1"]
    assert options.fill(options.log, 3) == "x.3.log"


def test_one_job_has_no_array_and_fills_nothing():
    options = parse(["JOB.log", "cmd", "JOB"], Options, {})
    assert (options.array, list(options.numbers)) == (None, [1])
    assert options.fill("JOB.log", 1) == "JOB.log"


def test_hyphens_serve_and_a_value_may_look_like_an_option():
    words = ["--max-jobs-run", "2", "--partition", "--exclusive", "a.log", "cmd"]
    options = parse(words, MoreOptions, MORE)
    assert (options.max_jobs_run, options.partition) == (2, "--exclusive")


def test_an_option_that_the_caller_has_no_field_for_has_no_effect():
    assert parse(["--mem", "2G", "a.log", "cmd"], Options, MORE) == Options(
        log="a.log", command=["cmd"]
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ("--gup 1 a.log true", "unknown option --gup; known are --max_jobs_run"),
        ("-g 1 a.log true", "unknown option -g"),
        ("--gpu", "--gpu needs a value"),
        ("--gpu x a.log true", "--gpu x: a whole number of at least 0"),
        ("--max_jobs_run 0 a.log true", "--max_jobs_run 0: .* at least 1"),
        ("--echo ( a.log true", r"--echo \(: "),
        ("JOB=3:1 a.JOB.log true", "JOB=3:1: the last number is below the first"),
        ("JOB=1:3 a.log true", "a.log: the log's name must contain JOB"),
        ("a.log", "a log file and a command are needed"),
    ],
)
def test_a_wrong_command_line_is_named(words, message):
    with pytest.raises(UsageError, match=message):
        parse(words.split(), Options, {})


@pytest.mark.parametrize(
    "error, status, message",
    [
        (UsageError("--gup"), 2, "usage: x\n\nx: error: --gup\n"),
        (UserError("no Slurm"), 1, "x: error: no Slurm\n"),
        (OSError(5, "input/output error", "a.log"), 1, "x: error: a.log: input/output"),
    ],
)
def test_an_error_is_printed_and_gives_the_status(error, status, message, capsys):
    def run(words):
        raise error

    assert run_command_line("x", "usage: x\n", run, ["a.log", "true"]) == status
    assert capsys.readouterr().err.startswith(message)


def test_help_is_printed_and_a_failed_job_gives_status_one(tmp_path, capsys):
    (tmp_path / "a.log").touch()
    job = Job(1, tmp_path / "a.log", status=0)
    assert run_command_line("x", "usage: x\n", lambda words: [job], ["--help"]) == 0
    assert capsys.readouterr().out == "usage: x\n"
    assert run_command_line("x", "usage: x\n", lambda words: [job], ["a.log"]) == 0
    job.status = 3
    assert run_command_line("x", "usage: x\n", lambda words: [job], ["a.log"]) == 1


def test_signals_that_ask_to_stop_are_noted():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        received = catch_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        assert received == [signal.SIGHUP]
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
