"""The rooms of WHAMR!: as published, though by another release of pyroomacoustics."""

import sys

import numpy as np
import pytest

from espnet2_bspmpnet.corpora.whamr.rooms import (
    Room,
    impulse_responses,
    require_pyroomacoustics,
)
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

pyroomacoustics = pytest.importorskip(
    "pyroomacoustics", reason="the extra [whamr] is not installed"
)

LARGE = (6.4733, 7.6529, 3.1915), (3.0086, 3.8766, 1.4907), (4.4522, 4.2890, 1.2220)
DRY = (9.8039, 8.2960, 3.7188), (5.0137, 4.2193, 1.0206), (5.8515, 2.7370, 0.9262)
HALL = (7.8540, 6.7571, 3.4337), (3.7683, 3.5005, 1.2162), (3.8654, 2.4949, 1.6017)
DELAY = 40  # samples that the windows of the fractional delays add


def decibels(ratio):
    return 10 * np.log10(ratio)


def measured_t60(response):
    """Three times the time that the sound takes to fall from -5 dB to -25 dB."""
    remaining = np.cumsum(response[::-1] ** 2)[::-1]
    level = decibels(remaining / remaining[0])
    return 3 * (np.argmax(level < -25) - np.argmax(level < -5)) / SAMPLE_RATE


@pytest.mark.parametrize(
    "room, reflected, t60",
    [  # by pyroomacoustics 0.2.0, which WHAMR! was made with
        (Room(*LARGE, 0.5509), 2.7166, 0.3718),
        (Room(*DRY, 0.1086), 0.8735, 0.1498),
        (Room(*HALL, 0.9589), 3.1907, 0.7612),
    ],
)
def test_responses_are_those_of_the_release_that_whamr_was_made_with(
    room, reflected, t60
):
    anechoic, reverberant = impulse_responses(room)
    ratio = np.sum(reverberant**2) / np.sum(anechoic**2)
    assert decibels(ratio) == pytest.approx(reflected, abs=0.01)
    assert measured_t60(reverberant) == pytest.approx(t60, rel=0.01)
    assert len(reverberant) == np.ceil(room.t60 * SAMPLE_RATE)


def test_sound_lasts_nearly_as_long_as_asked_and_longer_where_more_is_asked():
    asked = np.array([0.3, 0.5, 0.8])
    rooms = [Room(*LARGE, t60) for t60 in asked]
    measured = np.array([measured_t60(impulse_responses(room)[1]) for room in rooms])
    assert (np.diff(measured) > 0.05).all()
    assert (measured < asked).all() and (measured > 0.4 * asked).all()


@pytest.mark.parametrize("room", [Room(*LARGE, 0.15), Room(*DRY, 0.11)])
def test_an_image_source_model_of_ten_lines_agrees(room):
    anechoic, reverberant = impulse_responses(room)
    expected = np.zeros(len(reverberant))
    for x, y, z in np.ndindex(40, 40, 40):
        cell = np.array([x, y, z]) - 20
        image = np.where(
            cell % 2, (cell + 1) * room.size - room.source, cell * room.size
        ) + np.where(cell % 2, 0, room.source)
        delay = np.linalg.norm(image - room.microphone) * SAMPLE_RATE / 343
        if delay < len(expected) + 41:
            strength = room.reflection ** abs(cell).sum() / (delay * 343 / SAMPLE_RATE)
            taps = np.arange(int(delay) - 40, int(delay) + 41)
            pulse = strength * np.sinc(taps - delay) * np.hanning(81)
            there = taps + DELAY < len(expected)
            expected[taps[there] + DELAY] += pulse[there]
    error = np.sum((reverberant - expected) ** 2) / np.sum(expected**2)
    assert decibels(error) < -50


def test_direct_sound_is_the_same_with_and_without_the_room():
    room = Room(*LARGE, 0.4)
    distance = np.linalg.norm(np.subtract(room.source, room.microphone))
    anechoic, reverberant = impulse_responses(room)
    arrival = round(distance * SAMPLE_RATE / 343) + DELAY
    assert np.argmax(anechoic) == np.argmax(reverberant) == arrival
    assert np.array_equal(anechoic[:arrival], reverberant[:arrival])


def test_the_packages_settings_are_left_as_they_were():
    before = [
        pyroomacoustics.constants.get(n) for n in ("rir_hpf_enable", "num_threads")
    ]
    impulse_responses(Room(*DRY, 0.11))
    after = [
        pyroomacoustics.constants.get(n) for n in ("rir_hpf_enable", "num_threads")
    ]
    assert after == before


@pytest.mark.parametrize(
    "room, message",
    [
        (Room((5, 5, 3), (1, 1, 1), (6, 1, 1), 0.5), "source .* outside"),
        (Room((5, 5, 3), (1, 1, 0), (2, 1, 1), 0.5), "microphone .* outside"),
        (Room((5, 5, 3), (1, 1, 1), (2, 1, 1), 0.0), "must be positive"),
        (Room((5, 5, 3), (1, 1, 1), (2, 1, 1), 0.05), "too short"),
    ],
)
def test_impossible_rooms_are_refused(room, message):
    with pytest.raises(ValueError, match=message):
        room.check()


def test_a_missing_package_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(UserError, match="pip install 'pyroomacoustics>=0.10'"):
        require_pyroomacoustics()
