"""Utterances scored a second: bspmpnet score with all metrics, ESPnet's enh_scoring.

    pip install onnxruntime      # which ESPnet's DNSMOS needs
    python benchmarks/scoring.py FOLDER/clean FOLDER/noisy
    python benchmarks/scoring.py --copies 2 --repeats 1 ...   # a quick look

Every file is scored ``copies`` times, each time without a few samples more at its
beginning, so that no two are the same.  Both tools run as commands, start-up included,
one after the other; ESPnet's both as one process, which computes with all cores, and as
a process a core, as its recipes start it.  What counts is the ratio of medians to the
faster one.
"""

import argparse
import csv
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import soundfile

from espnet2_bspmpnet.data.audio import list_audio, read_audio
from espnet2_bspmpnet.files.parallel import THREAD_VARIABLES, available_cores

# Our name -> ESPnet's.
SHARED_METRICS = {
    "PESQ": "PESQ_WB",
    "STOI": "STOI",
    "ESTOI": "ESTOI",
    "SI_SNR": "SI_SNR",
    "SDR": "SDR",
    "DNSMOS_OVRL": "OVRL",
    "DNSMOS_SIG": "SIG",
    "DNSMOS_BAK": "BAK",
    "DNSMOS_P808": "P808_MOS",
}


def main() -> None:
    """Time both tools on the same files and compare what they say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", help="folder of clean files")
    parser.add_argument("estimate", help="folder of files to judge, of the same names")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nj", type=int, default=available_cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = write_copies(work / "ref", options.reference, options.copies)
        write_copies(work / "inf", options.estimate, options.copies)
        tools = {
            "bspmpnet score": lambda: run_ours(work, options.nj),
            "enh_scoring, 1 process": lambda: run_espnet(work, 1),
            f"enh_scoring, {options.nj} processes": lambda: run_espnet(
                work, options.nj
            ),
        }
        seconds = {name: [] for name in tools}
        for _ in range(options.repeats):
            for name, run in tools.items():
                started, before = time.perf_counter(), processor_seconds()
                run()
                seconds[name].append(time.perf_counter() - started)
                print(
                    f"{name}: {count} utterances in {seconds[name][-1]:.1f} s,"
                    f" {processor_seconds() - before:.1f} s of processors"
                )
        medians = {name: statistics.median(seconds[name]) for name in tools}
        for name, median in medians.items():
            print(f"{name}: median {count / median:.2f} utterances a second")
        ours, *theirs = medians.values()
        print(f"{min(theirs) / ours:.2f} times as fast, on {options.nj} cores")
        print_differences(work)


def processor_seconds() -> float:
    """Give the time that processors have spent on commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def write_copies(folder: Path, source: str, copies: int) -> int:
    """Write copies of each file and a wav.scp.

    Args:
        folder: the folder to make.
        source: folder of audio files.
        copies: how many of each.

    Returns:
        The number of files written.
    """
    folder.mkdir()
    lines = []
    for name, path in list_audio(source).items():
        wave, rate = read_audio(path)
        for copy in range(copies):
            target = folder / f"{name}_{copy:02d}.wav"
            soundfile.write(target, wave[copy:], rate, "PCM_16")
            lines.append(f"{target.stem} {target}\n")
    (folder / "wav.scp").write_text("".join(lines))
    return len(lines)


def as_arguments(options: dict) -> list[str]:
    """Write options as a command line has them."""
    return [
        text for name, value in options.items() for text in (f"--{name}", str(value))
    ]


def run_ours(work: Path, nj: int) -> None:
    """Score with all metrics, into work/ours that did not exist."""
    shutil.rmtree(work / "ours", ignore_errors=True)
    options = {
        "ref": work / "ref",
        "inf": work / "inf",
        "output": work / "ours",
        "nj": nj,
    }
    command = [sys.executable, "-m", "espnet2_bspmpnet.cli", "score"]
    with open(work / "log", "w") as log:
        run = subprocess.run([*command, *as_arguments(options)], stdout=log, stderr=log)
    if run.returncode:
        sys.exit((work / "log").read_text())


def run_espnet(work: Path, processes: int) -> None:
    """Score with ESPnet, PESQ and DNSMOS included, into work/espnet."""
    (origin,) = find_spec("speechmos").submodule_search_locations
    models = Path(origin) / "dnsmos_models"
    environment = dict(os.environ)
    if processes > 1:
        environment.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    lines = (work / "ref" / "wav.scp").read_text().splitlines(keepends=True)
    started = []
    for job in range(processes):
        keys = work / f"keys.{job}"
        keys.write_text("".join(lines[job::processes]))
        options = {
            "key_file": keys,
            "output_dir": work / "espnet" / str(job),
            "ref_scp": work / "ref" / "wav.scp",
            "inf_scp": work / "inf" / "wav.scp",
            "use_pesq": "true",
            "use_dnsmos": "true",
            "dnsmos_primary_model": models / "sig_bak_ovr.onnx",
            "dnsmos_p808_model": models / "model_v8.onnx",
        }
        command = [sys.executable, "-m", "espnet2.bin.enh_scoring"]
        command += as_arguments(options)
        with open(work / f"log.{job}", "w") as log:
            started.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            )
    for process in started:
        if process.wait():
            sys.exit((work / "log.0").read_text())


def print_differences(work: Path) -> None:
    """Print the largest difference between the tools' values of each metric."""
    with open(work / "ours" / "utterances.tsv", newline="") as file:
        ours = {row["utt"]: row for row in csv.DictReader(file, delimiter="\t")}
    for name, theirs in SHARED_METRICS.items():
        differences = []
        for path in (work / "espnet").glob(f"*/{theirs}_spk1"):
            for line in path.read_text().splitlines():
                utterance, value = line.split()
                differences.append(abs(float(value) - float(ours[utterance][name])))
        print(f"{name}: differs by {max(differences):.6f} at most")


if __name__ == "__main__":
    main()
