"""Intervals of means cover what they should, and are the same each time."""

import numpy as np

from espnet2_bspmpnet.measures.intervals import mean_intervals


def test_the_interval_is_nearly_that_of_normal_theory():
    values = np.random.default_rng(1).normal(5.0, 2.0, size=(400, 1))
    ((lower, upper),) = mean_intervals(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert abs(lower - (values.mean() - half)) < 0.1 * half
    assert abs(upper - (values.mean() + half)) < 0.1 * half


def test_95_of_100_intervals_hold_the_true_mean():
    random = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        ((lower, upper),) = mean_intervals(random.exponential(size=(60, 1)))
        held += lower < 1.0 < upper
    assert 0.88 < held / 200 < 0.99


def test_the_same_values_have_the_same_interval():
    values = np.random.default_rng(3).normal(size=(30, 2))
    assert np.array_equal(mean_intervals(values), mean_intervals(values))
    assert np.allclose(mean_intervals(values)[0], mean_intervals(values[:, :1])[0])


def test_utterances_are_drawn_whole():
    # The difference is the same for each utterance, whatever the utterances are like.
    values = np.random.default_rng(4).normal(size=(30, 1))
    paired = mean_intervals(values + 0.5 - values)
    assert np.allclose(paired, 0.5)


def test_missing_values_are_left_out_of_the_mean():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, 7.0], [3.0, np.nan]])
    known, single = mean_intervals(values)
    assert 1.0 <= known[0] < known[1] <= 3.0
    assert np.isnan(single).all()
    assert np.isnan(mean_intervals(np.empty((0, 2)))).all()
