"""Which frames of a padded batch are real."""

import torch
from torch import Tensor


def frame_mask(frames: Tensor, num_frames: int) -> Tensor:
    """Say which of T = ``num_frames`` frames are real, bool [B, T].

    Of row b these are the first ``frames[b]``, with frames [B].
    """
    index = torch.arange(num_frames, device=frames.device)
    return index.unsqueeze(0) < frames.unsqueeze(1)
