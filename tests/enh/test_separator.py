"""The separator: Fig. 2 from waveform to waveform, and all of Table IV's switches."""

import inspect
from pathlib import Path

import pytest
import torch
import yaml

from espnet2_bspmpnet.enh.losses import BSPMPNetLoss, BSPMPNetSolver
from espnet2_bspmpnet.enh.separator import LEVEL_RMS, BSPMPNetSeparator
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.bsp_mpnet import Estimate
from espnet2_bspmpnet.network.pcs import PCS
from tests.networks import TINY, speech_like, tiny_separator

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    [*REPOSITORY.glob("conf/**/*.yaml"), *REPOSITORY.glob("egs2/*/enh1/conf/*.yaml")]
)
BANDS = dict(decoder="bands", phase_path="rotation", num_bands=8)
SMALL = dict(
    BANDS,
    upstream="none",
    win_length=512,
    hop_length=256,
    window="sqrt_hann",
    level="rms",
)
RESIDUAL = dict(phase_path="residual")
# One row of Table IV each: the switch, parts that must be gone, parts that must stay.
TABLE_IV = {
    "w/o PF": (dict(finetune="none"), [], ["ssl", "fs_ssl"]),
    "w/o PCS": (dict(pcs_input=False, pcs_target=False), [], ["magnitude_path"]),
    "w/o FS-SSL": (
        dict(fs_ssl=False),
        [
            "fs_ssl.gates",
            "fs_ssl.layer_weights.magnitude",
            "fs_ssl.layer_weights.phase",
        ],
        ["fs_ssl.layer_weights.shared"],
    ),
    "w/o MP-2DC": (
        dict(coarse_encoder=False),
        ["magnitude_path.coarse_encoder", "phase_path.coarse_encoder"],
        ["magnitude_path.rema"],
    ),
    "w/o Mag.": (
        dict(magnitude_path=False),
        ["magnitude_path", "fs_ssl.gates.magnitude", "fs_ssl.layer_weights.magnitude"],
        ["phase_path"],
    ),
    "w/o Pha.": (
        dict(phase_path="none"),
        ["phase_path", "fs_ssl.gates.phase", "fs_ssl.layer_weights.phase"],
        ["magnitude_path"],
    ),
    "w/o REMA": (
        dict(rema=False),
        ["magnitude_path.rema.blocks", "phase_path.rema.blocks"],
        ["magnitude_path.rema.project_in", "magnitude_path.head.mask.conv"],
    ),
    "w/o Mask Gate": (
        dict(mask_gate=False),
        ["magnitude_path.head", "phase_path.head"],
        ["magnitude_path.rema.project_out"],
    ),
}


def parts_of(separator):
    return [name for name, _ in separator.bsp_mpnet.named_parameters()]


def training_step(separator, wave, lengths):
    solver = BSPMPNetSolver(BSPMPNetLoss())
    _, _, others = separator.train()(wave, lengths)
    loss, _, _ = solver([wave * 0.5], [], others)
    loss.backward()
    return loss


@pytest.mark.parametrize("row", TABLE_IV)
def test_every_row_of_table_iv_builds_trains_and_lacks_what_it_says(row):
    switches, gone, stays = TABLE_IV[row]
    separator = tiny_separator(**switches)
    names = parts_of(separator)
    for part in gone:
        assert not [name for name in names if name.startswith(part)], part
    for part in stays:
        assert [name for name in names if name.startswith(part)], part
    lost = set(parts_of(tiny_separator())) - set(names)
    assert all(name.startswith(tuple(gone)) for name in lost)
    assert torch.isfinite(training_step(separator, *speech_like(4000, 3000)))


@pytest.mark.parametrize(
    "switches",
    [{}, *(switches for switches, _, _ in TABLE_IV.values()), dict(finetune="partial"),
     dict(phase_path="residual"), dict(phase_path="atan2"), dict(level="rms"),
     dict(phase_path="rotation"), BANDS, SMALL, {**BANDS, "phase_path": "residual"},
     {**BANDS, "phase_path": "atan2"}, {**BANDS, "phase_path": "none"},
     {**BANDS, "magnitude_path": False}, dict(upstream="none")],
    ids=str,
)  # fmt: skip
def test_gradients_reach_every_trainable_parameter_and_no_frozen_one(switches):
    separator = tiny_separator(**switches)
    training_step(separator, *speech_like(4000, 3000))
    for name, parameter in separator.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize(
    "options",
    [
        *(dict(phase_path=path) for path in ("mask", "residual", "atan2", "none")),
        dict(phase_path="rotation"), BANDS, SMALL, dict(upstream="none"),
        dict(n_fft=512, win_length=512, hop_length=256, window="hann"),
        dict(level="rms"), dict(coarse_encoder=False), dict(rema=False),
        dict(coarse_encoder=False, rema=False), dict(mask_gate=False),
        dict(fs_ssl=False),
    ],
    ids=str,
)  # fmt: skip
def test_a_padded_batch_gives_what_each_utterance_gives_alone(options):
    separator = tiny_separator(**options).eval()
    wave, lengths = speech_like(6000, 4321, 700, 30)
    with torch.no_grad():
        (together,), _, _ = separator(wave, lengths)
        for row, length in enumerate(lengths.tolist()):
            (alone,), _, _ = separator(
                wave[row : row + 1, :length], lengths[row : row + 1]
            )
            assert (together[row, :length] - alone[0]).abs().max() < 1e-4
            assert not together[row, length:].any()


