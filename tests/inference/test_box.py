"""The model that the package comes with: found without a word, and heard on real clips."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet2_bspmpnet import Enhancer, cli
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.inference.models import IN_THE_BOX
from espnet2_bspmpnet.measures.metrics import pesq, si_snr
from tests.clips import CLEAN, NOISY

MEAN_GAINS = [0.2, 8.0]  # PESQ, dB of SI-SNR
SMALL = Path(__file__).resolve().parents[2] / "conf/train_small.yaml"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("the box needs no network")

    monkeypatch.setattr("socket.socket.connect", refuse)


def test_it_is_small_and_the_network_of_its_configuration():
    files = list(IN_THE_BOX.iterdir())
    assert sum(file.stat().st_size for file in files) < 4 << 20
    own = read_config(IN_THE_BOX / "config.yaml")["separator_conf"]
    assert own == read_config(SMALL)["separator_conf"]


def test_its_card_and_its_list_of_data_name_every_licence():
    card = (IN_THE_BOX / "README.md").read_text()
    assert "CC BY 4.0" in card and "DATA.tsv" in card
    rows = (IN_THE_BOX / "DATA.tsv").read_text().splitlines()
    assert {row.split("\t")[0] for row in rows[1:]} == {"clean", "noise", "rir"}
    assert all(len(row.split("\t")) == 5 for row in rows)


def test_it_makes_real_clips_cleaner():
    enhance = Enhancer.from_pretrained()
    gains = []
    for path in sorted(NOISY.glob("*.flac")):
        (noisy, rate), (clean, _) = map(soundfile.read, (path, CLEAN / path.name))
        enhanced = enhance(noisy.astype(np.float32), rate)
        quality = pesq(clean, enhanced, rate=rate) - pesq(clean, noisy, rate=rate)
        gains.append([quality, si_snr(clean, enhanced) - si_snr(clean, noisy)])
    assert (np.mean(gains, axis=0) > MEAN_GAINS).all()


def test_the_command_takes_it_where_no_model_is_named(tmp_path):
    noisy = next(NOISY.glob("*.flac"))
    assert cli.main(["enhance", str(noisy), "-o", str(tmp_path / "clean.wav")]) == 0
    enhanced, _ = soundfile.read(tmp_path / "clean.wav")
    wave, rate = soundfile.read(noisy)
    expected = Enhancer.from_pretrained()(wave.astype(np.float32), rate)
    assert np.abs(enhanced - expected).max() < 1e-4
