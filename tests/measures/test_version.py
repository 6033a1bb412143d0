"""VERSION of the measures stands for the very values that they give."""

import pytest

from espnet2_bspmpnet.data.audio import read_audio
from espnet2_bspmpnet.measures import VERSION
from espnet2_bspmpnet.measures.metrics import METRICS, REFERENCE_FREE, score_pair
from espnet2_bspmpnet.measures.pcs_boost import boost
from tests.clips import CLEAN, NOISY

CLIP = "p232_005.flac"
# Scores that were measured by another VERSION are measured again. So whoever has to change
# a value here, because a measure was changed, raises VERSION, here and in measures/.
RECORDED_VERSION = 1
RECORDED = {
    "PESQ": 1.331946,
    "CSIG": 2.566460,
    "CBAK": 1.971025,
    "COVL": 1.896904,
    "SSNR": -0.011480,
    "LLR": 0.918732,
    "WSS": 42.703069,
    "STOI": 88.196304,
    "ESTOI": 72.604191,
    "SI_SNR": 1.855294,
    "SDR": 1.884746,
    "COSINE": 0.777949,
    "DNSMOS_OVRL": 2.508097,
    "DNSMOS_SIG": 3.548208,
    "DNSMOS_BAK": 2.541935,
    "DNSMOS_P808": 2.847998,
}
RECORDED_WITH_PCS = {"PESQ": 1.592963, "SI_SNR": 6.060849, "WSS": 42.359546}
EXACT = 1e-6
SINGLE_PRECISION = 1e-5  # of networks, which differs a little between processors


@pytest.fixture(scope="module")
def pair():
    return [read_audio(folder / CLIP) for folder in (CLEAN, NOISY)]


def test_the_values_of_a_real_clip_are_those_of_this_version(pair):
    (clean, rate), (noisy, _) = pair
    values, reasons = score_pair(clean, noisy, rate)
    assert (VERSION, reasons) == (RECORDED_VERSION, {})
    assert values.keys() == RECORDED.keys() == METRICS.keys()
    for name, expected in RECORDED.items():
        tolerance = SINGLE_PRECISION if name in REFERENCE_FREE else EXACT
        assert values[name] == pytest.approx(expected, abs=tolerance), name


def test_the_values_of_the_same_clip_with_pcs_are_those_of_this_version(pair):
    clean, noisy = (boost(wave, rate) for wave, rate in pair)
    values, _ = score_pair(clean, noisy, pair[0][1], list(RECORDED_WITH_PCS))
    assert values == pytest.approx(RECORDED_WITH_PCS, abs=EXACT)
