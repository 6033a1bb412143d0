"""Models that were trained before tensors were renamed are loaded, none is missed."""

import re

import pytest
import torch

from tests.networks import speech_like, tiny_separator

NORMS = ("self_attention", "self_attention_ffn", "gru", "tfa", "tfa_ffn")


def as_before(name: str) -> str:
    """What a tensor was called in version 0.1.0."""
    for number, norm in enumerate(NORMS):
        name = re.sub(rf"(blocks\.\d+)\.{norm}_norm\.", rf"\1.norms.{number}.", name)
    name = name.replace("magnitude_path.head.mask.", "magnitude_path.head.")
    return name.replace("phase_path.head.outputs.0.", "phase_path.head.conv.")


def of_atan2(name: str) -> str:
    name = as_before(name).replace("phase_path.head.conv.", "phase_path.head.real.")
    return name.replace("phase_path.head.outputs.1.", "phase_path.head.imaginary.")


@pytest.mark.parametrize(
    "phase_path, as_before, number",
    [("mask", as_before, 3), ("residual", as_before, 5), ("atan2", of_atan2, 7)],
)
def test_an_old_model_gives_the_same_samples(phase_path, as_before, number):
    trained = tiny_separator(phase_path=phase_path).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1 * torch.rand(parameter.shape)
    state = {as_before(name): value for name, value in trained.state_dict().items()}
    assert len(state.keys() - trained.state_dict().keys()) == 2 * 5 * 2 + number
    loaded = tiny_separator(phase_path=phase_path).eval()
    loaded.load_state_dict(state)  # strict: each name must be known
    (expected,), _, _ = trained(*speech_like(3000))
    (output,), _, _ = loaded(*speech_like(3000))
    assert torch.equal(output, expected)


def test_old_names_win_over_a_models_own_weights():
    """As ESPnet's --init_param hands them over, beside those that it would replace."""
    trained, loaded = tiny_separator(), tiny_separator()
    with torch.no_grad():
        trained.bsp_mpnet.magnitude_path.head.mask.lsigmoid.alpha.fill_(3.0)
    old = {as_before(name): value for name, value in trained.state_dict().items()}
    loaded.load_state_dict({**loaded.state_dict(), **old})
    assert (loaded.bsp_mpnet.magnitude_path.head.mask.lsigmoid.alpha == 3.0).all()
