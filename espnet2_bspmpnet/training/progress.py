"""How far training is, in the log: a line every so many steps, and one for each epoch."""

import logging
import math
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from operator import length_hint

from espnet2.train.reporter import Reporter, SubReporter, aggregate

TOTALS = ("loss", "bsp_mpnet_loss")  # what the parts of the loss add up to


def log_interval(batches: Iterable, options) -> int:
    """Return the steps between two lines; by default, as ESPnet, 1/20 of an epoch."""
    steps = length_hint(batches)
    return options.log_interval or (max(steps // 20, 10) if steps else 100)


def logging_steps(batches: Iterable, reporter: SubReporter, options) -> Iterator:
    """Yield an epoch's batches, and log what the reporter has of those before."""
    interval, steps = log_interval(batches, options), length_hint(batches)
    epoch = f"epoch {reporter.get_epoch()}/{options.max_epoch}"
    for step, batch in enumerate(batches, 1):
        yield batch
        if step % interval:
            continue
        words = [f"step {step}/{steps}" if steps else f"step {step}"]
        if reporter.key == "valid":
            words[0] += " of validation"
        elif losses := reporter.stats.get("loss"):
            words += [f"loss {aggregate(losses[-interval:]):.3f}", *speed(reporter)]
        if steps:
            seconds = time.perf_counter() - reporter.start_time
            words.append(f"{_duration(seconds / step * (steps - step))} to go")
        logging.info("%s: %s", epoch, ", ".join(words))


def speed(reporter: SubReporter) -> list[str]:
    """Learning rate of the first group of parameters, and examples per second."""
    rates = [value.value for value in reporter.stats.get("optim0_lr0", ())]
    words = [f"lr {rate:.2e}" for rate in rates if math.isfinite(rate)][-1:]
    # ESPnet weights a loss by its examples, those of all processes.
    if examples := sum(value.weight for value in reporter.stats.get("loss", ())):
        seconds = time.perf_counter() - reporter.start_time
        words.append(f"{examples / seconds:.1f} examples/s")
    return words


def epoch_line(reporter: Reporter, trained: list[str], options) -> str:
    """Sum up the latest epoch; `trained` is the :func:`speed` of its training."""
    epoch = reporter.get_epoch()
    train, valid = (reporter.stats[epoch][phase] for phase in ("train", "valid"))
    best = [
        name
        for phase, name, mode in options.best_model_criterion
        if phase == "valid" and math.isfinite(valid.get(name, math.nan))
        and reporter.get_best_epoch(phase, name, mode) == epoch
    ]  # fmt: skip
    parts = [name for name in train if name.endswith("_loss") and name not in TOTALS]
    watched = sorted(valid.keys() - train)  # in validation only, no part of the loss
    words = []
    if "loss" in train:
        values = [_value(name.removesuffix("_loss"), train[name]) for name in parts]
        in_parts = f" ({', '.join(values)})" if parts else ""
        words.append(f"train {_value('loss', train['loss'])}{in_parts}")
    if "loss" in valid:
        values = [
            _value(name, valid[name]) + (" (best)" if name in best else "")
            for name in ("loss", *watched)
        ]
        words.append(f"valid {', '.join(values)}")
    if options.max_epoch > epoch:
        seconds = (train["time"] + valid["time"]).total_seconds()
        left = _duration(seconds * (options.max_epoch - epoch))
        trained = [*trained, f"{left} left"]
    words.append(", ".join(trained))
    return f"epoch {epoch}/{options.max_epoch} done: {'; '.join(words)}"


def _value(name: str, value: float) -> str:
    if name == "si_snr_loss":
        name, value, unit = "SI-SNR", -value, " dB"
    else:
        name, unit = name.replace("pesq", "PESQ"), ""
    return f"{name} {value:.3f}{unit}" if math.isfinite(value) else f"{name} undefined"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
