"""Mixed precision: bfloat16 where it does no harm, float32 for spectra and the loss."""

import pytest
import torch
from espnet2.enh.loss.criterions.time_domain import SISNRLoss

from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
from espnet2_bspmpnet.training.validation import ValidationSolver
from tests.networks import speech_like, tiny_separator

EVERY_TERM = {
    "group_delay_weight": 0.1,
    "instantaneous_frequency_weight": 0.1,
    "consistency_weight": 0.1,
}


def step(separator, mixed):
    """Forward, loss and backward pass, as ESPnet's trainer does them."""
    separator.zero_grad()
    wave, lengths = speech_like(8000, 6000)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        (enhanced,), _, others = separator(wave, lengths)
        solver = BSPMPNetSolver(BSPMPNetLoss(**EVERY_TERM))
        loss, stats, _ = solver([wave * 0.5], [enhanced], others)
    loss.backward()
    return enhanced, others["bsp_mpnet"].estimate, loss, stats


@pytest.mark.parametrize("level", ["none", "rms"])
@pytest.mark.parametrize("phase_path", ["mask", "residual", "atan2", "none"])
def test_spectra_phase_waveform_and_loss_stay_in_float32(phase_path, level):
    separator = tiny_separator(phase_path=phase_path, level=level).train()
    enhanced, estimate, loss, stats = step(separator, mixed=True)
    tensors = [enhanced, estimate.magnitude, estimate.phase, loss, *stats.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    for name, parameter in separator.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert torch.isfinite(parameter.grad).all(), name
    _, _, full, _ = step(separator, mixed=False)
    assert loss.item() == pytest.approx(full.item(), rel=0.01)
    assert loss.item() != full.item()  # something was computed in bfloat16


@pytest.mark.parametrize("phase_path", ["mask", "residual", "atan2"])
def test_ssl_and_decoders_run_in_bfloat16_and_the_heads_in_float32(phase_path):
    network = tiny_separator(phase_path=phase_path).train().bsp_mpnet
    seen = {}

    def note(name):
        def keep(module, inputs, output):
            tensor = output[0] if isinstance(output, tuple) else output
            seen[name] = tensor.dtype

        return keep

    for path in ("magnitude_path", "phase_path"):
        rema = network.get_submodule(f"{path}.rema.project_in")
        rema.register_forward_hook(note(f"{path}.rema.project_in"))
        for module in network.get_submodule(f"{path}.head").modules():
            if isinstance(module, torch.nn.Conv1d):  # what comes after it would hide it
                module.register_forward_hook(note(f"{path}.head"))
    layer = network.ssl.model.encoder.layers[0]
    layer.fc1.register_forward_hook(note("ssl"))
    wave, lengths = speech_like(8000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(wave, lengths)
    half = [name for name, dtype in seen.items() if dtype == torch.bfloat16]
    full = [name for name, dtype in seen.items() if dtype == torch.float32]
    assert sorted(half) == [
        "magnitude_path.rema.project_in",
        "phase_path.rema.project_in",
        "ssl",
    ]
    assert sorted(full) == ["magnitude_path.head", "phase_path.head"]


def test_a_phase_mask_of_one_leaves_the_phase_exactly_as_it_is():
    """In bfloat16 the phase itself would be rounded to 8 bits."""
    network = tiny_separator().eval().bsp_mpnet
    network.phase_path.head.mask = torch.nn.Sequential(torch.nn.ReLU6())
    network.phase_path.rema.forward = lambda x, mask: torch.ones(len(x), 257, x.size(1))
    wave, lengths = speech_like(8000)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        estimate = network(wave, lengths)
    assert torch.equal(estimate.phase, network.spectrum(wave)[1])


def test_validation_measures_in_float32():
    """In bfloat16 the SI-SNR of a good estimate would be infinite."""
    wave, lengths = speech_like(8000)
    _, _, others = tiny_separator().eval()(wave, lengths)
    estimate = wave + 0.01 * torch.randn(wave.shape)
    solver = ValidationSolver(SISNRLoss())
    _, full, _ = solver([wave], [estimate], others)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, mixed, _ = solver([wave], [estimate], others)
    assert mixed == full and torch.isfinite(full["si_snr_loss"])
