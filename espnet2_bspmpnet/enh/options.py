"""The separator's options: each check raises a UserError that names what is allowed."""

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.network.bands import num_points
from espnet2_bspmpnet.network.bsp_mpnet import DECODERS, PHASE_PATHS
from espnet2_bspmpnet.network.spectrum import WINDOWS
from espnet2_bspmpnet.ssl.models import RANDOM

LEVELS = ("rms", "none")
PCS_OUTPUTS = ("boosted", "natural")
# What options of the SSL model may be where there is none: nothing is asked of it.
WITHOUT_SSL = {
    "checkpoint": (None, RANDOM),
    "layers": (None,),
    "gradient_checkpointing": (False,),
    "ssl_lr_scale": (1,),
    "save_ssl": (True,),
    "feature_cache": (None,),
}


def check_input_dim(input_dim: int) -> None:
    """Refuse ESPnet's encoders other than ``same``: they give no waveform."""
    if input_dim != 1:
        raise UserError(
            "encoder: bsp_mpnet takes the waveform; use 'encoder: same' and"
            f" 'decoder: same' (the encoder gives {input_dim} channels)"
        )


def check_choices(
    *,
    level: str,
    pcs_output: str,
    window: str,
    decoder: str,
    phase_path: str,
    magnitude_path: bool,
) -> None:
    """Check the options that are one of several words."""
    for name, value, allowed in (
        ("level", level, LEVELS),
        ("pcs_output", pcs_output, PCS_OUTPUTS),
        ("window", window, tuple(WINDOWS)),
        ("decoder", decoder, DECODERS),
        ("phase_path", phase_path, PHASE_PATHS),
    ):
        if value not in allowed:
            raise UserError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    if decoder == "bands" and phase_path == "mask":
        raise UserError(
            "phase_path: mask goes with decoder: flat; with bands choose rotation"
        )
    if not magnitude_path and phase_path == "none":
        raise UserError(
            "magnitude_path: false together with phase_path: none leaves nothing"
            " to estimate; keep one of the paths"
        )


def check_frames(*, n_fft: int, win_length: int, hop_length: int) -> None:
    """Check that every signal is covered by windows."""
    _check_positive(n_fft=n_fft, win_length=win_length, hop_length=hop_length)
    if n_fft % 2:
        raise UserError(f"n_fft: {n_fft} must be even")
    if win_length > n_fft:
        raise UserError(f"win_length: {win_length} must be at most n_fft ({n_fft})")
    if 2 * hop_length > win_length:  # no window would reach some signals' ends
        raise UserError(
            f"hop_length: {hop_length} must be at most half of win_length"
            f" ({win_length})"
        )


def check_sizes(*, decoder_dim: int, num_heads: int, **others: int) -> None:
    """Check the decoder's sizes, and that its channels are shared evenly by the heads."""
    _check_positive(decoder_dim=decoder_dim, num_heads=num_heads, **others)
    if decoder_dim % num_heads:
        raise UserError(
            f"num_heads: {num_heads} must divide decoder_dim ({decoder_dim})"
        )


def check_bands(*, n_fft: int, num_bands: int, **switches: bool) -> None:
    """Check the options of the decoder ``bands``.

    Args:
        n_fft: decides on the most bands.
        num_bands: K.
        switches: of the paper's parts, which this decoder has not.
    """
    most = num_points(n_fft // 2 + 1)
    if not 2 <= num_bands <= most:
        raise UserError(
            f"num_bands: {num_bands} must be from 2 to {most} with n_fft: {n_fft}"
        )
    for name, value in switches.items():
        if not value:
            raise UserError(
                f"{name}: false goes with decoder: flat; the bands have no such part,"
                " leave it out"
            )


def check_without_ssl(**options: object) -> None:
    """Refuse options of an SSL model where there is none."""
    for name, value in options.items():
        if value not in WITHOUT_SSL[name]:
            raise UserError(
                f"{name}: {value!r} asks for an SSL model, but upstream: none has none;"
                " leave out one of the two"
            )


def _check_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name}: {value!r} must be a whole number of 1 or more")
