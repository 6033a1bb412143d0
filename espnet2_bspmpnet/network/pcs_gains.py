"""The gains of perceptual contrast stretching, without torch (Eq. 2).

They are those published by Chao et al., "Perceptual contrast stretching on target feature
for speech enhancement" (Interspeech 2022), reference [16] of the paper, for 16 kHz.
"""

import numpy as np

# First bin, one past the last bin, gain; for the 257 bins of a 512-point FFT at 16 kHz.
BANDS = (
    (0, 3, 1.0),
    (3, 6, 1.070175439),
    (6, 9, 1.182456140),
    (9, 12, 1.287719298),
    (12, 138, 1.4),
    (138, 166, 1.322807018),
    (166, 200, 1.238596491),
    (200, 241, 1.161403509),
    (241, 256, 1.077192982),
    (256, 257, 1.0),
)


def pcs_gains(num_bins: int = 257) -> np.ndarray:
    """Give W(f) of Eq. 2 for bins evenly spaced from 0 to 8 kHz.

    Args:
        num_bins: F.  257 gives the published table; other numbers interpolate it
            linearly in frequency.

    Returns:
        gains [F].

    Raises:
        ValueError: for fewer than two bins.
    """
    if num_bins < 2:
        raise ValueError(f"PCS needs two frequency bins or more, not {num_bins}")
    table = np.concatenate([np.full(stop - start, gain) for start, stop, gain in BANDS])
    position = np.linspace(0, len(table) - 1, num_bins)
    return np.interp(position, np.arange(len(table)), table)
