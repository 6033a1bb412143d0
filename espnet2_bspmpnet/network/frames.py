"""Which frames of a padded batch are real."""

import torch
from torch import Tensor


def frame_mask(frames: Tensor, num_frames: int) -> Tensor:
    """Say which frames of a padded batch are real.

    Args:
        frames: number of real frames [B].
        num_frames: number of frames of the batch, T.

    Returns:
        bool [B, T], true for the first ``frames[b]`` of each row.
    """
    index = torch.arange(num_frames, device=frames.device)
    return index.unsqueeze(0) < frames.unsqueeze(1)
