"""`bspmpnet-slurm`: N jobs as a Slurm array, called like Kaldi's slurm.pl.

It calls sbatch and srun themselves, not submitit: logs are plain files as in Kaldi's
recipes, requeueing is Slurm's own, and nothing is pickled to a shared disk.
"""

import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.jobs import command_line
from espnet2_bspmpnet.jobs.command_line import Options, at_least, run_command_line
from espnet2_bspmpnet.jobs.logs import Job, echo_lines, start_log
from espnet2_bspmpnet.jobs.slurm_queue import STATES_OF_THE_END, Slurm
from espnet2_bspmpnet.jobs.state import JOBS, NOTE, job_in_queue, still_writes

USAGE = """\
usage: bspmpnet-slurm [options] [JOB=1:N] LOG COMMAND [ARGUMENT ...]

Runs COMMAND as a Slurm job, or N times as a job array with JOB in LOG, COMMAND and its
arguments replaced by 1 ... N, and waits for the end. Exit status 1 if a job failed.
Ctrl-C cancels the jobs. If this command alone is killed, its jobs stay, and the same
command again waits for them. A job goes back to the queue when its time limit is near, or
when Slurm preempts it, and COMMAND is started again: it must resume its work.

  --num_threads N    CPUs of each job, on each node; sets OMP_NUM_THREADS
  --gpu N            GPUs of each job, on each node
  --mem X            memory of each job, on each node, e.g. 32G
  --time T           time limit in Slurm's notation, e.g. 2-0 for two days
  --partition P      --account, --qos, --constraint likewise: as sbatch's
  --num_nodes M      nodes of each job; runs COMMAND once on each by srun, with MASTER_ADDR
                     in it replaced by the first node's address, and a free port there in
                     the environment's MASTER_PORT
  --max_jobs_run N   at most N jobs of the array at a time (default: no such limit)
  --max_requeues N   give a job up that came back from the queue more often (100)
  --sbatch_args "A"  further arguments of sbatch, which win
  --echo REGEX       print the log's lines that match as they come, or of each what the
                     first group matches
"""
POLL_SECONDS = 0.2  # between looks at logs and status files
ASK_SECONDS = (1.0, 15.0)  # between questions to Slurm: at first, and after a while
STATUS_SECONDS = 30.0  # until what one node wrote is seen by another
WARNING_SECONDS = 120  # before the time limit: time to end the command
# Its own status comes later than Slurm's word where the disk is slow.
MAY_HAVE_WRITTEN = {"COMPLETED", "FAILED", None}
USUAL_REASONS = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit"}
AS_SBATCH = ("mem", "time", "partition", "account", "qos", "constraint")


@dataclass
class SlurmOptions(Options):
    """What the command line asked for; for the fields see `USAGE`."""

    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    num_nodes: int = 1
    max_requeues: int = 100
    sbatch_args: list[str] = field(default_factory=list)

    @property
    def prefix(self) -> Path:
        """The path of the files beside the log, less their endings."""
        folder, name = Path.cwd() / Path(self.log).parent, Path(self.log).stem
        if self.array is not None:
            while self.array in str(folder.relative_to(Path.cwd().anchor)):
                folder = folder.parent
            name = re.sub(rf"[._-]?{self.array}", "", name)
        return folder / JOBS / (name or "jobs")


def parse(arguments: Sequence[str]) -> SlurmOptions:
    """Read the command line; for errors see `command_line.parse`."""
    converters = {
        **dict.fromkeys(AS_SBATCH, str),
        "num_nodes": at_least(1),
        "max_requeues": at_least(0),
        "sbatch_args": shlex.split,
    }
    return command_line.parse(arguments, SlurmOptions, converters)


def batch_script(options: SlurmOptions) -> str:
    """Return what each job of the array runs: its particulars, then slurm_job.sh."""
    values = {
        "array": options.array or "",
        "status_prefix": str(options.prefix),
        "max_requeues": options.max_requeues,
        "num_nodes": options.num_nodes,
        "num_threads": options.num_threads or 1,
    }
    lines = ["#!/usr/bin/env bash", f"# sbatch {shlex.join(sbatch_options(options))}"]
    lines += [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]
    lines += ["command=(", *(f"    {shlex.quote(w)}" for w in options.command), ")"]
    body = Path(__file__).with_name("slurm_job.sh").read_text(encoding="utf-8")
    return "\n".join(lines) + "\n" + body


def sbatch_options(options: SlurmOptions) -> list[str]:
    """Return sbatch's options for these jobs; those that are asked for come last."""
    # %a is Slurm's word for the number, and %% for a percent sign.
    folder, log = (str(path).replace("%", "%%") for path in (Path.cwd(), options.log))
    if options.array is not None:
        log = log.replace(options.array, "%a")
    warning = min(WARNING_SECONDS, (_seconds(options.time) or 3600) // 4)
    output = log if log.startswith("/") else f"{folder}/{log}"
    words = ["--requeue", "--open-mode=append", f"--signal=B:USR1@{warning}"]
    words += ["--export=ALL", f"--chdir={Path.cwd()}", f"--output={output}"]
    words += [f"--job-name={options.prefix.name}"]
    words += [f"--nodes={options.num_nodes}", "--ntasks-per-node=1"]
    if options.array is not None:
        first, last = options.numbers[0], options.numbers[-1]
        most = f"%{options.max_jobs_run}" if options.max_jobs_run else ""
        words.append(f"--array={first}-{last}{most}")
    if options.num_threads:
        words.append(f"--cpus-per-task={options.num_threads}")
    if options.gpu:
        words.append(f"--gres=gpu:{options.gpu}")
    asked = {name: getattr(options, name) for name in AS_SBATCH}
    words += [f"--{name}={value}" for name, value in asked.items() if value is not None]
    return words + options.sbatch_args


def _seconds(limit: str | None) -> int | None:
    """Read a time limit as sbatch does; None where it is none, or not understood."""
    days, dash, clock = (limit or "").rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in [*parts, days or "0"]) or len(parts) > 3:
        return None
    units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    clock_seconds = sum(int(part) * unit for part, unit in zip(parts, units))
    return int(days or 0) * 86400 + clock_seconds


