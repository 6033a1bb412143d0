"""Lines that say how far training is, made of ESPnet's own reports."""

import itertools
import logging
import re
import time

import pytest
from espnet2.train.reporter import Reporter

from espnet2_bspmpnet.training.progress import Progress, Watched

CRITERIA = [("valid", "pesq", "max"), ("valid", "loss", "min")]


@pytest.fixture
def said(caplog):
    """What was logged, without dates."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


def batches(steps, size=4):
    return [([f"u{number}" for number in range(size)], {})] * steps


def run_epoch(progress, reporter, epoch, valid, steps=4, losses=(4.0, 3.0, 2.0, 1.0)):
    """What ESPnet's trainer does in an epoch, with given values."""
    reporter.set_epoch(epoch)
    with reporter.observe("train") as sub:
        for number, _ in enumerate(progress.training(batches(steps), sub)):
            loss = losses[number % len(losses)]
            parts = {"magnitude_loss": loss / 2, "bsp_mpnet_loss": loss, "loss": loss}
            sub.register(parts, weight=4)
            sub.register({"optim0_lr0": 0.001 * (number + 1)})
            sub.next()
    with reporter.observe("valid") as sub:
        for _ in progress.validation(batches(2), sub):
            sub.register({"magnitude_loss": 0.5, **valid}, weight=4)
            sub.next()
        progress.summarise(sub)


def test_a_line_every_so_many_steps_tells_the_loss_since_the_last(said):
    progress = Progress(3, CRITERIA, log_interval=2)
    run_epoch(progress, Reporter(), 1, {"loss": 1.0})
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


def test_one_line_tells_what_an_epoch_came_to(said):
    progress = Progress(3, CRITERIA)
    values = {"loss": 2.0, "pesq": 1.75, "si_snr_loss": -9.5}
    run_epoch(progress, Reporter(), 1, values)
    (line,) = said()
    assert re.fullmatch(
        r"epoch 1/3 done: train loss 2\.500 \(magnitude 1\.250\); "
        r"valid loss 2\.000 \(best\), PESQ 1\.750 \(best\), SI-SNR 9\.500 dB; "
        r"lr 4\.00e-03, [\d.]+ examples/s, 0:00:00 left",
        line,
    )


def test_only_what_is_better_than_ever_before_is_marked_best(said):
    progress, reporter = Progress(4, CRITERIA), Reporter()
    for epoch, (pesq, loss) in enumerate([(1.5, 2.0), (1.4, 1.9), (1.5, 1.9)], 1):
        run_epoch(progress, reporter, epoch, {"pesq": pesq, "loss": loss})
    marked = [
        [value.split()[0] for value in re.findall(r"\w+ [\d.]+ \(best\)", line)]
        for line in said()
    ]
    assert marked == [["loss", "PESQ"], ["loss"], []]


def test_a_resumed_training_remembers_the_best_of_before(said):
    reporter = Reporter()
    run_epoch(Progress(3, CRITERIA), reporter, 1, {"pesq": 1.5, "loss": 2.0})
    resumed = Progress(3, CRITERIA)
    resumed.recall(reporter)
    run_epoch(resumed, reporter, 2, {"pesq": 1.4, "loss": 1.0})
    assert "loss 1.000 (best), PESQ 1.400;" in said()[-1]


def test_an_undefined_value_is_no_number_and_never_the_best(said):
    run_epoch(Progress(1, CRITERIA), Reporter(), 1, {"pesq": float("nan"), "loss": 1.0})
    assert "PESQ undefined;" in said()[-1]
    assert " left" not in said()[-1]  # nothing is


def test_the_speed_counts_the_examples_of_all_processes(said, monkeypatch):
    for processes in (1, 4):
        # A second passes between any two looks at the clock.
        monkeypatch.setattr(time, "perf_counter", itertools.count(0.0).__next__)
        progress = Progress(1, CRITERIA, processes=processes)
        run_epoch(progress, Reporter(), 1, {"loss": 1.0})
    alone, together = (float(line.split()[-2]) for line in said())
    assert alone > 0 and together == 4 * alone


def test_the_interval_is_espnets_unless_one_is_asked_for():
    def interval(steps, asked=None):
        return Watched(batches(steps), asked, print).interval

    assert (interval(1000), interval(20), interval(20, asked=3)) == (50, 10, 3)


def test_batches_of_unknown_number_are_counted_all_the_same(said):
    progress, reporter = Progress(1, CRITERIA, log_interval=2), Reporter()
    reporter.set_epoch(1)
    with reporter.observe("train") as sub:
        watched = progress.training(iter(batches(2)), sub)
        with pytest.raises(TypeError):
            len(watched)
        for _ in watched:
            sub.register({"loss": 1.0}, weight=1)
            sub.next()
    assert said()[0].startswith("epoch 1/1: step 2, loss 1.000, ")
    assert "to go" not in said()[0]
