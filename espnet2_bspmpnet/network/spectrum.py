"""Waveform <-> compressed magnitude and phase (Eq. 1)."""

import math

import torch
from torch import Tensor, nn


def wrap_phase(phase: Tensor) -> Tensor:
    """Bring angles in radians back to [-pi, pi] without touching their gradient."""
    return phase - 2 * math.pi * torch.round(phase / (2 * math.pi))


def modulus(spectrum: Tensor, smallest: float = 1e-6) -> Tensor:
    """Magnitude of a complex spectrum, of ``smallest`` or more.

    Its gradient is finite everywhere; torch's abs and angle have NaN where a value, or
    its square, underflows, as in the tail of a filter that has nearly died away.
    """
    power = torch.view_as_real(spectrum).square().sum(-1)
    return power.clamp(min=smallest**2).sqrt()


# Windows by name: samples -> values.
WINDOWS = {
    "hamming": torch.hamming_window,
    "hann": torch.hann_window,
    "sqrt_hann": lambda length: torch.hann_window(length).sqrt(),
}


class Spectrum(nn.Module):
    """Centred short-time Fourier transform with zero padding.

    Zero padding, as reflecting the padded end of a batch would make an utterance's last
    frames depend on its neighbours.  Always computed in float32.

    Args:
        n_fft: FFT length in samples; gives F = n_fft / 2 + 1 bins.
        win_length: window length in samples.
        hop_length: hop in samples.
        window: a name in WINDOWS.
    """

    def __init__(
        self,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 100,
        window: str = "hamming",
    ):
        super().__init__()
        self.hop_length = hop_length
        # The Hann windows vanish at their ends: the last samples need one window more.
        self._tail = 0 if window == "hamming" else hop_length - 1
        self._options = {
            "n_fft": n_fft, "win_length": win_length, "hop_length": hop_length
        }  # fmt: skip
        self.register_buffer("window", WINDOWS[window](win_length), persistent=False)

    @property
    def num_bins(self) -> int:
        """Number of frequency bins, F."""
        return self._options["n_fft"] // 2 + 1

    def num_frames(self, lengths: Tensor | int) -> Tensor | int:
        """Number of frames of signals of ``lengths`` samples [B]: one per centre."""
        return (lengths + self._tail) // self.hop_length + 1

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Analyse: X' = log(1 + abs(STFT(x))) and angle(STFT(x)).

        Args:
            wave: waveform in [-1, 1], zero in its padding [B, L].

        Returns:
            magnitude X' and phase in radians in (-pi, pi], each [B, F, T].
        """
        spectrum = self._stft(wave)
        return torch.log1p(spectrum.abs()), spectrum.angle()

    def compressed(self, wave: Tensor) -> Tensor:
        """Analyse [B, L] to the complex spectrum [B, F, T] of X' and the phase.

        Its gradient is finite everywhere, see :func:`modulus`.
        """
        spectrum = self._stft(wave)
        magnitude = modulus(spectrum)  # log(1 + |X|) is |X| below the smallest
        return spectrum * (magnitude.log1p() / magnitude)

    def _stft(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            return torch.stft(
                nn.functional.pad(wave.float(), (0, self._tail)),
                **self._options,
                window=self.window.float(),
                center=True,
                pad_mode="constant",
                return_complex=True,
            )

    def inverse(self, magnitude: Tensor, phase: Tensor, lengths: Tensor) -> Tensor:
        """Synthesise: expm1 of the magnitude with the phase, exactly ``lengths`` long.

        Each length is synthesised apart: the overlap-add of a shorter utterance must
        not be divided by windows of frames that only its neighbours have.

        Args:
            magnitude: X' [B, F, T]; negative values count as 0.
            phase: radians [B, F, T].
            lengths: samples of each utterance [B].

        Returns:
            waveform [B, max(lengths)], zero beyond each length.
        """
        with torch.autocast(magnitude.device.type, enabled=False):
            linear = torch.expm1(magnitude.float().clamp(min=0))
            spectrum = torch.polar(linear, phase.float())
            wave = linear.new_zeros(len(lengths), int(lengths.max()))
            for length in lengths.unique().tolist():
                rows = (lengths == length).nonzero().flatten()
                part = spectrum[rows, :, : self.num_frames(length)]
                part = torch.istft(
                    part, **self._options, window=self.window.float(), length=length
                )
                padded = nn.functional.pad(part, (0, wave.size(1) - length))
                wave = wave.index_copy(0, rows, padded)
            return wave
