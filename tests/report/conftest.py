"""A scored experiment of four utterances, for tests of its page."""

from pathlib import Path

import pytest
import soundfile

from espnet2_bspmpnet.data.datadir import write_scp
from espnet2_bspmpnet.report import page
from tests.scores import scores
from tests.speech import noisy as add_noise
from tests.speech import speechlike

RATE = 8000
IDS = ["u1", "u2", "u3", "u4"]
NOISY = {"PESQ": [1.0, 1.5, 2.0, 2.5], "SI_SNR": [0.0, 5.0, 0.0, 5.0]}
OURS = {"PESQ": [1.4, 2.5, 2.2, 2.4], "SI_SNR": [9.0, 9.0, 9.0, None]}
PREFIX = "separator.bsp_mpnet.fs_ssl.layer_weights"


def write_audio(folder: Path, snr: float | None) -> dict[str, Path]:
    """Write the four utterances, with noise unless the SNR is None."""
    folder.mkdir(parents=True)
    for number, utterance in enumerate(IDS):
        wave = speechlike(0.8, RATE, number)
        if snr is not None:
            wave = add_noise(wave, snr, number)
        soundfile.write(folder / f"{utterance}.wav", wave, RATE, subtype="FLOAT")
    return {utterance: folder / f"{utterance}.wav" for utterance in IDS}


def write_training(expdir: Path) -> None:
    """Write a model, a checkpoint and a configuration as ESPnet does."""
    import torch

    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    paths = zip(("magnitude", "phase"), logits)
    model = {f"{PREFIX}.{name}.logits": values for name, values in paths}
    torch.save({**model, "separator.other": torch.zeros(3)}, expdir / "2epoch.pth")
    (expdir / "valid.pesq.best.pth").symlink_to("2epoch.pth")
    stats = {
        epoch: {
            "train": {"loss": 1.0 / epoch, "phase_loss": 0.5, "time": {"s": 1.0}},
            "valid": {"loss": 2.0 / epoch, "si_snr_loss": -epoch, "pesq": 1 + epoch},
        }
        for epoch in (1, 2, 3)
    }
    states = {"reporter": {"epoch": 3, "stats": stats}}
    torch.save(states, expdir / "checkpoint.pth")
    (expdir / "config.yaml").write_text(
        "config: conf/train.yaml\n"
        "best_model_criterion: [[valid, pesq, max], [valid, loss, min]]\n"
        "separator_conf: {layers: [9, 3, 6]}\n"
    )


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    """A recipe's folder with a scored experiment exp/mine of the test set tt."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "dump/raw/tt"
    expdir = tmp_path / "exp/mine"
    scores("noisy", **NOISY).write(data / "scoring/noisy")
    enhanced = write_audio(tmp_path / "audio/enhanced", snr=20.0)
    for name in ("enhanced_tt", "enhanced_tt_boosted"):
        for reference in ("clean", "pcs"):
            folder = expdir / name / "scoring" / f"reference_{reference}"
            scores(reference=reference, **OURS).write(folder)
        write_scp(expdir / name / "spk1.scp", enhanced)
    write_scp(data / "wav.scp", write_audio(tmp_path / "audio/noisy", snr=5.0))
    write_scp(data / "spk1.scp", write_audio(tmp_path / "audio/clean", snr=None))
    write_scp(tmp_path / "dump/raw/tr/wav.scp", {"other": "other.wav"})
    write_training(expdir)
    return tmp_path


@pytest.fixture
def undrawn(recipe, monkeypatch) -> Path:
    """The same, where drawing is left out: for what a page says."""
    monkeypatch.setattr(page, "png", lambda figure: b"PNG")
    return recipe
