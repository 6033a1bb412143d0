"""PCS of a waveform is what the network's own blocks make of it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.measures.pcs_boost import boost
from espnet2_bspmpnet.network.pcs import PCS
from espnet2_bspmpnet.network.spectrum import Spectrum
from tests.speech import RATE, speechlike


def power(wave: np.ndarray) -> float:
    return float(np.mean(wave**2))


@pytest.mark.parametrize("length", [150, 399, 1600, 12345])
def test_it_equals_the_networks_spectrum_and_pcs_but_for_the_loudness(length):
    wave = speechlike()[1000 : 1000 + length]
    spectrum = Spectrum()
    magnitude, phase = spectrum(torch.from_numpy(wave)[None])
    lengths = torch.tensor([length])
    expected = spectrum.inverse(PCS()(magnitude), phase, lengths)[0].numpy()
    assert power(expected) > 1.3 * power(wave)
    expected *= np.sqrt(power(wave) / power(expected))
    assert boost(wave, RATE) == pytest.approx(expected, abs=1e-5)


def test_the_loudness_stays():
    wave = speechlike()
    assert power(boost(wave, RATE)) == pytest.approx(power(wave))


def test_a_louder_copy_is_not_just_the_louder_result():
    # PCS is compressive: it has to be applied at the level that was recorded.
    wave = speechlike()
    assert not np.allclose(boost(10 * wave, RATE), 10 * boost(wave, RATE), rtol=0.05)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_another_rate_has_the_same_gain_at_the_same_frequency(rate):
    wave = resample(speechlike(), RATE, 8000)  # nothing above 4 kHz
    expected = resample(boost(resample(wave, 8000, RATE), RATE), RATE, rate)
    found = boost(resample(wave, 8000, rate), rate)
    assert found == pytest.approx(expected, abs=2e-3)


def test_silence_stays_silent():
    assert not boost(np.zeros(1000), RATE).any()


def test_it_loads_no_torch():
    script = "import sys; import espnet2_bspmpnet.measures.pcs_boost"
    script += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
