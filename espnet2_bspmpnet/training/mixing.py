"""Noisy speech made anew each time: clean speech, rooms and noises mixed in training.

ESPnet's own preprocessor adds one noise as it is.  Where noises are few, what is done to
them counts more than their hours: here they are filtered, played at other speeds and added
two at a time; rooms, clipping and narrow bands come to the speech.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

from espnet2_bspmpnet.data.audio import looped, read_audio, resample
from espnet2_bspmpnet.data.datadir import read_scp
from espnet2_bspmpnet.data.speech_level import active_power
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

EARLY = SAMPLE_RATE // 20  # 50 ms after the direct sound: what a listener takes for it
EQUALISER_POINTS = 6  # of a random filter's gain, evenly spaced over octaves
LOWEST, MIDDLE, HIGHEST = 30.0, 1000.0, SAMPLE_RATE / 2  # Hz, between which they lie
BAND_LIMITS = (3000.0, 7500.0)  # Hz
CLIPPED_AT = (0.15, 0.9)  # of the peak
SECOND_NOISE_DB = (0.0, 15.0)  # below the first
RINGING = SAMPLE_RATE // 8  # samples in which a filter's response dies away
SILENT = 1e-10  # power


@dataclass(frozen=True)
class DynamicMixing:
    """What is mixed, and how: the options of the preprocessor of the same names.

    Attributes:
        snr_range: lowest and highest SNR in dB: active speech of the reference over noise.
        noises: files at 16 kHz; without any each pair's own noise is mixed anew.
        responses: files of room impulse responses at 16 kHz; none, no rooms.
        second_noise_prob: of a second noise, 0 to 15 dB below the first.
        noise_speed_range: lowest and highest speed that a noise is played at.
        noise_equaliser_db: standard deviation of the gains of a random filter.
        speech_equaliser_db: likewise, of the speech and its reference.
        reverb_prob: of a room; the reference keeps the first 50 ms of its response.
        clipping_prob: of noisy speech being clipped.
        band_limit_prob: of speech, noise and reference ending below 3 to 7.5 kHz.
    """

    snr_range: Sequence[float]
    noises: Sequence[str] = ()
    responses: Sequence[str] = ()
    second_noise_prob: float = 0.0
    noise_speed_range: Sequence[float] | None = None
    noise_equaliser_db: float = 0.0
    speech_equaliser_db: float = 0.0
    reverb_prob: float = 0.0
    clipping_prob: float = 0.0
    band_limit_prob: float = 0.0

    def __call__(
        self,
        clean: np.ndarray,
        random: np.random.Generator,
        own: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mix.

        Args:
            clean: speech [L] at 16 kHz.
            random: what is left to chance.
            own: noise [L] that the speech came with, used where there are no others.

        Returns:
            noisy speech and its reference, float32 [L].

        Raises:
            UserError: a noise is unreadable.
        """
        speech = equalise(clean, self.speech_equaliser_db, random)
        reference = speech
        if self.responses and random.random() < self.reverb_prob:
            room = _read_response(self.responses[random.integers(len(self.responses))])
            speech, reference = reverberate(speech, room)
        noise = self._noise(len(speech), random, own)
        if random.random() < self.band_limit_prob:  # what is left has the SNR
            edge = random.uniform(*BAND_LIMITS)
            speech, reference, noise = (
                low_pass(wave, edge) for wave in (speech, reference, noise)
            )
        snr = random.uniform(*self.snr_range)
        power = np.mean(noise**2)
        if power > SILENT:
            level = active_power(reference) / 10 ** (snr / 10)
            speech = speech + noise * np.sqrt(level / power, dtype=np.float32)
        if random.random() < self.clipping_prob:
            most = np.abs(speech).max() * random.uniform(*CLIPPED_AT)
            speech = speech.clip(-most, most)
        return speech.astype(np.float32), reference.astype(np.float32)

    def _noise(
        self, length: int, random: np.random.Generator, own: np.ndarray | None
    ) -> np.ndarray:
        noise = self._one_noise(length, random, own)
        if random.random() < self.second_noise_prob:
            second = self._one_noise(length, random, own)
            below = random.uniform(*SECOND_NOISE_DB)
            powers = np.mean(noise**2), np.mean(second**2)
            if min(powers) > SILENT:  # else the other one stands alone, as it is
                gain = np.sqrt(powers[0] / powers[1], dtype=np.float32)
                second = second * gain * 10 ** (-below / 20)
            noise = noise + second
        return noise

    def _one_noise(
        self, length: int, random: np.random.Generator, own: np.ndarray | None
    ) -> np.ndarray:
        speed = Fraction(random.uniform(*(self.noise_speed_range or (1.0, 1.0))))
        speed = speed.limit_denominator(20)
        needed = length if speed == 1 else int(length * speed) + 1
        if self.noises:
            path = self.noises[random.integers(len(self.noises))]
            noise = read_part(path, needed, random)
        else:
            noise = looped(own, -random.integers(len(own)), needed)
        noise = resample(noise, speed.numerator, speed.denominator)
        return equalise(np.resize(noise, length), self.noise_equaliser_db, random)


