"""Values of options that are not allowed are refused, with those that are."""

import pytest

from espnet2_bspmpnet.errors import UserError
from tests.networks import tiny_separator

BANDS = dict(decoder="bands", phase_path="rotation", num_bands=8)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(phase_path="masc"), "phase_path: 'masc' is not one of mask, residual"),
        (dict(level="peak"), "level: 'peak' is not one of rms, none"),
        (dict(pcs_output="loud"), "pcs_output: 'loud' is not one of boosted, natural"),
        (dict(magnitude_path=False, phase_path="none"), "keep one of the paths"),
        (dict(num_heads=3), "num_heads: 3 must divide decoder_dim"),
        (dict(num_heads=0), "num_heads: 0 must be a whole number of 1 or more"),
        (dict(decoder_dim="wide"), "decoder_dim: 'wide' must be a whole number"),
        (dict(n_fft=511), "n_fft: 511 must be even"),
        (dict(n_fft=256), "win_length: 400 must be at most n_fft"),
        (dict(hop_length=201), "hop_length: 201 must be at most half of win_length"),
        (
            BANDS | dict(num_bands=66),
            "num_bands: 66 must be from 2 to 65 with n_fft: 5",
        ),
        (BANDS | dict(num_bands=1), "num_bands: 1 must be from 2 to 65"),
        (BANDS | dict(n_fft=400, num_bands=52), "must be from 2 to 51 with n_fft: 400"),
    ],
)
def test_values_that_are_not_allowed_name_those_that_are(options, message):
    with pytest.raises(UserError, match=message):
        tiny_separator(**options)


@pytest.mark.parametrize("part", ["coarse_encoder", "rema", "mask_gate"])
def test_the_bands_have_no_parts_of_the_papers_to_switch_off(part):
    with pytest.raises(UserError, match=f"{part}: false goes with decoder: flat"):
        tiny_separator(**BANDS, **{part: False})


@pytest.mark.parametrize(
    "options",
    [
        dict(checkpoint="WavLM-Large.pt"), dict(layers=[1]), dict(save_ssl=False),
        dict(feature_cache="cache"), dict(ssl_lr_scale=0.1),
        dict(gradient_checkpointing=True),
    ],
    ids=str,
)  # fmt: skip
def test_what_asks_for_an_ssl_model_is_refused_where_there_is_none(options):
    (name,) = options
    with pytest.raises(UserError, match=f"{name}: .* upstream: none has none"):
        tiny_separator(upstream="none", **options)


@pytest.mark.parametrize("n_fft, points", [(8, 2), (10, 2), (64, 9), (400, 51)])
def test_there_may_be_as_many_bands_as_points(n_fft, points):
    frames = dict(n_fft=n_fft, win_length=n_fft, hop_length=n_fft // 2)
    separator = tiny_separator(**{**BANDS, **frames, "num_bands": points})
    assert separator.bsp_mpnet.bands.split.shape == (points, points)
    assert all(part.isfinite().all() for part in separator.parameters())
