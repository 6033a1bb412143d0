"""Long recordings in bounded memory: read, enhanced and given out block by block."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from espnet2_bspmpnet.enh.separator import SILENCE_RMS
from espnet2_bspmpnet.inference.windows import OVERLAP, overlap_add, window_spans
from espnet2_bspmpnet.network.bsp_mpnet import Estimate

if TYPE_CHECKING:
    from espnet2_bspmpnet.inference.enhancer import Enhancer


class Source(Protocol):
    """Anything that gives its samples piece by piece, such as data/recordings.py's."""

    rate: int
    channels: int
    frames: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Give samples [channels, stop - start], float32 in [-1, 1]."""


@dataclass(frozen=True)
class InMemory:
    """An array [channels, samples] as a recording."""

    wave: np.ndarray
    rate: int

    @property
    def channels(self) -> int:
        return len(self.wave)

    @property
    def frames(self) -> int:
        return self.wave.shape[1]

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.wave[:, start:stop]


class Stream:
    """The enhanced samples of a long recording, block by block, in order.

    All windows are enhanced under one level.  The recording is read twice; with
    ``pcs_output: boosted`` the network runs twice, as one loudness is for all, too.

    Args:
        enhancer: what enhances.
        recording: what is enhanced.
    """

    def __init__(self, enhancer: "Enhancer", recording: Source):
        self.enhancer = enhancer
        self.recording = recording
        self.rate = recording.rate
        self.spans = window_spans(recording.frames, self.rate, enhancer.window)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield enhanced samples [C, n], float32."""
        levels = self._levels()
        loudness = self._loudness(levels)
        yield from overlap_add(self._windows(levels, loudness), OVERLAP * self.rate)

    def _windows(self, levels: Tensor, loudness: Tensor) -> Iterator[np.ndarray]:
        for start, stop in self.spans:
            wave = self.recording.read(start, stop)
            low = self.enhancer.at_network_rate(wave, self.rate)
            enhanced = []
            for channel, level, factor in zip(low, levels, loudness, strict=True):
                separator = self.enhancer.separator
                with self.enhancer.computing():  # channel by channel: less memory
                    estimate, lengths = self._estimate(channel, level)
                    boosted = separator.pcs_output == "boosted"
                    made = separator.bsp_mpnet.waveform(estimate, lengths, boosted)
                enhanced.append((made[0] * (factor / level)).cpu().numpy())
            yield self.enhancer.finish(wave, low, np.stack(enhanced), self.rate)

    def _estimate(self, channel: np.ndarray, level: Tensor) -> tuple[Estimate, Tensor]:
        wave, lengths = self.enhancer.padded([channel])
        return self.enhancer.separator.bsp_mpnet(wave * level, lengths), lengths

    def _levels(self) -> Tensor:
        """Gain [C] that brings the whole recording to the network's level."""
        energy, length = np.zeros(self.recording.channels), 0
        hop = self.enhancer.window * self.rate
        for start in range(0, self.recording.frames, hop):
            stop = min(start + hop, self.recording.frames)
            low = self.enhancer.at_network_rate(
                self.recording.read(start, stop), self.rate
            )
            energy += np.square(low, dtype=np.float64).sum(axis=1)
            length += low.shape[1]
        rms = torch.from_numpy(np.sqrt(energy / length)).float()
        return self.enhancer.separator.gain_to_level(rms).to(self.enhancer.device)

    def _loudness(self, levels: Tensor) -> Tensor:
        """Factor [C] that gives the boosted output the loudness of the natural one."""
        separator = self.enhancer.separator
        if separator.pcs_output == "natural":
            return torch.ones_like(levels)
        energies = levels.new_zeros(2, len(levels), dtype=torch.float64)
        for start, stop in self.spans:
            wave = self.recording.read(start, stop)
            low = self.enhancer.at_network_rate(wave, self.rate)
            for place, (channel, level) in enumerate(zip(low, levels, strict=True)):
                with self.enhancer.computing():
                    estimate, lengths = self._estimate(channel, level)
                    for kind in (False, True):
                        made = separator.bsp_mpnet.waveform(estimate, lengths, kind)
                        energies[int(kind), place] += made.double().square().sum()
        natural, boosted = energies.clamp(min=SILENCE_RMS**2)
        return (natural / boosted).sqrt().to(levels.dtype)
