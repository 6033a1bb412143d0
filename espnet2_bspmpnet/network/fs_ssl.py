"""Feature-separated self-supervised features, FS-SSL (Eqs. 3-5)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class LayerWeights(nn.Module):
    """Weights w_i in (0, 1) of the layers, which sum to 1: w in Eq. 3.

    They are a softmax, uniform at the start.

    Args:
        num_layers: N.
    """

    def __init__(self, num_layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers))

    def forward(self) -> Tensor:
        """The weights w_i [N]."""
        return self.logits.softmax(0)


def weighted_sums(layers: Iterable[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """F = sum_i w_i . z_i (Eq. 3), for several w at once.

    The layers are added up as they come: none needs to be kept for the sums.

    Args:
        layers: the layers' outputs z_i, N times [B, S, D].
        weights: each [N].

    Returns:
        F for each of ``weights`` [B, S, D].

    Raises:
        ValueError: not as many layers as weights.
    """
    sums = []
    for layer, *shares in zip(layers, *weights, strict=True):
        if sums:
            sums = [torch.addcmul(f, w, layer) for f, w in zip(sums, shares)]
        else:
            sums = [w * layer for w in shares]
    return sums


class Gate(nn.Module):
    """F' = Sigmoid(Linear(ReLU(Linear(F)))) * F (Eqs. 4 and 5).

    Args:
        width: D; the bottleneck has D / 4.
    """

    def __init__(self, width: int):
        super().__init__()
        bottleneck = max(width // 4, 1)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)

    def forward(self, features: Tensor) -> Tensor:
        """Filter features [B, S, D] value by value."""
        return self.up(self.down(features).relu()).sigmoid() * features


class FrameAlignment(nn.Module):
    """Linear interpolation from SSL frames to STFT frames, centre to centre.

    STFT frame t is centred on sample hop . t, SSL frame s on sample
    stride . s + receptive_field / 2.  Before the first and after the last SSL centre
    the nearest frame is held.

    Args:
        hop_length: STFT hop in samples.
        stride: SSL stride in samples.
        receptive_field: SSL receptive field in samples.
    """

    def __init__(self, hop_length: int, stride: int, receptive_field: int):
        super().__init__()
        self.hop_length = hop_length
        self.stride = stride
        self.offset = receptive_field / 2

    def forward(self, features: Tensor, frames: Tensor, num_frames: int) -> Tensor:
        """Interpolate.

        Args:
            features: SSL features [B, S, D].
            frames: real SSL frames of each utterance [B].
            num_frames: STFT frames of the batch, T.

        Returns:
            features at the STFT frames [B, T, D].
        """
        centre = torch.arange(num_frames, device=features.device) * self.hop_length
        position = (centre - self.offset) / self.stride  # in SSL frames [T]
        last = (frames - 1).unsqueeze(1)
        position = position.unsqueeze(0).clamp(min=0).minimum(last)  # [B, T]
        before = position.floor().long()
        after = (before + 1).minimum(last)
        share = (position - before).unsqueeze(2).to(features.dtype)
        rows = torch.arange(len(features), device=features.device).unsqueeze(1)
        return torch.lerp(features[rows, before], features[rows, after], share)


class FSSSL(nn.Module):
    """Separate SSL layers into magnitude- and phase-related features.

    Args:
        num_layers: N, layers offered by the SSL model.
        width: D.
        alignment: SSL frames -> STFT frames.
        paths: the paths to serve, of "magnitude" and "phase".
        separate: false is the paper's "w/o FS-SSL": one weighted sum shared by both
            paths, and no gates.
    """

    def __init__(
        self,
        num_layers: int,
        width: int,
        alignment: FrameAlignment,
        paths: tuple[str, ...] = ("magnitude", "phase"),
        separate: bool = True,
    ):
        super().__init__()
        self.paths = paths
        self.alignment = alignment
        names = paths if separate else ("shared",)
        self.layer_weights = nn.ModuleDict({n: LayerWeights(num_layers) for n in names})
        self.gates = nn.ModuleDict({n: Gate(width) for n in paths if separate})

    def forward(
        self, layers: Iterable[Tensor], frames: Tensor, num_frames: int
    ) -> dict[str, Tensor]:
        """Compute F'_m and F'_p.

        Args:
            layers: the SSL layers' outputs z_i, N times [B, S, D].
            frames: real SSL frames [B].
            num_frames: T.

        Returns:
            features [B, T, D] of each path.
        """
        weights = [weights() for weights in self.layer_weights.values()]
        features = {}
        for name, summed in zip(self.layer_weights, weighted_sums(layers, weights)):
            if name in self.gates:
                summed = self.gates[name](summed)
            features[name] = self.alignment(summed, frames, num_frames)
        return {path: features.get(path, features.get("shared")) for path in self.paths}