def run(options: SlurmOptions) -> list[Job]:
    """Run all jobs to their end, and return them, each with its status.

    Raises:
        UserError: Slurm is not there, or does not take the jobs; or a file cannot be
            written.
        SystemExit: SIGINT or SIGTERM came, and the jobs were cancelled; or SIGHUP, and
            they stay.
    """
    received = command_line.catch_signals()
    slurm = Slurm(options.num_threads)
    jobs = [Job(n, Path(options.fill(options.log, n))) for n in options.numbers]
    job_id = _of_an_earlier_call(options) or _submit(slurm, options, jobs)
    watch = _Watch(slurm, options, job_id, jobs)
    while not received and watch.look():
        time.sleep(POLL_SECONDS)
    if received and received[0] == signal.SIGHUP:
        _say(f"stopped by SIGHUP; job {job_id} remains: the same command waits for it")
        raise SystemExit(128 + received[0])
    if received:
        slurm.cancel(job_id)
        name = signal.Signals(received[0]).name
        _say(f"stopped by {name}; job {job_id} is cancelled")
    _beside(options, NOTE).unlink()
    for job in jobs:
        _beside(options, f".{job.number}.status").unlink(missing_ok=True)
    if received:
        raise SystemExit(128 + received[0])
    return jobs


def _say(text: str) -> None:
    print(f"bspmpnet-slurm: {text}", file=sys.stderr, flush=True)


def _beside(options: SlurmOptions, ending: str) -> Path:
    return options.prefix.with_name(f"{options.prefix.name}{ending}")


def _of_an_earlier_call(options: SlurmOptions) -> str | None:
    """Return the number of jobs that a call which was killed has left in the queue."""
    script = _beside(options, ".sh")
    job_id = job_in_queue(_beside(options, NOTE))
    if job_id is None or not script.exists():
        return None
    if script.read_text(encoding="utf-8") != batch_script(options):
        raise still_writes(job_id, options.log)
    _say(f"job {job_id} of an earlier call is in the queue still: waiting for it")
    return job_id


def _submit(slurm: Slurm, options: SlurmOptions, jobs: Sequence[Job]) -> str:
    for job in jobs:
        start_log(job.log)
        _beside(options, f".{job.number}.status").unlink(missing_ok=True)
    script = _beside(options, ".sh")
    write_text(script, batch_script(options))
    job_id = slurm.submit(sbatch_options(options), script)
    write_text(_beside(options, NOTE), f"{job_id}\n")
    _say(f"job {job_id} is in the queue, log {options.log}")
    return job_id


class _Watch:
    """What is known of the jobs of an array; their statuses are filled in."""

    def __init__(
        self, slurm: Slurm, options: SlurmOptions, job_id: str, jobs: Sequence[Job]
    ):
        self.slurm, self.options, self.job_id = slurm, options, job_id
        self.waiting = list(jobs)
        self.began = self.asked = time.monotonic()
        self.gone: dict[int, float] = {}  # since when Slurm has known no more of it
        self.reported: set[str] = set()  # what need not be said again

    def look(self) -> bool:
        """Look at logs and status files, at times ask Slurm; return whether to wait on."""
        self._read_statuses()
        now = time.monotonic()
        least, most = ASK_SECONDS
        if now - self.asked > min(max((now - self.began) / 10, least), most):
            self.asked = now
            self._ask()
        for job in self.waiting:
            echo_lines(job, self.options.echo)
        self.waiting = [job for job in self.waiting if job.status is None]
        return bool(self.waiting)

    def _read_statuses(self) -> None:
        # Reading the folder makes a network disk look for new files.
        there = set(os.listdir(self.options.prefix.parent))
        for job in self.waiting:
            path = _beside(self.options, f".{job.number}.status")
            if path.name in there:
                job.status = int(path.read_text())

    def _ask(self) -> None:
        states = self.slurm.states(self.job_id)
        if states is None:
            self._say_once("Slurm does not answer; waiting")
            return
        self._read_statuses()  # one may have come since
        for job in self.waiting:
            state, why = states.get(job.number, (None, ""))
            if job.status is not None:
                continue
            if state is None or state in STATES_OF_THE_END:
                self._miss(job, state)
            elif state == "PENDING" and why not in USUAL_REASONS:
                self._say_once(f"job {self.job_id} waits in the queue: {why}")

    def _miss(self, job: Job, state: str | None) -> None:
        """Handle a job that has ended, as Slurm says, without a status."""
        since = self.gone.setdefault(job.number, time.monotonic())
        if state in MAY_HAVE_WRITTEN and time.monotonic() - since < STATUS_SECONDS:
            return
        if state is None:
            array = self.options.array is not None
            state = self.slurm.remembered(self.job_id, job.number, array)
        why = STATES_OF_THE_END.get(state, "Slurm has forgotten it")
        job.reason = f"ended by Slurm: {state or 'no longer in the queue'} ({why})"
        job.status = 1

    def _say_once(self, text: str) -> None:
        if text not in self.reported:
            _say(text)
        self.reported.add(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; for arguments and status see `run_command_line`."""
    return run_command_line(
        "bspmpnet-slurm", USAGE, lambda words: run(parse(words)), argv
    )


if __name__ == "__main__":
    sys.exit(main())