def test_whatever_stands_in_the_padding_is_not_heard():
    separator = tiny_separator(level="rms").eval()
    wave, lengths = speech_like(3000, 1234)
    spoilt = wave.clone()
    spoilt[1, 1234:] = 0.5
    (expected,), _, others = separator(wave, lengths)
    (output,), _, others_spoilt = separator(spoilt, lengths)
    assert torch.equal(output, expected)
    for part, same in zip(
        others["bsp_mpnet"].target(wave), others_spoilt["bsp_mpnet"].target(spoilt)
    ):
        assert torch.equal(part, same)


def identity(separator, wave):
    """Make the network's estimate the noisy spectrum itself."""
    network = separator.bsp_mpnet
    magnitude, phase = network.spectrum(wave)
    magnitude = network.pcs(magnitude) if network.pcs_target else magnitude
    mask = torch.ones(len(wave), magnitude.size(2), dtype=torch.bool)
    network.forward = lambda *_: Estimate(magnitude, phase, mask)
    return separator


@pytest.mark.parametrize("pcs_target", [True, False])
def test_identity_masks_give_the_input_back(pcs_target):
    wave, lengths = speech_like(8000)
    separator = tiny_separator(pcs_target=pcs_target, pcs_output="natural")
    (output,), _, _ = identity(separator, wave)(wave, lengths)
    assert (output - wave).abs().max() < 1e-5


@pytest.mark.parametrize("pcs_target", [True, False])
def test_boosted_output_is_pcs_of_the_natural_one_at_its_loudness(pcs_target):
    wave, lengths = speech_like(8000)
    separator = tiny_separator(pcs_target=pcs_target, pcs_output="boosted")
    (output,), _, _ = identity(separator, wave)(wave, lengths)
    spectrum = separator.bsp_mpnet.spectrum
    magnitude, phase = spectrum(wave)
    boosted = PCS().weights * magnitude
    expected = spectrum.inverse(boosted, phase, lengths)
    expected = expected * wave.norm() / expected.norm()
    assert (output - expected).abs().max() < 1e-4
    assert (output - wave).abs().max() > 1e-2


def test_level_rms_makes_the_network_blind_to_the_input_level():
    wave, lengths = speech_like(8000, 5000)
    separator = tiny_separator(level="rms", pcs_output="natural").eval()
    with torch.no_grad():
        (output,), _, _ = separator(wave, lengths)
        (quiet,), _, _ = separator(wave * 0.01, lengths)
    assert torch.allclose(quiet * 100, output, atol=1e-4)


def test_level_rms_scales_target_and_input_alike():
    wave, lengths = speech_like(8000)
    separator = tiny_separator(level="rms").eval()
    _, _, others = separator(wave, lengths)
    magnitude, _ = others["bsp_mpnet"].target(wave)
    scaled = wave * LEVEL_RMS / wave.square().mean().sqrt()
    assert torch.allclose(magnitude, separator.bsp_mpnet.target(scaled)[0], atol=1e-5)


@pytest.mark.parametrize("level", ["rms", "none"])
def test_silence_stays_silence(level):
    separator = tiny_separator(level=level).eval()
    (output,), _, _ = separator(torch.zeros(1, 5000), torch.tensor([5000]))
    assert not output.any()


@pytest.mark.parametrize("pcs_output", ["boosted", "natural"])
@pytest.mark.parametrize("level", ["rms", "none"])
def test_silence_among_speech_leaves_the_gradients_of_a_waveform_loss_finite(
    level, pcs_output
):
    separator = tiny_separator(level=level, pcs_output=pcs_output)
    wave, lengths = speech_like(5000, 4000)
    wave[1] = 0
    (output,), _, _ = separator(wave, lengths)
    output.square().sum().backward()
    for name, parameter in separator.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("options", [RESIDUAL, SMALL], ids=["flat", "bands"])
