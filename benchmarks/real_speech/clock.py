"""Networks that are trained for the same minutes on the same machine, in one table.

    python -m benchmarks.real_speech.clock bands flat conformer bsrnn --minutes 10 \\
        --threads 2 --data egs2/mini/enh1/dump/raw --output clock \\
        --test vbdemand/test/noisy vbdemand/test/clean

Each name is a file of conf/.  Stage 3 of the recipe has made the data, see
docs/own_data.md.  For each network in turn: a few steps are timed, which gives the number
of steps; after that many the epoch of the highest validation PESQ enhances clips of the
tests, on one core.  Called again, it goes on where it ended; table.md, table.tsv and
curves.tsv (validation PESQ over minutes of training) have what there is so far.  To run
a network again, remove its folder.  Quote times of an idle machine only: the number of
steps depends on them.

All clips are brought to the level at which they fit the noisy ones best, as most losses
leave the level open.  Multiply-adds are those of convolutions and products of matrices.
"Boosted" is PCS of the natural output; the reference is the clean speech.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from espnet2_bspmpnet.data.audio import list_audio, read_audio, resample, write_audio
from espnet2_bspmpnet.data.datadir import read_scp, write_scp
from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.checkpoints import read_checkpoint
from espnet2_bspmpnet.files.configurations import dump_config, read_config
from espnet2_bspmpnet.inference.enhancer import Enhancer
from espnet2_bspmpnet.measures.pcs_boost import boost
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE
from espnet2_bspmpnet.scoring.folders import score
from espnet2_bspmpnet.scoring.scores import NOISY
from espnet2_bspmpnet.scoring.tables import Cell, Table

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = Path(__file__).with_name("conf")
TRAIN, VALID = "tr_mini", "cv_mini"  # of egs2/mini
BEST = "valid.pesq.best.pth"
TIMED_STEPS = 12  # after as many that warm up
EPOCHS = 10  # at most, each of ten steps or more
COUNTED_SECONDS = 4
METRICS = ("PESQ", "SI_SNR", "DNSMOS_OVRL")
BOOSTED = "PESQ_BOOSTED"
COLUMNS = {  # heading -> what it shows of a Row, its unit, its decimals
    "parameters (M)": ("parameters", 1e6, 2),
    "multiply-adds (G/s)": ("multiply_adds", 1e9, 2),
    "s/step": ("seconds", 1, 3),
    "steps": ("steps", 1, 0),
    "minutes": ("minutes", 1, 1),
    "RTF": ("rtf", 1, 3),
}

Enhance = Callable[[np.ndarray], np.ndarray]  # [L] to [L], at 16 kHz


@dataclass(frozen=True)
class Row:
    """What is known of a network; sizes and times are None for the noisy speech."""

    name: str
    scores: dict[str, dict[str, float | None]]  # test set -> measure -> mean
    parameters: int | None = None
    multiply_adds: float | None = None  # of a second of audio
    seconds: float | None = None  # of a training step, as timed
    steps: int | None = None
    minutes: float | None = None  # of training
    rtf: float | None = None  # on one core
    curve: list[dict[str, float]] = field(default_factory=list)  # see `training_curve`


def main() -> None:
    """Train, enhance and score the networks that have no row yet."""
    options = parse_options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    output = options.output.resolve()
    tests = [copy_clips(*pair, options.clips, output) for pair in options.test]
    failures = {}
    for name in dict.fromkeys([NOISY, *options.names]):
        path = output / name / "row.json"
        if path.exists():
            logging.info("%s: %s is there", name, path)
            continue
        logging.info("%s begins", name)
        try:
            row = clock(name, tests, path.parent, options)
            write_text(path, json.dumps(asdict(row), indent=1))
        except Exception as error:  # one network's; the others go on
            logging.exception("%s failed", name)
            failures[name] = first_line(error)
        write_tables(output, failures)
    write_tables(output, failures)
    if failures:
        sys.exit("\n".join(f"{name} failed: {why}" for name, why in failures.items()))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted({path.stem for path in CONF.glob("*.yaml")} - {"common", "peers"})
    parser.add_argument("names", nargs="+", choices=known, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--data", type=Path, required=True, help="the recipe's dump/raw"
    )
    parser.add_argument("--valid", type=int, default=24, help="clips of validation")
    parser.add_argument(
        "--test", nargs=2, action="append", required=True, metavar=("NOISY", "CLEAN"),
        type=Path, help="two folders; may be given again",
    )  # fmt: skip
    parser.add_argument("--clips", type=int, default=8, help="of each test set")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def clock(
    name: str, tests: Sequence[Path], folder: Path, options: argparse.Namespace
) -> Row:
    """Train a network for so many minutes, and judge it; of noisy speech judge alone."""
    if name == NOISY:
        return Row(name, judge(np.asarray, tests, folder)[0])
    config, dump = network_config(name), options.data.resolve()
    timed = with_data(config, dump, 1, folder / "timed")
    plan = plan_of(timed, folder, options.minutes, options.threads)
    config = with_data(config, dump, options.valid, folder)
    exp = folder / "exp"
    train(with_plan(config, plan), exp, options.threads, folder / "train.log")
    curve = training_curve(exp)
    torch.set_num_threads(1)
    parameters, multiply_adds = sizes_of(exp)
    scores, rtf = judge(load(exp, config["separator"]), tests, folder)
    return Row(
        name, scores, parameters, multiply_adds, plan["seconds"],
        curve[-1]["steps"], curve[-1]["minutes"], rtf, curve,
    )  # fmt: skip


def network_config(name: str) -> dict:
    """Read a configuration of conf/, with the network that it borrows, if any."""
    config = read_config(CONF / f"{name}.yaml")
    if lender := config.pop("network", None):
        parts = read_config(CONF / lender)
        config.update({part: parts[part] for part in ("separator_conf", "criterions")})
    return config


def with_data(config: dict, dump: Path, valid_clips: int, folder: Path) -> dict:
    """Add the recipe's data, and of its validation set so many clips."""
    train_lists = {name: dump / TRAIN / name for name in ("wav.scp", "spk1.scp")}
    valid_lists, lengths = {}, "utt2num_samples"
    for name in (*train_lists, lengths):
        entries = list(read_scp(dump / VALID / name).items())
        valid_lists[name] = folder / "valid" / name
        write_scp(valid_lists[name], dict(evenly(entries, valid_clips)))
    return {
        **config,
        **lists_of("train", train_lists, dump / TRAIN / lengths),
        **lists_of("valid", valid_lists, valid_lists[lengths]),
        "noise_scp": str(dump / f"{TRAIN}_noise" / "wav.scp"),
        "rir_scp": str(dump / f"{TRAIN}_rir" / "wav.scp"),
        "ngpu": 0,
        "use_tensorboard": False,
        "use_matplotlib": False,
    }


