"""How far training is: a line now and then within an epoch, and one for each epoch.

They go to the log, where `bspmpnet-run --echo` and people find them.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

from espnet2.train.reporter import Reporter, SubReporter, aggregate

TOTALS = ("loss", "bsp_mpnet_loss")  # what the parts of the loss add up to


class Progress:
    """Tells in the log how far training is, and how good.

    Args:
        max_epoch: number of the last epoch.
        best_model_criterion: ESPnet's (phase, name, mode) triples.
        log_interval: steps between two lines; None for ESPnet's choice, a twentieth of
            the epoch but 10 at least.
        processes: that train together, each on its share of every batch.
    """

    def __init__(
        self,
        max_epoch: int,
        best_model_criterion: Sequence[Sequence[str]],
        log_interval: int | None = None,
        processes: int = 1,
    ):
        self.max_epoch = max_epoch
        self.log_interval = log_interval
        self.processes = processes
        self._modes = {
            name: mode for phase, name, mode in best_model_criterion if phase == "valid"
        }
        self._best: dict[str, float] = {}
        self._finished = 0  # epochs, by this process
        self._began = time.perf_counter()
        self._train: tuple[SubReporter, Watched] | None = None

    def recall(self, reporter: Reporter) -> None:
        """Take over the best values of the epochs before a resumption."""
        for phases in reporter.stats.values():
            self._find_best(phases.get("valid", {}))

    def training(self, batches: Iterable, reporter: SubReporter) -> "Watched":
        """Give the batches of an epoch's training, and tell how far they are used up.

        Args:
            batches: ESPnet's iterator of utterance ids and tensors.
            reporter: gets the values of each step.
        """

        def tell(watched: Watched) -> None:
            words = []
            if reporter.stats.get("loss"):
                loss = aggregate(reporter.stats["loss"][-watched.interval :])
                words.append(f"loss {loss:.3f}")
            words += [*self._rates(), *watched.remaining()]
            self._log(reporter, f": step {watched.position()}, {', '.join(words)}")

        watched = Watched(batches, self.log_interval, tell)
        self._train = reporter, watched
        return watched

    def validation(self, batches: Iterable, reporter: SubReporter) -> "Watched":
        """Give the batches of a validation, and tell how far they are used up."""

        def tell(watched: Watched) -> None:
            where = f"step {watched.position()} of validation"
            self._log(reporter, f": {', '.join([where, *watched.remaining()])}")

        return Watched(batches, self.log_interval, tell)

    def summarise(self, reporter: SubReporter) -> None:
        """Tell in one line what an epoch has come to.

        Args:
            reporter: has the values of the epoch's validation.
        """
        self._finished += 1
        train, valid = _means(self._train[0]), _means(reporter)
        best = self._find_best(valid)
        # Measured in validation only: they watch, and are no part of the loss.
        watching = sorted(valid.keys() - train)
        values = [
            _value(name, valid[name]) + (" (best)" if name in best else "")
            for name in ("loss", *watching)
            if name in valid
        ]
        words = [f"train {_loss(train)}"] if "loss" in train else []
        words += [f"valid {', '.join(values)}"] if values else []
        rates = self._rates()
        epochs_left = self.max_epoch - reporter.get_epoch()
        if epochs_left > 0:
            elapsed = time.perf_counter() - self._began
            rates.append(f"{_duration(elapsed / self._finished * epochs_left)} left")
        self._log(reporter, f" done: {'; '.join([*words, ', '.join(rates)])}")

    def _log(self, reporter: SubReporter, text: str) -> None:
        logging.info("epoch %d/%d%s", reporter.get_epoch(), self.max_epoch, text)

    def _rates(self) -> list[str]:
        """Learning rate of the first group of parameters, and the speed."""
        reporter, watched = self._train
        rates = [value.value for value in reporter.stats.get("optim0_lr0", ())]
        rates = [rate for rate in rates if math.isfinite(rate)]  # NaN: no update
        words = [f"lr {rates[-1]:.2e}"] if rates else []
        if watched.examples:
            speed = watched.examples * self.processes / watched.seconds
            words.append(f"{speed:.1f} examples/s")
        return words

    def _find_best(self, valid: Mapping[str, float]) -> set[str]:
        """Tell which values are the best so far, and keep them in mind."""
        found = set()
        for name, mode in self._modes.items():
            value = valid.get(name, math.nan)
            if not math.isfinite(value):
                continue
            before = self._best.get(name)
            better = before is None or (
                value > before if mode == "max" else value < before
            )
            if better:
                self._best[name] = value
                found.add(name)
        return found


class Watched:
    """An iterator's batches, of the same number, while a clock runs.

    Args:
        batches: of utterance ids and tensors.
        interval: steps after which to tell; None for ESPnet's choice.
        tell: called with this object.
    """

    def __init__(
        self,
        batches: Iterable,
        interval: int | None,
        tell: Callable[["Watched"], None],
    ):
        self._batches, self._tell = batches, tell
        try:
            self.steps = len(batches)
        except TypeError:
            self.steps = None
        self.interval = interval or (max(self.steps // 20, 10) if self.steps else 100)
        self.step = self.examples = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator:
        began = time.perf_counter()
        for utterances, batch in self._batches:
            yield utterances, batch
            # The next batch is asked for: that step is done.
            self.step += 1
            self.examples += len(utterances)
            self.seconds = time.perf_counter() - began
            if self.step % self.interval == 0:
                self._tell(self)

    def position(self) -> str:
        """The step, and of how many, if that is known."""
        return str(self.step) if self.steps is None else f"{self.step}/{self.steps}"

    def remaining(self) -> list[str]:
        """How long the rest takes, if that can be told."""
        if self.steps is None:
            return []
        seconds = self.seconds / self.step * (self.steps - self.step)
        return [f"{_duration(seconds)} to go"]


def _means(reporter: SubReporter) -> dict[str, float]:
    """Mean values of an epoch, of those that ESPnet averages over utterances."""
    return {
        name: float(aggregate(values))
        for name, values in reporter.stats.items()
        if values and hasattr(values[0], "weight")
    }


def _loss(train: Mapping[str, float]) -> str:
    parts = [
        _value(name.removesuffix("_loss"), value)
        for name, value in train.items()
        if name.endswith("_loss") and name not in TOTALS
    ]
    total = _value("loss", train["loss"])
    return f"{total} ({', '.join(parts)})" if parts else total


def _value(name: str, value: float) -> str:
    if name == "si_snr_loss":
        name, value, unit = "SI-SNR", -value, " dB"
    else:
        name, unit = name.replace("pesq", "PESQ"), ""
    return f"{name} {value:.3f}{unit}" if math.isfinite(value) else f"{name} undefined"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
