"""Bookkeeping of stages 7 and 9: each attempt does what earlier ones have not.

The jobs of all attempts are numbered on. Job N reads LOGDIR/keys.N.scp and writes, to
LOGDIR/output.N, an utterance's line to utt2seconds and then to spk1.scp once its file is
whole. Lines that a kill has torn off are ignored. A job that is started again, as one that
came back to Slurm's queue, keeps its lists as LOGDIR/output.N.before and resumes.

ESPnet's asr_inference writes an utterance's line to LOGDIR/output.N/1best_recog/text some
time after it; started again, it begins its share from the start.
"""

import re
from pathlib import Path

from espnet2_bspmpnet.data.datadir import TIMES, check_same_ids, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.jobs.state import queued_job, still_writes

LIST = "spk1.scp"
TEXT = "1best_recog/text"
NUMBERS = ".jobs"  # those of the latest attempt


def split_keys(
    scp: str | Path,
    num: int,
    logdir: str | Path,
    recognise: bool = False,
    wait: bool = False,
) -> range:
    """Split what is still to be done into LOGDIR/keys.N.scp of equal length, in order.

    Args:
        scp: list of all that is to be done, e.g. wav.scp.
        num: number of jobs wanted; none has nothing to do, so there may be fewer.
        recognise: whether the jobs recognise, rather than enhance.
        wait: whether the command that runs the jobs waits for those that an earlier run
            has left in the queue, whose numbers are then returned.

    Returns:
        The jobs' numbers; empty if all is done.

    Raises:
        UserError: an earlier run's jobs are in the queue, and `wait` is false.
    """
    if num < 1:
        raise UserError(f"{num} jobs asked for; ask for one or more")
    entries, logdir = read_scp(scp), Path(logdir)
    numbers = logdir / NUMBERS
    if (job := queued_job(logdir)) is not None:
        if not wait:
            raise still_writes(job, logdir)
        return range(*map(int, numbers.read_text().split()))
    done = _recognised(logdir) if recognise else _finished(logdir).keys()
    ids = sorted(entries.keys() - done)
    num = min(num, len(ids))
    first = 1 + max(map(_number, logdir.glob("keys.*.scp")), default=0)
    for job in range(num):
        mine = ids[job * len(ids) // num : (job + 1) * len(ids) // num]
        keys = logdir / f"keys.{first + job}.scp"
        write_scp(keys, {key: entries[key] for key in mine})
    write_text(numbers, f"{first} {first + num}\n")
    return range(first, first + num)


def join_enhanced(scp: str | Path, logdir: str | Path, output_dir: str | Path) -> None:
    """Join what all attempts have enhanced into spk1.scp and utt2seconds in `output_dir`.

    Raises:
        UserError: an utterance of `scp` is missing, or one is unexpected.
    """
    finished = _finished(Path(logdir))
    check_same_ids(scp, read_scp(scp), f"{logdir}/output.*", finished)
    _write_lists(Path(output_dir), finished)


def keep_enhanced(output_dir: str | Path) -> set[str]:
    """Keep the lists of a job that is started again; return what it has enhanced."""
    output_dir = Path(output_dir)
    before = output_dir.with_name(f"{output_dir.name}.before")
    finished = {**_listed(before), **_listed(output_dir)}
    if finished:
        _write_lists(before, finished)
    return set(finished)


def _number(keys: Path) -> int:
    found = re.fullmatch(r"keys\.(\d+)\.scp", keys.name)
    return int(found[1]) if found else 0


def _finished(logdir: Path) -> dict[str, tuple[str, str]]:
    """Give the file of each utterance that is enhanced, and the seconds it took."""
    finished = {}
    for folder in sorted(logdir.glob("output.*")):
        finished |= _listed(folder)
    return finished


def _recognised(logdir: Path) -> set[str]:
    """Give what was recognised, possibly without a word; take torn lines away."""
    utterances = set()
    for path in logdir.glob(f"output.*/{TEXT}"):
        text = path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            write_text(path, whole.decode("utf-8"))
        lines = whole.decode("utf-8").split("\n")
        utterances |= {line.split()[0] for line in lines if line.strip()}
    return utterances


def _listed(folder: Path) -> dict[str, tuple[str, str]]:
    times = _whole_lines(folder / TIMES)
    return {
        utterance: (path, times[utterance])
        for utterance, path in _whole_lines(folder / LIST).items()
        if utterance in times and Path(path).is_file()
    }


def _write_lists(folder: Path, finished: dict[str, tuple[str, str]]) -> None:
    write_scp(
        folder / TIMES, {name: seconds for name, (_, seconds) in finished.items()}
    )
    write_scp(folder / LIST, {name: path for name, (path, _) in finished.items()})


def _whole_lines(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    return dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
