"""Enhance anything: arrays, batches and streams, of any rate and number of channels.

    from espnet2_bspmpnet import Enhancer

    enhance = Enhancer.from_pretrained()  # the model in the box, or one of your own
    clean = enhance(noisy, 44100)  # [samples] or [channels, samples]

The network works at 16 kHz on one channel; around it, each channel is enhanced apart,
rates are changed, what lies above 8 kHz follows, and long recordings go in windows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from espnet2_bspmpnet.data.audio import resample
from espnet2_bspmpnet.enh.options import PCS_OUTPUTS
from espnet2_bspmpnet.enh.separator import BSPMPNetSeparator
from espnet2_bspmpnet.errors import UserError, first_line
from espnet2_bspmpnet.inference.high_band import HIGH_BANDS, at_samples, octave_gains
from espnet2_bspmpnet.inference.models import load_model
from espnet2_bspmpnet.inference.stream import InMemory, Source, Stream
from espnet2_bspmpnet.inference.windows import (
    MEMORY,
    SHORTEST,
    attention_bytes,
    longest_window,
)
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

MOST_ROWS = {"cpu": 4}  # of a batch: more fit into no cache, and are slower
MOST_ROWS_ELSEWHERE = 32
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Mixing:
    """How much of the noisy signal is mixed back, and what is above 8 kHz.

    Args:
        strength: 1 gives the enhanced signal, 0 the noisy one.
        attenuation_limit: in dB, by which noise is lowered at most; None for no limit.
        high_band: of a recording above 16 kHz, what lies above 8 kHz "follow"s the gain
            that the network gives its highest octave, is "keep"t or "drop"ped.

    Raises:
        UserError: a value that is not allowed, with those that are.
    """

    strength: float = 1.0
    attenuation_limit: float | None = None
    high_band: str = "follow"

    def __post_init__(self):
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength: {self.strength} must be from 0 to 1")
        if self.attenuation_limit is not None and not self.attenuation_limit >= 0:
            raise UserError(
                f"attenuation_limit: {self.attenuation_limit} dB must be 0 or more"
            )
        if self.high_band not in HIGH_BANDS:
            allowed = ", ".join(HIGH_BANDS)
            raise UserError(f"high_band: {self.high_band!r} is not one of {allowed}")

    @property
    def noisy_share(self) -> float:
        """Amplitude of the noisy signal in the output, from 0 to 1."""
        limit = self.attenuation_limit
        floor = 0.0 if limit is None else 10 ** (-limit / 20)
        return 1.0 - self.strength * (1.0 - floor)


class Enhancer:
    """A trained BSP-MPNet, for any recording.

    Args:
        separator: the trained network.
        device: where it runs, e.g. "cpu" or "cuda".
        precision: "float32", or "bfloat16" for mixed precision.
        pcs_output: "natural", or "boosted" by PCS at the loudness of the natural one.
        strength, attenuation_limit, high_band: see :class:`Mixing`.
        window: seconds of a window, in which longer recordings are enhanced; None
            takes what fits into 2 GiB.

    Raises:
        UserError: a value that is not allowed, with those that are.
    """

    def __init__(
        self,
        separator: BSPMPNetSeparator,
        *,
        device: str = "cpu",
        precision: str = "float32",
        pcs_output: str = "natural",
        strength: float = 1.0,
        attenuation_limit: float | None = None,
        high_band: str = "follow",
        window: int | None = None,
    ):
        for name, value, allowed in (
            ("precision", precision, PRECISIONS),
            ("pcs_output", pcs_output, PCS_OUTPUTS),
        ):
            if value not in allowed:
                raise UserError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
        if window is not None and window < SHORTEST:
            raise UserError(f"window: {window} s must be {SHORTEST} s or more")
        self.mixing = Mixing(strength, attenuation_limit, high_band)
        self.device = _device(device)
        self.precision = precision
        self.separator = separator.eval().to(self.device)
        self.separator.pcs_output = pcs_output
        self._window = window

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        *,
        model_file: str | None = None,
        pcs_output: str | None = "natural",
        **options,
    ) -> "Enhancer":
        """Load a model of any origin; nothing that it contains is run.

        Args:
            model: folder of an experiment, a packed model, a name in espnet_model_zoo
                or on the Hugging Face hub, or a copy of one; None takes the small one
                that comes with the package.
            model_file: which of an experiment's models; None takes the best.
            pcs_output: "natural" or "boosted"; None keeps what the configuration says.
            options: see :class:`Enhancer`.

        Raises:
            UserError: no such model, a damaged or malicious one, or a wrong option.
        """
        loaded = load_model(model, model_file=model_file, pcs_output=pcs_output)
        return cls(loaded.separator, pcs_output=loaded.separator.pcs_output, **options)

    @cached_property
    def window(self) -> int:
        """Seconds of a window; what is no longer is enhanced whole."""
        return self._window or longest_window(self.separator)

    def __call__(self, wave: np.ndarray | Tensor, rate: int) -> np.ndarray | Tensor:
        """Enhance one recording.

        Args:
            wave: samples in [-1, 1], [samples] or [channels, samples].
            rate: samples per second.

        Returns:
            the same kind of array, of the same shape and type.

        Raises:
            UserError: samples that are not finite, no samples, or a wrong shape.
        """
        return self.batch([wave], rate)[0]

    def batch(self, waves: Sequence[np.ndarray | Tensor], rate: int) -> list:
        """Enhance several recordings of one rate; each gives what it would give alone.

        Args:
            waves: each [samples] or [channels, samples], see `__call__`.
            rate: samples per second.
        """
        rate = _checked_rate(rate)
        found: list[np.ndarray | None] = [None] * len(waves)
        arrays = [_as_array(wave) for wave in waves]
        short = [i for i, x in enumerate(arrays) if not self.is_long(x.shape[-1], rate)]
        for places in self.plan([arrays[i].shape for i in short], rate):
            rows = [short[place] for place in places]
            for row, enhanced in zip(
                rows, self._batch([arrays[i] for i in rows], rate)
            ):
                found[row] = enhanced
        for i, enhanced in enumerate(found):
            if enhanced is None:
                stream = self.stream(InMemory(arrays[i], rate))
                found[i] = np.concatenate(list(stream), axis=1)
        return [_like(x, wave) for x, wave in zip(found, waves, strict=True)]

    def stream(self, recording: Source) -> Stream:
        """Enhance a recording of any length in bounded memory; see :class:`Stream`."""
        return Stream(self, recording)

    def is_long(self, length: int, rate: int) -> bool:
        """Say whether a recording of ``length`` samples is enhanced in windows."""
        return length > self.window * rate

    def plan(self, shapes: Sequence[tuple[int, int]], rate: int) -> list[list[int]]:
        """Put short recordings into batches of nearly equal length that fit in memory.

        Args:
            shapes: channels and samples of each.
            rate: samples per second of all.

        Returns:
            places of ``shapes``, in batches.
        """
        batches: list[list[int]] = []
        rows, room = 0, 0.0
        for place in sorted(range(len(shapes)), key=lambda i: -shapes[i][1]):
            channels, length = shapes[place]
            seconds = max(length / rate, 1.0)
            full = rows and (rows + channels) * attention_bytes(self.separator, room)
            # Padding is computed as well: not with what is half as long.
            if (
                not batches
                or full > MEMORY
                or rows >= self._most_rows
                or seconds < room / 2
            ):
                batches.append([])
                rows, room = 0, seconds
            batches[-1].append(place)
            rows += channels
        return batches

    def _batch(self, waves: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
        noisy = [self.at_network_rate(wave, rate) for wave in waves]
        enhanced = self._rows([row for wave in noisy for row in wave])
        found = []
        for wave, low in zip(waves, noisy, strict=True):
            own = np.stack([next(enhanced)[: low.shape[1]] for _ in low])
            found.append(self.finish(wave, low, own, rate))
        return found

    def _rows(self, rows: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Enhance rows [L], so many at a time as fit: one recording may have more."""
        seconds = max(map(len, rows)) / SAMPLE_RATE
        fitting = int(MEMORY / attention_bytes(self.separator, max(seconds, 1.0)))
        most = max(1, min(fitting, self._most_rows))
        for first in range(0, len(rows), most):
            with self.computing():
                part = self.padded(rows[first : first + most])
                (enhanced,), _, _ = self.separator(*part)
            yield from enhanced.cpu().numpy()

    @property
    def _most_rows(self) -> int:
        return MOST_ROWS.get(self.device.type, MOST_ROWS_ELSEWHERE)

    def at_network_rate(self, wave: np.ndarray, rate: int) -> np.ndarray:
        """Resample [C, n] to what the network takes."""
        length = max(1, round(wave.shape[1] * SAMPLE_RATE / rate))
        return _resampled(wave, rate, SAMPLE_RATE, length)

    def padded(self, rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Put rows into a batch [B, L] on the device, and give their lengths [B]."""
        lengths = torch.tensor([len(row) for row in rows])
        batch = torch.zeros(len(rows), int(lengths.max()))
        for place, row in enumerate(rows):
            batch[place, : len(row)] = torch.from_numpy(row)
        return batch.to(self.device), lengths.to(self.device)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within this context the network computes in the precision asked for."""
        mixed = self.precision == "bfloat16"
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=mixed)
        with torch.inference_mode(), autocast:
            yield

    def finish(
        self, wave: np.ndarray, low: np.ndarray, enhanced: np.ndarray, rate: int
    ) -> np.ndarray:
        """Bring the network's output to the rate of its input, and mix.

        Args:
            wave: the recording [C, n] at ``rate``.
            low: the same at 16 kHz, as the network was given it [C, L].
            enhanced: what the network made of it [C, L].
            rate: samples per second of ``wave``.

        Returns:
            [C, n], float32.
        """
        length = wave.shape[1]
        output = _resampled(enhanced, SAMPLE_RATE, rate, length)
        if rate > SAMPLE_RATE and self.mixing.high_band != "drop":
            above = wave - _resampled(low, SAMPLE_RATE, rate, length)
            if self.mixing.high_band == "follow":
                gains = octave_gains(low, enhanced)
                above = above * at_samples(gains, length, rate, SAMPLE_RATE)
            output = output + above
        share = self.mixing.noisy_share
        if share:
            output = share * wave + (1 - share) * output
        return output.astype(np.float32, copy=False)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device: {name!r} cannot be used: {first_line(error)}"
        ) from None
    return device


