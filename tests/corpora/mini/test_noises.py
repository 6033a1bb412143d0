"""Each noise is of its kind and level, and no two are alike."""

import numpy as np
import pytest

from espnet2_bspmpnet.corpora.mini import noises

pytest.importorskip("espeakng_loader", reason="the extra [mini] is not installed")


@pytest.mark.parametrize("kind", [*noises.TRAIN, *noises.TEST])
def test_each_noise_is_of_unit_level_and_never_the_same_twice(kind):
    first, again, other = (
        noises.make(kind, np.random.default_rng(seed), 16001) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    for noise in (first, other):
        assert noise.shape == (16001,)
        assert np.isfinite(noise).all()
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-6)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


@pytest.mark.parametrize("kind", [*noises.TRAIN, *noises.TEST])
def test_noises_can_be_of_any_length_from_a_fifth_of_a_second(kind):
    for seed, length in enumerate(range(3200, 9000, 1733)):
        noise = noises.make(kind, np.random.default_rng(seed), length)
        assert noise.shape == (length,)
        assert np.isfinite(noise).all()


def test_training_and_test_share_no_kind():
    assert len(noises.TRAIN) >= 8 and len(noises.TEST) >= 5
    assert not noises.TRAIN.keys() & noises.TEST.keys()


def test_the_floor_of_a_room_is_rumble():
    floor = noises.floor(np.random.default_rng(0), 16000)
    power = np.abs(np.fft.rfft(floor)) ** 2  # 1 Hz a bin
    assert power[:500].sum() > 10 * power[500:].sum()
    assert np.sqrt(np.mean(floor**2)) == pytest.approx(1, abs=1e-6)
