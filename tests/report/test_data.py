"""An experiment's folder is read: what was scored, its recordings, training, model."""

from pathlib import Path

import numpy as np
import pytest

from espnet2_bspmpnet.data.datadir import write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.experiments import find_model
from espnet2_bspmpnet.report.data import (
    Absent,
    find_test_sets,
    input_snr,
    read_curves,
    read_layer_weights,
)


def test_systems_noisy_speech_and_recordings_of_a_test_set_are_found(recipe):
    (test_set,) = find_test_sets("exp/mine")
    assert (test_set.name, test_set.references) == ("tt", ["clean", "pcs"])
    assert [(name, one.summary.reference) for name, one in test_set.systems] == [
        ("enhanced_tt", "clean"),
        ("enhanced_tt_boosted", "clean"),
        ("enhanced_tt", "pcs"),
        ("enhanced_tt_boosted", "pcs"),
    ]
    assert list(test_set.values("PESQ", "pcs")) == ["enhanced", "enhanced boosted"]
    assert test_set.values("SI_SNR", "clean")["enhanced"][2] == 9.0
    assert list(test_set.noisy_values("PESQ")) == [1.0, 1.5, 2.0, 2.5]
    assert test_set.data.path == Path("dump/raw/tt")
    assert sorted(test_set.enhanced) == ["enhanced_tt", "enhanced_tt_boosted"]


def test_the_snr_is_the_corpus_own_or_computed(recipe):
    (test_set,) = find_test_sets("exp/mine")
    np.testing.assert_allclose(input_snr(test_set), 5.0, atol=0.01)
    write_scp("dump/raw/tt/utt2snr", {"u1": 2.5, "u2": 7.5, "u3": -1})
    snr = input_snr(test_set)
    np.testing.assert_array_equal(snr, [2.5, 7.5, -1.0, np.nan])
    write_scp("dump/raw/tt/utt2snr", {"u1": "loud"})
    with pytest.raises(UserError, match="utt2snr: .*'loud'; write numbers"):
        input_snr(test_set)


def test_layer_weights_are_the_softmax_of_the_best_model(recipe):
    model = find_model("exp/mine")
    assert model.name == "valid.pesq.best.pth"
    weights = read_layer_weights(model, {"separator_conf": {"layers": [9, 3, 6]}})
    expected = np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum()
    assert weights == {
        "magnitude": pytest.approx(dict(zip([3, 6, 9], expected)), rel=1e-6),
        "phase": pytest.approx(dict(zip([3, 6, 9], expected[::-1])), rel=1e-6),
    }
    assert list(read_layer_weights(model, {})["phase"]) == [1, 2, 3]


def test_curves_are_what_training_reported(recipe):
    curves = read_curves("exp/mine")
    assert curves["loss"]["valid"] == {1: 2.0, 2: 1.0, 3: 2.0 / 3}
    assert curves["pesq"] == {"valid": {1: 2.0, 2: 3.0, 3: 4.0}}
    assert "time" not in curves


def test_a_model_without_such_weights(recipe):
    import torch

    torch.save({"separator.other": torch.zeros(3)}, "exp/mine/plain.pth")
    with pytest.raises(Absent, match="plain.pth has no weights of SSL layers"):
        read_layer_weights(find_model("exp/mine", "plain.pth"), {})
