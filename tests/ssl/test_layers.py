"""The transformer's layers: s3prl's numbers and gradients, in less memory."""

import math

import pytest
import torch

from tests.networks import speech_like
from tests.ssl_models import FORMS, every_form, layers_of, tiny_ssl


def s3prl_layer_outputs(ssl, x, padding):
    """What s3prl's own forward of the transformer's layers gives, in its [S, B, C]."""
    x, bias, outputs = x.transpose(0, 1), None, []
    for layer in ssl.model.encoder.layers:
        if "gru_rel_pos" in ssl.architecture:
            x, _, bias = layer(x, self_attn_padding_mask=padding, pos_bias=bias)
        else:
            x, _ = layer(x, self_attn_padding_mask=padding)
        outputs.append(x.transpose(0, 1))
    return outputs


@every_form
@pytest.mark.parametrize("recomputing", [False, True])
def test_gradients_are_those_of_s3prl(form, recomputing):
    undropped = {"dropout": 0.0, "attention_dropout": 0.0}
    upstream, conf, _ = FORMS[form]
    conf = {**conf, **undropped}
    ssl = tiny_ssl(upstream, conf, gradient_checkpointing=recomputing)
    twin = tiny_ssl(upstream, conf)
    wave, lengths = speech_like(6000, 4000)
    layers, frames = ssl.train()(wave, lengths)
    real = torch.arange(int(frames.max())) < frames[:, None]
    weighted = [
        layer * real[:, :, None] * number for number, layer in enumerate(layers)
    ]
    sum(layer.square().sum() for layer in weighted).backward()

    twin.train()
    x = twin._encode_positions(twin._encode_frames(wave, lengths), real)
    outputs = s3prl_layer_outputs(twin, x, padding_of(twin, real))
    if twin.model.encoder.layer_norm_first:
        outputs[-1] = twin.model.encoder.layer_norm(outputs[-1])
    reference = [out * real[:, :, None] * number for number, out in enumerate(outputs)]
    sum(layer.square().sum() for layer in reference).backward()
    expected = {name: parameter.grad for name, parameter in twin.named_parameters()}
    largest = max(float(grad.abs().max()) for grad in expected.values())
    for name, parameter in ssl.named_parameters():
        tolerance = {"rtol": 1e-3, "atol": 1e-5 * largest}
        assert torch.allclose(parameter.grad, expected[name], **tolerance), name


def padding_of(ssl, real):
    """The mask that this family's attention of s3prl takes."""
    if "gru_rel_pos" in ssl.architecture:  # of the type of its bias
        return torch.zeros(real.shape).masked_fill(~real, -math.inf)
    return ~real


def test_relative_position_and_its_gate_take_part():
    wave, lengths = speech_like(8000)
    ssl = tiny_ssl().eval()
    for parameter in ssl.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    before = layers_of(ssl, wave, lengths)[0][-1]
    attention = ssl.model.encoder.layers[0].self_attn
    for changed in ("relative_attention_bias.weight", "grep_linear.weight", "grep_a"):
        with torch.no_grad():
            torch.nn.init.normal_(attention.get_parameter(changed), std=2.0)
        after = layers_of(ssl, wave, lengths)[0][-1]
        assert not torch.allclose(after, before, atol=1e-4), changed
        before = after
