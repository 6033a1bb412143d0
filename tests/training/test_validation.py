"""What a training is watched by: PESQ and ESPnet's measures, an utterance at a time."""

import pytest
import torch

from espnet2_bspmpnet.enh.separator import SpectralEstimate
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.training.validation import PESQScore, ValidationSolver
from tests.networks import speech_like


def others_of(lengths):
    """The separator's others for utterances of these lengths; no spectra are needed."""
    nothing = SpectralEstimate(None, lengths, target=None, resynthesised=None)
    return {"bsp_mpnet": nothing}


def test_pesq_is_that_of_the_pesq_package():
    from pesq import pesq

    clean, lengths = speech_like(32000)
    noisy = clean + 0.02 * torch.randn_like(clean)
    score = PESQScore()(clean, noisy)
    expected = pesq(16000, clean[0].numpy(), noisy[0].numpy(), "wb")
    assert score.item() == pytest.approx(expected, abs=1e-3)


def test_validation_measures_each_utterance_at_its_own_length_and_costs_nothing():
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss

    clean, lengths = speech_like(4000, 2500)
    estimate = clean + 0.1 * torch.randn_like(clean)  # noise in the padding, too
    solver = ValidationSolver(SISNRLoss())
    loss, stats, _ = solver([clean], [estimate], others_of(lengths))
    alone = [
        SISNRLoss()(clean[b : b + 1, :n], estimate[b : b + 1, :n])
        for b, n in enumerate(lengths.tolist())
    ]
    assert loss.item() == 0 and solver.criterion.only_for_test
    assert stats["si_snr_loss"].item() == pytest.approx(torch.cat(alone).mean().item())


@pytest.mark.parametrize("others", [None, {}, {"mask_spk1": torch.ones(2, 4)}])
def test_with_another_separator_an_utterance_ends_where_its_reference_does(others):
    from espnet2.enh.loss.criterions.time_domain import SISNRLoss

    clean, lengths = speech_like(4000, 2500)
    clean[1, 1000:1500] = 0  # a pause is no end
    estimate = clean + 0.1 * torch.randn_like(clean)
    solver = ValidationSolver(SISNRLoss())
    _, stats, _ = solver([clean], [estimate], others)
    _, expected, _ = solver([clean], [estimate], others_of(lengths))
    assert stats["si_snr_loss"].item() == expected["si_snr_loss"].item()


def test_a_silent_reference_of_another_separator_is_left_out_of_the_mean():
    clean, _ = speech_like(16000, 16000)
    clean[0] = 0
    estimate = clean + 0.01
    _, stats, _ = ValidationSolver(PESQScore())([clean], [estimate], {})
    _, alone, _ = ValidationSolver(PESQScore())([clean[1:]], [estimate[1:]], {})
    assert stats["pesq"].item() == alone["pesq"].item() > 1


@pytest.mark.parametrize("several", [[torch.ones(1, 9)] * 2, [[torch.ones(1, 9)]]])
def test_several_waveforms_are_refused(several):
    with pytest.raises(UserError, match="one waveform"):
        ValidationSolver(PESQScore())([torch.ones(1, 9)], several, {})


def test_silence_has_no_pesq_and_is_left_out_of_the_mean():
    clean, lengths = speech_like(16000, 16000)
    clean[1] = 0
    _, stats, _ = ValidationSolver(PESQScore())([clean], [clean], others_of(lengths))
    assert stats["pesq"].item() > 4
