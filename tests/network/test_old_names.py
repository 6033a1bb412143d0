"""Models that were trained before tensors were renamed are loaded, none is missed."""

import re

import torch

from tests.networks import speech_like, tiny_separator

NORMS = ("self_attention", "self_attention_ffn", "gru", "tfa", "tfa_ffn")


def as_before(name: str) -> str:
    """What a tensor was called in version 0.1.0."""
    for number, norm in enumerate(NORMS):
        name = re.sub(rf"(blocks\.\d+)\.{norm}_norm\.", rf"\1.norms.{number}.", name)
    return name.replace("magnitude_path.head.mask.", "magnitude_path.head.")


def test_an_old_model_gives_the_same_samples():
    trained = tiny_separator().eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.1 * torch.rand(parameter.shape)
    state = {as_before(name): value for name, value in trained.state_dict().items()}
    assert len(state.keys() - trained.state_dict().keys()) == 2 * 5 * 2 + 3
    loaded = tiny_separator().eval()
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
