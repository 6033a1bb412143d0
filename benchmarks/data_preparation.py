"""Seconds to bring VoiceBank+DEMAND from 48 kHz to what training reads: ours, ESPnet's.

    pip install resampy  # which ESPnet's script imports; sox is needed as well
    python -m tests.miniatures.vctk_noisy database 467 33 1.5 4.3  # or the real one
    python benchmarks/data_preparation.py database

Ours is the recipe: run.sh, stages 1 to 3.  ESPnet's is what its stages 1 and 3 come to:
lists of commands "sox FILE -r 16000 ... |" and, for each list of each set, as many jobs as
ours has processes, which run a command, read what it prints and write a WAV file.  They
are written here, after format_wav_scp.py, which ESPnet installed by pip is without; perl
scripts that ESPnet's stages run besides are left out.  Bare jobs are the same without what
its script imports.  All work in turn, after a first turn that is not counted; what counts
is the ratio of medians.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from espnet2_bspmpnet.corpora.vctk_noisy import VALIDATION_SPEAKERS
from espnet2_bspmpnet.files.parallel import available_cores

REPOSITORY = Path(__file__).resolve().parents[1]
# One job: what ESPnet's format_wav_scp.py imports, and does to each line.
JOB = """
import sys
from io import BytesIO

import humanfriendly, kaldiio, numpy, resampy, soundfile
from tqdm import tqdm
from typeguard import typechecked
from espnet2.fileio.read_text import read_2columns_text
from espnet2.fileio.sound_scp import SoundScpWriter, soundfile_read
from espnet2.fileio.vad_scp import VADScpReader
from espnet2.utils.types import str2bool

scp, folder = sys.argv[1:]
with SoundScpWriter(folder, f"{folder}/wav.scp", format="wav") as writer:
    for line in open(scp):
        utterance, command = line.strip().split(None, 1)
        with kaldiio.open_like_kaldi(command, "rb") as pipe, BytesIO(pipe.read()) as wav:
            wave, rate = soundfile.read(wav)
        writer[utterance] = rate, wave
"""
# The same with nothing but what it cannot do without.
BARE_JOB = """
import subprocess, sys
from io import BytesIO

import soundfile

scp, folder = sys.argv[1:]
for line in open(scp):
    utterance, command = line.strip().rstrip("|").split(None, 1)
    printed = subprocess.run(command, shell=True, check=True, stdout=-1).stdout
    wave, rate = soundfile.read(BytesIO(printed))
    soundfile.write(f"{folder}/{utterance}.wav", wave, rate)
"""


def main() -> None:
    """Time both ways on the same files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path, help="VoiceBank+DEMAND, unpacked")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nj", type=int, default=available_cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work, database = Path(folder), options.database.absolute()
        ways = {
            "bspmpnet, run.sh": lambda: run_recipe(work, database, options.nj),
            "ESPnet's jobs": lambda: run_pipes(work, database, options.nj, JOB),
            "bare jobs": lambda: run_pipes(work, database, options.nj, BARE_JOB),
        }
        for run in ways.values():
            run()
        seconds = {name: [] for name in ways}
        for _ in range(options.repeats):
            for name, run in ways.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
                print(f"{name}: {seconds[name][-1]:.2f} s")
        medians = {name: statistics.median(seconds[name]) for name in ways}
        ours, *_ = medians.values()
        files = len(list(database.glob("*_wav/*.wav")))
        print(f"{files} files, {options.nj} processes")
        for name, median in medians.items():
            print(f"{name}: median {median:.2f} s, {median / ours:.2f} times ours")
        check(work)


def run_recipe(work: Path, database: Path, nj: int) -> None:
    """Run stages 1 to 3 of a copy of the recipe that has not run before."""
    shutil.rmtree(work / "clone", ignore_errors=True)
    for part in ("local", "conf", "egs2/vctk_noisy/enh1"):
        made = shutil.ignore_patterns("data", "dump", "exp", "downloads")
        source, target = REPOSITORY / part, work / "clone" / part
        shutil.copytree(source, target, symlinks=True, ignore=made)
    words = ["--stop_stage", "3", "--nj", str(nj)]
    words += ["--local_data_opts", f"--check_counts false --nj {nj}"]
    ran = subprocess.run(
        [work / "clone/egs2/vctk_noisy/enh1/run.sh", *words],
        env={**environment(work), "VCTK_NOISY": str(database)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        sys.exit(ran.stdout)


def run_pipes(work: Path, database: Path, nj: int, script: str) -> None:
    """Write lists of commands, and run each list by jobs."""
    shutil.rmtree(work / "pipes", ignore_errors=True)
    lists: dict[tuple[str, bool], list[str]] = {}
    for path in sorted(database.glob("*_wav/*.wav")):
        validates = path.name.startswith(VALIDATION_SPEAKERS)
        lists.setdefault((path.parent.name, validates), []).append(
            f"{path.stem} sox {path} -r 16000 -t wav - |\n"
        )
    for (part, validates), lines in lists.items():
        jobs = []
        for job in range(nj):
            folder = work / "pipes" / f"{part}.{validates}.{job}"
            folder.mkdir(parents=True)
            (folder / "in.scp").write_text("".join(lines[job::nj]))
            command = [sys.executable, "-c", script, folder / "in.scp", folder]
            jobs.append(subprocess.Popen(command, env=environment(work)))
        statuses = [job.wait() for job in jobs]
        if any(statuses):
            sys.exit("a job failed")


def environment(work: Path) -> dict[str, str]:
    """Let both find this Python, and keep what it compiles, as installations do."""
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables["PYTHONPYCACHEPREFIX"] = str(work / "bytecode")
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    return variables


def check(work: Path) -> None:
    """Make sure that both have made the same files."""
    ours = {path.name for path in (work / "clone").rglob("data/wav/*.wav")}
    theirs = {path.name for path in (work / "pipes").glob("noisy*/*.wav")}
    if ours != theirs or not ours:
        sys.exit(f"{len(ours)} files against {len(theirs)}")


if __name__ == "__main__":
    main()
