"""The state of runs: whether a step is new, resumed, waited for or refused.

A step ends by writing its marker, e.g. DIR/.done, which holds the step's key: a checksum of
what it read, and its command. While it runs, its key is in DIR/.done.begun. Local jobs die
with the script that started them, Slurm's do not; the number of a job that may still run
is noted in slurm/NAME.job beside its log.

The scripts ask `bspmpnet begin_step` and `bspmpnet end_step`; a training that is started or
requeued asks `starts_from_scratch`.
"""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import remove, write_text
from espnet2_bspmpnet.jobs.slurm_queue import Slurm, unfinished

JOBS, NOTE = "slurm", ".job"  # folder and ending of the notes of Slurm's jobs
# In an experiment's folder: the checksum of its data; and the same, as long as a training
# from scratch was asked for and has not begun.
TRAINED_ON = ".trained_on"
START_ANEW = ".start_anew"


class Answer(NamedTuple):
    """Whether a script has a step to run, and what the user should know."""

    run: bool
    message: str


def begin_step(
    marker: str | Path,
    reads: Iterable[str | Path],
    runs: str,
    resumes_in: str | Path | None = None,
    trained_on: Sequence[str | Path] = (),
    resume: bool = True,
) -> Answer:
    """Decide whether a step is to be run, and make its place ready.

    Args:
        marker: file that says that the step is done.
        reads: what it depends on: see `checksum`.
        runs: its command, with all its options.
        resumes_in: folder in which the command completes what an earlier attempt has
            begun; it is emptied if that attempt read or ran something else.
        trained_on: for a training: its data. The marker is in the experiment's folder.
        resume: for a training: whether to resume an earlier one.

    Raises:
        UserError: a job of other options still writes to the folder, or a training was
            begun with other data.
    """
    marker, sums, message = Path(marker), checksum(reads), ""
    if trained_on:
        data = checksum(trained_on)
        sums += f" {data}"
        message = _begin_training(marker, data, resume)
    key = f"{marker} {sums} {runs}".strip()
    if _text(marker) == key:
        return Answer(False, f"done already (to redo it, remove {marker})")
    begun = _begun(marker)
    stale = resumes_in is not None and _text(begun) != key
    if stale and (job := queued_job(Path(resumes_in))) is not None:
        raise still_writes(job, resumes_in)
    remove(marker)
    if stale:
        remove(begun)  # what is half emptied must not be resumed
        if Path(resumes_in).exists():
            shutil.rmtree(resumes_in)
    write_text(begun, f"{key}\n")
    return Answer(True, message)


def end_step(marker: str | Path) -> None:
    """Note that a step which was begun has ended well."""
    _begun(Path(marker)).replace(marker)


def checksum(paths: Iterable[str | Path]) -> str:
    """Return the checksum of files, and of the files that are directly in folders.

    Hidden files in folders, and what does not exist, do not count. Of a marker, which is a
    hidden file, its time counts: a step that was redone may have made other audio.
    """
    # POSIX' checksum: experiments have noted those of their data by it from the first.
    sums = subprocess.Popen(["cksum"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    times = ""
    for path in sorted(_files(map(Path, paths)), key=bytes):
        if path.name.startswith("."):
            times += f" {path.stat().st_mtime_ns}"
        else:
            with path.open("rb") as file:
                shutil.copyfileobj(file, sums.stdin)
    return sums.communicate()[0].decode().strip() + times


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.glob("[!.]*") if file.is_file())
        elif path.is_file():
            yield path


def _begun(marker: Path) -> Path:
    return marker.with_name(f"{marker.name}.begun")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _begin_training(trained: Path, data: str, resume: bool) -> str:
    """Note the data of a training, and return what the user should know."""
    experiment = trained.parent
    before, asked = experiment / TRAINED_ON, experiment / START_ANEW
    if not resume or asked.exists():
        remove(trained)
        write_text(asked, f"{data}\n")
        why = f"as --resume false asked for (to resume, remove {asked})"
        return f"training starts from scratch, {why}"
    checkpoint = experiment / "checkpoint.pth"
    if checkpoint.exists() and _text(before) not in (None, data):
        raise UserError(
            f"{experiment} was trained on other data: train in another folder by "
            "--enh_tag NAME, from scratch by --resume false, or resume with these data "
            f"by removing {before}"
        )
    write_text(before, f"{data}\n")
    return ""


def starts_from_scratch(experiment: Path) -> bool:
    """Return whether a training that starts now is not to resume an earlier one."""
    return (experiment / START_ANEW).exists()


def started_from_scratch(experiment: Path) -> None:
    """Note that an earlier training's files are moved: from now on the new one resumes."""
    if starts_from_scratch(experiment):
        (experiment / START_ANEW).replace(experiment / TRAINED_ON)


def queued_job(folder: Path) -> str | None:
    """Return the Slurm job of an earlier run that may still write to a folder, if any."""
    logs = (folder / JOBS, folder / "logdir" / JOBS)
    notes = [note for place in logs for note in place.glob(f"*{NOTE}")]
    return next((job for note in notes if (job := job_in_queue(note))), None)


def job_in_queue(note: Path) -> str | None:
    """Return the number of the Slurm job in a note, if it may still run."""
    if (job := _text(note)) is None:
        return None
    try:
        return job if unfinished(Slurm().states(job) or {}) else None
    except UserError:  # there is no Slurm here
        return None


def still_writes(job: str, path: str | Path) -> UserError:
    """Return the error that another command's job is in the way."""
    return UserError(
        f"job {job}, of another command, still writes to {path}: wait for its end, or "
        f"run: scancel {job}"
    )