def _checked_rate(rate: float) -> int:
    if rate != int(rate) or not 1000 <= rate <= 1_000_000:
        raise UserError(f"rate: {rate} must be a whole number of samples per second")
    return int(rate)


def _as_array(wave: np.ndarray | Tensor) -> np.ndarray:
    """Give float32 samples [C, n] in [-1, 1] of what a user has.

    Raises:
        UserError: see `Enhancer.__call__`.
    """
    array = (
        wave.detach().cpu().numpy() if isinstance(wave, Tensor) else np.asarray(wave)
    )
    if array.ndim not in (1, 2) or array.size == 0:
        raise UserError(
            f"a recording is [samples] or [channels, samples], not {list(array.shape)}"
        )
    if np.issubdtype(array.dtype, np.integer):
        array = array / -float(np.iinfo(array.dtype).min)
    array = np.atleast_2d(np.asarray(array, dtype=np.float32))
    if not np.isfinite(array).all():
        raise UserError(
            "a recording has samples that are NaN or infinite; repair it first"
        )
    return array


def _like(enhanced: np.ndarray, wave: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Give enhanced samples [C, n] the kind, shape and type of what a user had."""
    enhanced = enhanced.reshape(wave.shape)
    dtype = wave.numpy().dtype if isinstance(wave, Tensor) else np.asarray(wave).dtype
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        scale = min(-float(limits.min), limits.max / max(np.abs(enhanced).max(), 1e-9))
        enhanced = np.rint(
            enhanced.astype(np.float64) * scale
        )  # louder: one gain for all
    if isinstance(wave, Tensor):
        return torch.from_numpy(enhanced).to(wave)
    return enhanced.astype(dtype)


def _resampled(wave: np.ndarray, before: int, after: int, length: int) -> np.ndarray:
    """Resample [C, n] to [C, length]; there and back may be a sample off."""
    if before != after:
        wave = np.stack([resample(row, before, after) for row in wave])
    wave = wave[:, :length]
    return np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
