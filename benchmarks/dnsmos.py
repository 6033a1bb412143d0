"""Processor seconds of DNSMOS: ours, the same networks by onnxruntime, and speechmos.

    python benchmarks/dnsmos.py FOLDER_OF_RECORDINGS
    python benchmarks/dnsmos.py --rounds 1 FOLDER_OF_RECORDINGS   # a quick look

The recordings are cut out of the folder's, one after the other, 2 to 10 s long.  Each way
rates all of them in a process of its own with one thread, the ways in turn, ``rounds``
times.  Processor time (user and system) is counted, as other processes do not change it
much; start-up is what a process spends before it rates a first time what it rates again.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import list_audio, read_audio
from espnet2_bspmpnet.files.parallel import THREAD_VARIABLES
from espnet2_bspmpnet.measures import dnsmos
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

LENGTHS = np.arange(2.0, 10.25, 0.5)  # seconds


def main() -> None:
    """Compare the ways, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of recordings at 16 kHz")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each way")
    parser.add_argument("--run", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recordings = cut(options.folder)
    if options.run:
        print(json.dumps(measure(WAYS[options.run], recordings)))
        return
    found = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            found[way].append(child(way, options.folder))
    median = {way: np.median([run["seconds"] for run in found[way]]) for way in WAYS}
    for way, runs in found.items():
        start_up = statistics.median(run["start_up"] for run in runs)
        apart = np.abs(np.subtract(runs[0]["ratings"], found["ours"][0]["ratings"]))
        print(
            f"{way}: {median[way]:.2f} s, {median[way] / median['ours']:.2f} times ours;"
            f" start-up {start_up:.2f} s; ratings differ by {apart.max():.6f} at most"
        )
    print(
        f"{len(recordings)} recordings, {LENGTHS.sum():.0f} s, {options.rounds} rounds"
    )


def cut(folder: str) -> list[np.ndarray]:
    """Cut recordings of all LENGTHS out of a folder's, which are repeated as needed."""
    waves = [read_audio(path)[0] for path in list_audio(folder).values()]
    ends = np.cumsum((LENGTHS * SAMPLE_RATE).astype(int))
    return np.split(np.resize(np.concatenate(waves), ends[-1]), ends[:-1])


def child(way: str, folder: str) -> dict:
    """Measure one way in a process of its own, with one thread."""
    command = [sys.executable, __file__, "--run", way, folder]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    printed = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout
    return json.loads(printed.splitlines()[-1])


def measure(rate: Callable, recordings: list[np.ndarray]) -> dict:
    """Rate all recordings twice."""
    before = processor_seconds()
    ratings = [rate(wave) for wave in recordings]
    middle = processor_seconds()
    for wave in recordings:
        rate(wave)
    seconds = processor_seconds() - middle
    return {
        "seconds": seconds,
        "start_up": middle - before - seconds,
        "ratings": [[float(value) for value in row] for row in ratings],
    }


def processor_seconds() -> float:
    """Give the time that processors have spent on this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@cache
def sessions():
    """Open speechmos' networks, P.835 and P.808, for one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(find_spec("speechmos").submodule_search_locations[0])
    return [
        onnxruntime.InferenceSession(str(folder / "dnsmos_models" / name), options)
        for name in ("sig_bak_ovr.onnx", "model_v8.onnx")
    ]


def onnxruntime_alone(wave: np.ndarray) -> list[float]:
    """Rate as speechmos does, but with one thread and without librosa's spectra."""
    wave = wave.astype(np.float32)
    while len(wave) < dnsmos.WINDOW:
        wave = np.append(wave, wave)
    p835, p808 = sessions()
    raw, opinions = [], []
    for start in dnsmos._window_starts(len(wave)):
        window = wave[start * SAMPLE_RATE :][: dnsmos.WINDOW]
        raw.append(p835.run(None, {"input_1": window[None]})[0][0])
        mels = dnsmos._mel_decibels(window[: -dnsmos.HOP])
        opinions.append(p808.run(None, {"input_1": mels[None]})[0][0, 0])
    columns = np.transpose(raw)[[2, 0, 1]]
    polynomials = dnsmos.RATING_OVRL, dnsmos.RATING_SIG, dnsmos.RATING_BAK
    ratings = [np.polyval(*pair).mean() for pair in zip(polynomials, columns)]
    return [*ratings, np.mean(opinions)]


def speechmos(wave: np.ndarray) -> list[float]:
    """Rate by the published package."""
    from speechmos import dnsmos as published

    found = published.run(wave, SAMPLE_RATE)
    return [found[f"{name}_mos"] for name in dnsmos.Ratings._fields]


WAYS = {
    "ours": dnsmos.rate_speech,
    "onnxruntime": onnxruntime_alone,
    "speechmos": speechmos,
}

if __name__ == "__main__":
    main()
