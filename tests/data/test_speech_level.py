"""The level of speech is that of its active frames, however much silence is around."""

import numpy as np
import pytest

from espnet2_bspmpnet.data.speech_level import FRAME, active, active_power


def with_pauses(*levels: float) -> np.ndarray:
    """Make frames of a tone at these levels in dB."""
    tone = np.sqrt(2) * np.sin(2 * np.pi * np.arange(FRAME) / 32)
    return np.concatenate([10 ** (level / 20) * tone for level in levels])


def test_frames_within_30_db_of_the_loud_ones_are_active():
    levels = [0.0] * 10 + [-29.0, -31.0, -200.0]
    assert active(with_pauses(*levels)).tolist() == [True] * 11 + [False] * 2


@pytest.mark.parametrize("pause", [0, 3, 30])
def test_the_power_of_speech_does_not_depend_on_its_pauses(pause):
    wave = with_pauses(*[-20.0] * 40, *[-90.0] * pause)
    assert active_power(wave) == pytest.approx(0.01)


def test_a_wave_shorter_than_a_frame_counts_as_a_whole():
    assert active_power(with_pauses(-20.0)[: FRAME // 2]) == pytest.approx(0.01)
