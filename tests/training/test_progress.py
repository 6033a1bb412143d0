"""Lines that say how far training is, made of ESPnet's own reports."""

import logging
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from espnet2.train.reporter import Reporter

from espnet2_bspmpnet.training.progress import log_interval, logging_steps
from espnet2_bspmpnet.training.reporter import ProgressReporter


@pytest.fixture
def said(caplog):
    """What was logged, without dates."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def options(max_epoch=3, log_interval=None):
    """ESPnet's trainer options, as far as progress is concerned."""
    return SimpleNamespace(
        max_epoch=max_epoch,
        log_interval=log_interval,
        best_model_criterion=[("valid", "pesq", "max"), ("valid", "loss", "min")],
    )


def batches(steps, size=4):
    return [([f"u{number}" for number in range(size)], {})] * steps


def run_epoch(reporter, epoch, valid, options, losses=(4.0, 3.0, 2.0, 1.0), examples=4):
    """What ESPnet's trainer does in an epoch, with given values."""
    reporter.set_epoch(epoch)
    with reporter.observe("train") as sub:
        steps = logging_steps(batches(len(losses)), sub, options)
        for number, (loss, _) in enumerate(zip(losses, steps), 1):
            parts = {"magnitude_loss": loss / 2, "bsp_mpnet_loss": loss, "loss": loss}
            sub.register(parts, weight=examples)
            sub.register({"optim0_lr0": 0.001 * number})
            sub.next()
        next(steps, None)
    with reporter.observe("valid") as sub:
        for _ in logging_steps(batches(2), sub, options):
            sub.register({"magnitude_loss": 0.5, **valid}, weight=examples)
            sub.next()


def run_epochs(*epochs, first=1, **changes):
    """Run epochs of which the validation gave these values; the last ends training."""
    settings = options(**changes)
    reporter = ProgressReporter(settings)
    for epoch, valid in enumerate(epochs, first):
        run_epoch(reporter, epoch, valid, settings)
    return reporter


def test_a_line_every_so_many_steps_has_the_loss_since_the_last(said):
    run_epochs({"loss": 1.0}, log_interval=2)
    steps = [line for line in said() if "step" in line]
    speed = r"[\d.]+ examples/s, 0:00:00 to go"
    assert re.fullmatch(
        rf"epoch 1/3: step 2/4, loss 3.500, lr 2.00e-03, {speed}", steps[0]
    )
    assert re.fullmatch(
        rf"epoch 1/3: step 4/4, loss 1.500, lr 4.00e-03, {speed}", steps[1]
    )
    assert steps[2] == "epoch 1/3: step 2/2 of validation, 0:00:00 to go"
    assert len(steps) == 3


def test_one_line_sums_up_an_epoch(said):
    run_epochs({"loss": 2.0, "pesq": 1.75, "si_snr_loss": -9.5})
    (line,) = said()
    assert re.fullmatch(
        r"epoch 1/3 done: train loss 2\.500 \(magnitude 1\.250\); "
        r"valid loss 2\.000 \(best\), PESQ 1\.750 \(best\), SI-SNR 9\.500 dB; "
        r"lr 4\.00e-03, [\d.]+ examples/s, 0:00:00 left",
        line,
    )


def test_the_time_that_is_left_counts_to_the_last_epoch(said, monkeypatch):
    settings = options(max_epoch=4)
    reporter = ProgressReporter(settings)
    monkeypatch.setattr("espnet2.train.reporter.time.perf_counter", Clock(5.0))
    run_epoch(reporter, 1, {"loss": 1.0}, settings)
    times = [reporter.stats[1][phase]["time"] for phase in ("train", "valid")]
    assert said()[-1].endswith(f", {3 * sum(times, timedelta())} left")
    assert all(time > timedelta() for time in times)


def test_only_what_is_better_than_ever_before_is_marked_best(said):
    values = [(1.5, 2.0), (1.4, 1.9), (1.5, 1.9)]
    run_epochs(*[{"pesq": pesq, "loss": loss} for pesq, loss in values])
    marked = [
        [value.split()[0] for value in re.findall(r"\w+ [\d.]+ \(best\)", line)]
        for line in said()
    ]
    assert marked == [["loss", "PESQ"], ["loss"], []]


def test_a_resumed_training_remembers_the_best_of_before(said):
    before = run_epochs({"pesq": 1.5, "loss": 2.0})
    resumed = ProgressReporter(options())
    resumed.load_state_dict(before.state_dict())
    run_epoch(resumed, 2, {"pesq": 1.4, "loss": 1.0}, options())
    assert "loss 1.000 (best), PESQ 1.400;" in said()[-1]


def test_an_undefined_value_is_no_number_and_never_the_best(said):
    run_epochs({"pesq": float("nan"), "loss": 1.0}, max_epoch=1)
    assert "PESQ undefined;" in said()[-1]
    assert " left" not in said()[-1]  # nothing is


def test_the_speed_counts_the_examples_of_all_processes(said, monkeypatch):
    """ESPnet's weight of a loss is their sum."""
    for examples in (4, 16):
        monkeypatch.setattr("espnet2.train.reporter.time.perf_counter", Clock(1.0))
        reporter = ProgressReporter(options(max_epoch=1))
        run_epoch(reporter, 1, {"loss": 1.0}, options(max_epoch=1), examples=examples)
    alone, together = (float(line.split()[-2]) for line in said())
    assert alone > 0 and together == pytest.approx(4 * alone, rel=0.1)


def test_the_interval_is_espnets_unless_one_is_asked_for():
    def interval(steps, asked=None):
        return log_interval(batches(steps), options(log_interval=asked))

    assert (interval(1000), interval(20), interval(20, asked=3)) == (50, 10, 3)
    assert log_interval(iter(()), options()) == 100


def test_batches_of_unknown_number_are_counted_all_the_same(said):
    reporter = Reporter(1)
    with reporter.observe("train") as sub:
        unknown = (batch for batch in batches(2))
        for _ in logging_steps(unknown, sub, options(max_epoch=1, log_interval=2)):
            sub.register({"loss": 1.0}, weight=1)
            sub.next()
    assert said()[0].startswith("epoch 1/1: step 2, loss 1.000, ")
    assert "to go" not in said()[0]


def test_without_forward_passes_there_are_steps_and_times(said):
    """ESPnet's no_forward_run, which tries the data loading."""
    reporter = ProgressReporter(options(log_interval=2))
    reporter.set_epoch(1)
    for phase in ("train", "valid"):
        with reporter.observe(phase) as sub:
            for _ in logging_steps(batches(2), sub, options(log_interval=2)):
                pass
    assert said()[0] == "epoch 1/3: step 2/2, 0:00:00 to go"
    assert said()[-1] == "epoch 1/3 done: 0:00:00 left"


class Clock:
    """Seconds that pass between any two looks at the clock."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0

    def __call__(self):
        self.now += self.seconds
        return self.now