def lists_of(phase: str, lists: dict[str, Path], lengths: Path) -> dict:
    """Name the lists of pairs, and the lengths, as enh_train's options do."""
    names = {"wav.scp": "speech_mix", "spk1.scp": "speech_ref1"}
    data = [[str(lists[scp]), name, "sound"] for scp, name in names.items()]
    return {
        f"{phase}_data_path_and_name_and_type": data,
        f"{phase}_shape_file": [str(lengths)] * len(data),
    }


def plan_of(config: dict, folder: Path, minutes: float, threads: int) -> dict:
    """Time a step, and plan; what an earlier call has planned is kept.

    Raises:
        UserError: the earlier plan is for other minutes or threads.
    """
    path, asked = folder / "plan.json", {"minutes": minutes, "threads": threads}
    if not path.exists():
        seconds = seconds_of_step(config, folder, threads)
        steps = max(1, int(60 * minutes / seconds))
        epochs = min(EPOCHS, max(1, steps // 10))
        plan = {
            "seconds": seconds,
            "steps_per_epoch": steps // epochs,
            "epochs": epochs,
        }
        write_text(path, json.dumps(asked | plan))
    plan = json.loads(path.read_text(encoding="utf-8"))
    if asked != {name: plan[name] for name in asked}:
        raise UserError(f"{path}: planned otherwise; name another --output")
    logging.info("%s: %s", folder.name, plan)
    return plan


def seconds_of_step(config: dict, folder: Path, threads: int) -> float:
    """Train a few steps to warm up, then as many to time; the mean of these."""
    few = {"steps_per_epoch": TIMED_STEPS, "epochs": 2}
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        exp = Path(scratch, "exp")
        train(with_plan(config, few), exp, threads, folder / "timed.log")
        return epochs_of(exp)[2]["train"]["train_time"]


def with_plan(config: dict, plan: dict) -> dict:
    """Set epochs, and the schedule for their steps: warm-up, then one fall."""
    steps = plan["steps_per_epoch"] * plan["epochs"]
    schedule = config["scheduler_conf"]
    warmup = min(schedule["warmup_steps"], steps // 10)
    return {
        **config,
        "max_epoch": plan["epochs"],
        "num_iters_per_epoch": plan["steps_per_epoch"],
        "scheduler_conf": {
            **schedule, "first_cycle_steps": steps, "warmup_steps": warmup,
        },
    }  # fmt: skip


def train(config: dict, exp: Path, threads: int, log: Path) -> None:
    """Run enh_train, or go on with it.

    Raises:
        UserError: it failed; with the last line of its log.
    """
    exp.mkdir(parents=True, exist_ok=True)
    path = exp / "train.yaml"
    write_text(path, dump_config(config))
    command = [sys.executable, "-m", "espnet2_bspmpnet.bin.enh_train"]
    command += ["--config", str(path), "--output_dir", str(exp), "--resume", "true"]
    limits = {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "1000"}
    with log.open("a", encoding="utf-8") as written:
        ended = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ | limits, stdout=written,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    if ended.returncode:
        last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        raise UserError(f"training: {last} (see {log})")


def epochs_of(exp: Path) -> dict[int, dict[str, dict]]:
    """Read what ESPnet reported of each epoch: phase -> name -> mean."""
    from espnet2.train.reporter import Reporter

    reporter = Reporter()
    reporter.load_state_dict(read_checkpoint(exp / "checkpoint.pth")["reporter"])
    return reporter.stats


def training_curve(exp: Path) -> list[dict[str, float]]:
    """Give minutes and steps of training up to each epoch's end, and validation PESQ."""
    curve, minutes = [], 0.0
    for _, phases in sorted(epochs_of(exp).items()):
        minutes += phases["train"]["time"].total_seconds() / 60
        steps, pesq = phases["train"]["total_count"], float(phases["valid"]["pesq"])
        curve.append({"minutes": minutes, "steps": steps, "pesq": pesq})
    return curve


def load(exp: Path, separator: str) -> Enhance:
    """Load the best model, as users of this package or of ESPnet do."""
    if separator == "bsp_mpnet":
        enhance = Enhancer.from_pretrained(exp, model_file=BEST)
        return lambda wave: enhance(wave, SAMPLE_RATE)
    separate = load_by_espnet(exp)
    return lambda wave: separate(wave[None], fs=SAMPLE_RATE)[0][0]


def load_by_espnet(exp: Path):
    """Load the best model, ours as well, by ESPnet's SeparateSpeech."""
    from espnet2.bin.enh_inference import SeparateSpeech

    return SeparateSpeech(exp / "config.yaml", exp / BEST)


def sizes_of(exp: Path) -> tuple[int, float]:
    """Count parameters, and multiply-adds for a second of audio."""
    model = load_by_espnet(exp).enh_model
    length = COUNTED_SECONDS * SAMPLE_RATE
    wave = 0.1 * torch.randn(1, length)
    # The counter knows products of matrices, not the fused kernels made of them, which
    # are only taken without gradients, by oneDNN, or for attention.
    with (
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        model.forward_enhance(wave, torch.tensor([length]), {})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return parameters, counter.get_total_flops() / 2 / COUNTED_SECONDS


def judge(
    enhance: Enhance, tests: Sequence[Path], folder: Path
) -> tuple[dict[str, dict[str, float | None]], float]:
    """Enhance the test sets on one core and score them: means, real-time factor."""
    warm_up, _ = read_audio(next(iter(list_audio(tests[0] / "noisy").values())))
    enhance(warm_up)
    scores, taken, heard = {}, 0.0, 0.0
    for test in tests:
        own = folder / test.name
        seconds, length = enhance_clips(enhance, test / "noisy", own)
        taken, heard = taken + seconds, heard + length
        scores[test.name] = means(test / "clean", own / "natural", METRICS)
        boosted = means(test / "clean", own / "boosted", METRICS[:1])
        scores[test.name][BOOSTED] = boosted["PESQ"]
    return scores, taken / heard


def enhance_clips(enhance: Enhance, noisy: Path, folder: Path) -> tuple[float, float]:
    """Enhance a folder's clips, natural and boosted: seconds it took, of audio."""
    taken, heard = 0.0, 0.0
    for clip, path in list_audio(noisy).items():
        wave, _ = read_audio(path)
        started = time.perf_counter()
        enhanced = enhance(wave)
        taken += time.perf_counter() - started
        heard += len(wave) / SAMPLE_RATE
        natural = fitted(enhanced, wave)
        for kind, made in (
            ("natural", natural),
            ("boosted", boost(natural, SAMPLE_RATE)),
        ):
            write_audio(folder / kind / f"{clip}.wav", made, SAMPLE_RATE)
    return taken, heard


def means(clean: Path, estimates: Path, metrics: Sequence[str]) -> dict:
    """Score a folder, and give the mean of each measure, None where there is none."""
    output = estimates.parent / "scores" / estimates.name
    (found,) = score(clean, estimates, output, metrics=metrics)
    return {name: one.mean for name, one in found.summary.metrics.items()}


def fitted(enhanced: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Scale an estimate [L] to the least squared difference from the noisy one."""
    power = float(enhanced @ enhanced)
    return enhanced * (float(enhanced @ noisy) / power) if power else enhanced


def copy_clips(noisy: Path, clean: Path, count: int, output: Path) -> Path:
    """Copy some clips of a test set, at 16 kHz, to a folder named after where it is.

    Raises:
        UserError: no clip has the same name in both folders.
    """
    folder = output / "tests" / "-".join(noisy.resolve().parts[-3:-1])
    files = {"noisy": list_audio(noisy), "clean": list_audio(clean)}
    shared = sorted(files["noisy"].keys() & files["clean"].keys())
    if not shared:
        raise UserError(f"{noisy} and {clean}: no clip has the same name in both")
    for kind, paths in files.items():
        for clip in evenly(shared, count):
            wave, rate = read_audio(paths[clip])
            wave = resample(wave, rate, SAMPLE_RATE)
            write_audio(folder / kind / f"{clip}.wav", wave, SAMPLE_RATE)
    return folder


def evenly(items: Sequence, count: int) -> list:
    """Choose so many items, or all, evenly spaced."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def write_tables(output: Path, failures: dict[str, str]) -> None:
    """Write all rows there are as Markdown and TSV, and the curves."""
    rows = [
        Row(**json.loads(path.read_text(encoding="utf-8")))
        for path in output.glob("*/row.json")
    ]
    rows.sort(key=lambda row: (row.name != NOISY, row.name))
    sets = list(dict.fromkeys(test for row in rows for test in row.scores))
    cells = {row.name: cells_of(row, sets) for row in rows}
    headings = list(cells[rows[0].name]) if rows else []
    table = [(name, list(found.values())) for name, found in cells.items()]
    notes = "".join(f"\n{name} failed: {why}\n" for name, why in failures.items())
    write_text(
        output / "table.md", Table("network", headings, table).markdown() + notes
    )
    lines = [
        [name, *("" if c.value is None else f"{c.value:.6g}" for c in found)]
        for name, found in table
    ]
    write_tsv(output / "table.tsv", [["network", *headings], *lines])
    points = [[row.name, *map(str, p.values())] for row in rows for p in row.curve]
    write_tsv(output / "curves.tsv", [["network", "minutes", "steps", "pesq"], *points])


def cells_of(row: Row, sets: Iterable[str]) -> dict[str, Cell]:
    """Give heading -> figure, of a network and of its scores on the test sets."""
    cells = {}
    for heading, (name, unit, decimals) in COLUMNS.items():
        value = getattr(row, name)
        cells[heading] = Cell(None if value is None else value / unit, None, decimals)
    for test in sets:
        for measure in (*METRICS, BOOSTED):
            value = row.scores.get(test, {}).get(measure)
            cells[f"{test} {measure}"] = Cell(value)
    return cells


def write_tsv(path: Path, lines: Iterable[Sequence[str]]) -> None:
    """Write lines of cells."""
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
