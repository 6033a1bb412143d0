"""Values of options that are not allowed are refused, with those that are."""

import pytest

from espnet2_bspmpnet.errors import UserError
from tests.networks import tiny_separator


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
    ],
)
def test_values_that_are_not_allowed_name_those_that_are(options, message):
    with pytest.raises(UserError, match=message):
        tiny_separator(**options)
