"""FS-SSL: weighted layers (Eq. 3), gates (Eqs. 4-5), frames aligned by their centres."""

import pytest
import torch

from espnet2_bspmpnet.network.fs_ssl import (
    FSSSL,
    FrameAlignment,
    Gate,
    LayerWeights,
    weighted_sums,
)

ALIGNMENT = FrameAlignment(hop_length=100, stride=320, receptive_field=400)


def test_weights_are_uniform_at_the_start():
    assert torch.allclose(LayerWeights(4)(), torch.full((4,), 0.25))


def test_weights_lie_between_0_and_1_and_sum_to_1():
    weigh = LayerWeights(4)
    torch.nn.init.normal_(weigh.logits, std=3)
    weights = weigh()
    assert weights.min() > 0 and weights.max() < 1
    assert weights.sum().item() == pytest.approx(1)


def test_each_path_has_its_own_sum_of_the_layers():
    layers = [torch.randn(2, 5, 8) for _ in range(3)]
    weights = [torch.rand(3), torch.rand(3)]
    sums = weighted_sums(iter(layers), weights)
    for f, w in zip(sums, weights, strict=True):
        assert torch.allclose(f, sum(w_i * z for w_i, z in zip(w, layers)), atol=1e-6)


@pytest.mark.parametrize("number", [2, 4])
def test_another_number_of_layers_is_refused(number):
    with pytest.raises(ValueError, match="shorter|longer"):
        weighted_sums([torch.zeros(1, 1, 1)] * number, [torch.ones(3)])


def test_gate_is_equation_4():
    gate, x = Gate(8), torch.randn(2, 5, 8)
    hidden = torch.relu(x @ gate.down.weight.T + gate.down.bias)
    expected = torch.sigmoid(hidden @ gate.up.weight.T + gate.up.bias) * x
    assert gate.down.weight.shape == (2, 8)  # bottleneck of D / 4
    assert torch.allclose(gate(x), expected)


def test_a_click_lands_in_the_frame_whose_centre_it_is():
    """SSL frame 5 is centred on sample 320 * 5 + 200 = 1800: STFT frame 18."""
    features = torch.zeros(1, 10, 1)
    features[0, 5] = 1
    aligned = ALIGNMENT(features, torch.tensor([10]), 35)[0, :, 0]
    assert aligned.argmax().item() == 18
    assert aligned[18].item() == pytest.approx(1)


def test_between_two_centres_it_is_linear_in_time():
    features = torch.arange(10.0).reshape(1, 10, 1)
    aligned = ALIGNMENT(features, torch.tensor([10]), 35)[0, :, 0]
    for t in range(2, 31):  # from the first centre (200) to the last (3080)
        assert aligned[t].item() == pytest.approx((100 * t - 200) / 320, abs=1e-5)
    assert aligned[0] == aligned[1] == 0 and aligned[34] == 9  # held at the ends


def test_a_padded_batch_gives_what_each_gives_alone():
    features = torch.randn(2, 10, 4)
    frames = torch.tensor([10, 6])
    together = ALIGNMENT(features, frames, 35)
    alone = ALIGNMENT(features[1:, :6], frames[1:], 22)
    assert torch.allclose(together[1, :22], alone[0])


def test_both_paths_have_their_own_weights_and_gates():
    fs_ssl = FSSSL(3, 8, ALIGNMENT)
    layers = [torch.randn(1, 5, 8) for _ in range(3)]
    with torch.no_grad():
        fs_ssl.layer_weights["phase"].logits[2] = 50  # only the last layer
    features = fs_ssl(layers, torch.tensor([5]), 10)
    gate = fs_ssl.gates["phase"]
    expected = ALIGNMENT(gate(layers[2]), torch.tensor([5]), 10)
    assert torch.allclose(features["phase"], expected, atol=1e-5)
    assert not torch.allclose(features["magnitude"], features["phase"])


def test_without_fs_ssl_one_plain_sum_serves_both_paths():
    fs_ssl = FSSSL(3, 8, ALIGNMENT, separate=False)
    assert [name for name, _ in fs_ssl.named_parameters()] == [
        "layer_weights.shared.logits"
    ]
    layers = [torch.randn(1, 5, 8) for _ in range(3)]
    features = fs_ssl(layers, torch.tensor([5]), 10)
    assert torch.equal(features["magnitude"], features["phase"])