def test_bfloat16_autocast_agrees_with_float32(options):
    """To 2 % of the peak: bfloat16 keeps 8 bits of mantissa."""
    wave, lengths = speech_like(8000, 6000)
    separator = tiny_separator(**options, pcs_output="natural").eval()
    with torch.no_grad():
        (exact,), _, _ = separator(wave, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (rough,), _, _ = separator(wave, lengths)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("options", [RESIDUAL, SMALL], ids=["flat", "bands"])
def test_bfloat16_training_step_has_finite_gradients(options):
    separator = tiny_separator(**options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        training_step(separator, *speech_like(4000, 3000))
    for name, parameter in separator.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("options", [RESIDUAL, SMALL], ids=["flat", "bands"])
@pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-5), (torch.bfloat16, 0.05)]
)
def test_a_model_in_another_precision_agrees(dtype, tolerance, options):
    """As ESPnet's enh_inference --dtype converts it."""
    wave, lengths = speech_like(8000, 6000)
    separator = tiny_separator(**options, pcs_output="natural").eval()
    with torch.no_grad():
        (exact,), _, _ = separator(wave, lengths)
        (other,), _, _ = separator.to(dtype)(wave.to(dtype), lengths)
    assert other.dtype == dtype
    assert (other.float() - exact).abs().max() < tolerance * exact.abs().max()


@pytest.mark.parametrize("options", [{}, SMALL], ids=["flat", "bands"])
@pytest.mark.parametrize("length", [1, 50, 399, 400, 401])
def test_signals_shorter_than_a_window_come_back_at_their_length(length, options):
    wave, lengths = speech_like(length)
    (output,), _, _ = tiny_separator(**options).eval()(wave, lengths)
    assert output.shape == wave.shape and torch.isfinite(output).all()


@pytest.mark.parametrize("hop_length", [1, 200])
def test_up_to_half_a_window_every_hop_reaches_a_signals_end(hop_length):
    separator = tiny_separator(hop_length=hop_length).eval()
    for length in (1, 199, 200, 399, 400):
        wave, lengths = speech_like(length)
        (output,), _, _ = separator(wave, lengths)
        assert output.shape == wave.shape and torch.isfinite(output).all()


def test_wrong_inputs_are_told():
    separator = tiny_separator()
    with pytest.raises(UserError, match="one channel"):
        separator(torch.zeros(1, 4000, 2), torch.tensor([4000]))
    with pytest.raises(UserError, match="without samples"):
        separator(torch.zeros(2, 4000), torch.tensor([4000, 0]))
    with pytest.raises(UserError, match="encoder: same"):
        BSPMPNetSeparator(257, **TINY)


def test_a_mask_of_the_phase_is_no_reading_of_the_bands():
    with pytest.raises(UserError, match="phase_path: mask goes with decoder: flat"):
        tiny_separator(decoder="bands")


def test_a_training_step_without_a_waveform_loss_synthesises_none():
    separator = tiny_separator()
    syntheses = []
    inverse = separator.bsp_mpnet.spectrum.inverse
    separator.bsp_mpnet.spectrum.inverse = lambda *a: syntheses.append(1) or inverse(*a)
    separator.waveform_in_training = False
    wave, lengths = speech_like(4000, 3000)
    (output,), _, _ = separator.train()(wave, lengths)
    assert output.shape == wave.shape and output.isnan().all()  # to be used by nobody
    assert torch.isfinite(training_step(separator, wave, lengths)) and not syntheses
    (output,), _, _ = separator.eval()(wave, lengths)
    assert output.isfinite().all() and syntheses


def test_the_defaults_build():
    separator = BSPMPNetSeparator(1, checkpoint="random")
    assert len(separator.bsp_mpnet.ssl.model.encoder.layers) == 24
    assert separator.bsp_mpnet.magnitude_path.rema.project_in.out_features == 512
    assert separator.num_spk == 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_every_key_of_every_configuration_is_an_argument(path):
    options = yaml.safe_load(path.read_text())
    if path.name.startswith("train_") or "separator_conf" in options:
        options = options.get("separator_conf", {})
    known = inspect.signature(BSPMPNetSeparator).parameters
    assert set(options) <= set(known)


def test_every_option_of_the_separator_is_documented():
    for name in inspect.signature(BSPMPNetSeparator).parameters:
        assert (
            f"        {name}: "
            in f"    {inspect.getdoc(BSPMPNetSeparator)}".replace("\n", "\n    ")
        ), name