def crop_start(present: int, wanted: int, random: np.random.Generator) -> int:
    """Draw where a crop begins; before 0 where there is less than is wanted."""
    start = int(random.integers(abs(present - wanted) + 1))
    return start if present >= wanted else -start


def crop(wave: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """Take [length] from ``span``, (start, length); what is not there is zero."""
    start, length = span
    part = wave[max(start, 0) : max(start + length, 0)]
    before = max(-start, 0)
    return np.pad(part, (before, length - before - len(part)))


def read_part(path: str | Path, length: int, random: np.random.Generator) -> np.ndarray:
    """Read a random part [length] of a file at 16 kHz, which begins again at its end.

    Raises:
        UserError: a file that is unreadable, empty, or not mono at 16 kHz.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE, 1) or not file.frames:
                raise UserError(
                    f"{path}: is not mono audio at {SAMPLE_RATE} Hz; format it by stage 3"
                )
            if file.frames > length:
                file.seek(int(random.integers(file.frames - length + 1)))
            wave = file.read(length, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: cannot be read ({error}); replace it") from error
    if len(wave) < length:
        wave = looped(wave, random.integers(len(wave)), length)
    return wave


def equalise(wave: np.ndarray, db: float, random: np.random.Generator) -> np.ndarray:
    """Filter [L] by a smooth random gain over frequency.

    Its slope counts more than its bumps: much of what is recorded outdoors and on wheels
    is a rumble below speech.

    Args:
        wave: at 16 kHz.
        db: standard deviation of the gain at EQUALISER_POINTS frequencies, beside a slope
            of half as much an octave; 0 does nothing.
        random: draws them.
    """
    if not db:
        return wave
    points = np.linspace(np.log2(LOWEST), np.log2(HIGHEST), EQUALISER_POINTS)
    gains = random.normal(0.0, db, EQUALISER_POINTS)
    gains += random.normal(0.0, db / 2) * (points - np.log2(MIDDLE))

    def gain(frequency: np.ndarray) -> np.ndarray:
        octaves = np.log2(frequency.clip(min=LOWEST))
        return 10 ** (np.interp(octaves, points, gains) / 20)

    return _filter(wave, gain)


def low_pass(wave: np.ndarray, edge: float) -> np.ndarray:
    """Leave out what lies above a frequency in Hz, with a slope of a tenth of it."""
    return _filter(wave, lambda f: ((1.1 * edge - f) / (0.1 * edge)).clip(0.0, 1.0))


def reverberate(speech: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put speech into a room.

    Args:
        speech: [L].
        room: impulse response, its direct sound first.

    Returns:
        reverberant speech, and with the first 50 ms of the response alone, both [L].
    """
    early, length = room[:EARLY], len(speech)
    return fftconvolve(speech, room)[:length], fftconvolve(speech, early)[:length]


def _filter(wave: np.ndarray, gain: Callable) -> np.ndarray:
    # Its response goes both ways: without the silence an end would ring into the other.
    padded = next_fast_len(len(wave) + RINGING, real=True)
    frequency = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    filtered = np.fft.irfft(np.fft.rfft(wave, padded) * gain(frequency), padded)
    return filtered[: len(wave)].astype(np.float32)


@lru_cache(maxsize=256)
def _read_response(path: str) -> np.ndarray:
    """Read an impulse response from its direct sound on, scaled to that of 1."""
    room, rate = read_audio(path)
    if rate != SAMPLE_RATE:
        raise UserError(f"{path}: has {rate} Hz in place of {SAMPLE_RATE}; resample it")
    direct = int(np.abs(room).argmax())
    if not room[direct]:
        raise UserError(f"{path}: a silent room response; remove it")
    return room[direct:] / room[direct]


def read_list(path: str | None) -> tuple[str, ...]:
    """Read the files of a wav.scp; none of none."""
    return tuple(read_scp(path).values()) if path else ()
