"""Long recordings go in windows, in bounded memory, under one level."""

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.inference.enhancer import Enhancer
from tests.enhancers import decibels, speech, transparent
from tests.networks import tiny_separator


@pytest.mark.parametrize("pcs_output", ["natural", "boosted"])
def test_long_recordings_go_in_windows_under_one_level(pcs_output):
    """A network that sees single frames only gives the same, whole or in windows."""
    options = dict(level="rms", coarse_encoder=False, rema=False, mask_gate=False)
    quiet_then_loud = np.concatenate([0.05 * speech(5.0), speech(5.0, seed=1)])
    whole, windowed = (
        Enhancer(
            tiny_separator(**options, phase_path="none", fs_ssl=False),
            pcs_output=pcs_output,
            window=window,
        )
        for window in (20, 4)
    )
    for one in (whole, windowed):  # without the SSL model's view of the whole
        one.separator.bsp_mpnet.fs_ssl.forward = lambda layers, frames, number: {
            "magnitude": torch.zeros(len(frames), number, 16)
        }
    expected, output = (one(quiet_then_loud, 16000) for one in (whole, windowed))
    assert whole.is_long(len(output), 16000) is False
    assert windowed.is_long(len(output), 16000) is True
    assert decibels(output - expected, expected) < -60


def test_windows_of_all_channels_and_rates_come_back_whole():
    wave = np.stack([speech(6.0, 22050), speech(6.0, 22050, seed=3)])
    output = transparent(window=4)(wave, 22050)
    inner = slice(2000, -2000)
    assert decibels((output - wave)[:, inner], wave[:, inner]) < -45


def test_a_recording_is_read_piece_by_piece_and_given_out_so():
    """Of a source that would not fit into memory, no more than a window is asked for."""

    class Long:
        rate, channels, frames = 8000, 1, 8000 * 30

        def __init__(self):
            self.asked = []

        def read(self, start, stop):
            self.asked.append(stop - start)
            return np.zeros((1, stop - start), np.float32)

    source = Long()
    blocks = list(transparent(window=4).stream(source))
    assert max(source.asked) == 4 * 8000
    assert sum(block.shape[1] for block in blocks) == source.frames
    assert max(block.shape[1] for block in blocks) <= 4 * 8000
