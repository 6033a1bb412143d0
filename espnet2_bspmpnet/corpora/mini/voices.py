"""Voices that speak: eSpeak NG's, given the irregularities of recorded people.

eSpeak's speech is too clean to learn denoising from: perfectly harmonic up to the
highest formant, evenly pitched, brighter than a recording, without a room. Every
voice here therefore has a vocal tract length, breath, jitter, a long-term spectrum
and a room of its own, with a spread like that of recorded read speech.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve, istft, stft

from espnet2_bspmpnet.corpora.mini import espeak
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

# eSpeak's variants and accents. No variant of one set speaks in another, and the
# test set's accents are its own. Reed and caleb are not used: the noise in them is
# the one thing in eSpeak that cannot be seeded.
_VARIANTS = {
    "train": (
        "m1 m2 m3 m4 m6 m7 Alex Andy Denis Gene Henrique Lee Mike edward adam "
        "david max pablo sandro f1 f2 f4 f5 Annie Alicia anika shelby steph "
        "grandma f5 f1 f2"
    ),
    "valid": "m5 linda",
    "test": ("m8 Michael boris quincy f3 belinda Andrea zac"),
}
_ACCENTS = {
    "train": ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-gbclan"),
    "valid": ("en", "en-us"),
    "test": ("en-gb-x-rp", "en-us-nyc", "en-gb-x-gbcwmd"),
}
# Talkers of the background, speakers of no utterance.
TRAIN_CROWD = tuple(
    f"{accent}+{variant}"
    for accent in ("en-us", "de", "it")
    for variant in ("rob", "travis", "Nguyen", "ed", "aunty", "victor")
)
TEST_CROWD = tuple(
    f"{accent}+{variant}"
    for accent in ("en-gb-x-rp", "nl", "es")
    for variant in ("mike2", "paul", "ian", "Marco", "Mario", "miguel")
)

# Long-term spectrum of recorded read speech (VoiceBank, VCTK, LibriSpeech, CMU
# ARCTIC): level of the active frames in bands around these frequencies, relative to
# the strongest; the spread is from recording to recording.
_BANDS = np.array([210, 425, 850, 1550, 2450, 3450, 4700, 6200, 7500])  # Hz
_SPECTRUM = np.array([0, -1, -9, -16, -21, -24, -26, -29, -42])  # dB
_SPREAD = np.array([1, 1, 3, 3, 3, 3, 3, 4, 5])  # dB


@dataclass(frozen=True)
class Voice:
    """A speaker: eSpeak's settings, and what makes the voice less of a machine's."""

    name: str
    espeak: str
    rate: int  # words a minute
    pitch: int
    pitch_range: int
    tract: float  # vocal tract length and pitch period, relative to eSpeak's
    breath: float  # share of noise in the treble, amplitude
    jitter: float  # relative spread of the pitch period
    room: float  # level of the early reflections relative to the direct sound, dB
    spectrum: tuple[float, ...]  # long-term level in `_BANDS`, dB


def voices(name: str, seed: int) -> list[Voice]:
    """Return the speakers of "train", "valid" or "test"; no variant is in two sets.

    The corpus' seed decides everything but variant and accent.
    """
    place, accents = list(_VARIANTS).index(name), _ACCENTS[name]
    first = sum(len(part.split()) for part in list(_VARIANTS.values())[:place])
    return [
        _voice(
            first + index,
            f"{accents[index % len(accents)]}+{variant}",
            np.random.default_rng([1, seed, place, index]),
        )
        for index, variant in enumerate(_VARIANTS[name].split())
    ]


def _voice(number: int, name: str, rng: np.random.Generator) -> Voice:
    octaves = np.log2(_BANDS / _BANDS[0])
    tilt = rng.normal(0, 2) * octaves / octaves[-1]
    return Voice(
        name=f"v{number + 1:02d}",
        espeak=name,
        rate=int(rng.integers(145, 200)),
        pitch=int(rng.integers(30, 65)),
        pitch_range=int(rng.integers(30, 80)),
        tract=float(rng.uniform(0.9, 1.1)),
        breath=float(rng.uniform(0.15, 0.7)),
        jitter=float(rng.uniform(0.003, 0.012)),
        room=float(rng.choice([-80, rng.uniform(-26, -12)])),
        spectrum=tuple(_SPECTRUM + tilt + rng.normal(0, 1, len(_BANDS)) * _SPREAD),
    )


def utter(voice: Voice, text: str, rng: np.random.Generator) -> np.ndarray:
    """Let a voice read a text: float64 [L] at 16 kHz, of arbitrary level.

    `rng` decides what differs when the same voice reads the same text again.
    """
    wave = espeak.speak(
        text,
        voice.espeak,
        rate=int(voice.rate * rng.uniform(0.92, 1.08)),
        pitch=int(voice.pitch + rng.integers(-4, 5)),
        pitch_range=voice.pitch_range,
        seed=int(rng.integers(2**31)),
    )
    wave = _warp(wave, voice.tract, voice.jitter, rng)
    wave = _breathe(wave, voice.breath, rng)
    wave = _equalise(wave, np.array(voice.spectrum))
    return _reflect(wave * _emphasis(len(wave), rng), voice.room, rng)


def _warp(wave, tract, jitter, rng):
    """Resample to `SAMPLE_RATE` with a longer or shorter tract and an uneven pitch."""
    rate = 2 * espeak.RATE  # twice as fine, so that linear interpolation is harmless
    wave = soxr.resample(wave.astype(np.float64), espeak.RATE, rate)
    speed = np.ones(len(wave))
    for per_second, share in ((4, 1.0), (60, 0.5)):  # slow drift, then roughness
        speed += share * jitter * _wander(len(wave), per_second / rate, rng)
    position = np.cumsum(speed)
    position = position[position < len(wave) - 1]
    wave = np.interp(position, np.arange(len(wave)), wave)
    return soxr.resample(wave, rate / tract, SAMPLE_RATE)


def _wander(length, per_sample, rng):
    """Return a random curve of unit spread that turns `per_sample` times a sample."""
    points = rng.normal(size=int(length * per_sample) + 3)
    return np.interp(np.arange(length) * per_sample, np.arange(len(points)), points)


def _breathe(wave, breath, rng):
    """Turn a share of each harmonic into noise of the same level, most in the treble.

    Above a few kHz the voiced sounds of people are half noise; eSpeak's are tones.
    """
    frequency, _, spectrum = stft(wave, SAMPLE_RATE, nperseg=512, noverlap=256)
    envelope = np.sqrt(uniform_filter1d(np.abs(spectrum) ** 2, 11, axis=0))
    noise = rng.normal(size=spectrum.shape) + 1j * rng.normal(size=spectrum.shape)
    share = breath / (1 + np.exp(-(frequency[:, None] - 3000) / 700))
    spectrum = np.sqrt(1 - share**2) * spectrum + share * envelope * noise / np.sqrt(2)
    return istft(spectrum, SAMPLE_RATE, nperseg=512, noverlap=256)[1]


def _equalise(wave, target):
    """Give the speech a long-term spectrum: levels at `_BANDS`, dB."""
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    loudness = power.sum(axis=1)
    power = power[loudness > loudness.max() / 1000].mean(axis=0)
    edges = np.sqrt(_BANDS[1:] * _BANDS[:-1])
    edges = np.concatenate([[150], edges, [8000]]) * 512 / SAMPLE_RATE
    have = [
        10 * np.log10(power[int(low) : int(high) + 1].mean() + 1e-12)
        for low, high in itertools.pairwise(edges)
    ]
    change = target - have
    change = np.clip(change - np.median(change), -15, 15)
    size = next_fast_len(len(wave), real=True)
    frequency = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    gain = np.interp(np.log(frequency + 1), np.log(_BANDS), change)
    return irfft(rfft(wave, size) * 10 ** (gain / 20), size)[: len(wave)]


def _emphasis(length, rng):
    """Return a gain of stressed and unstressed words, falling towards the end."""
    fall = np.linspace(0, -rng.uniform(0, 5), length)
    return 10 ** ((fall + 2 * _wander(length, 3 / SAMPLE_RATE, rng)) / 20)


def _reflect(wave, level, rng):
    """Add the early reflections and short tail of a small room."""
    delay = np.arange(1, int(0.12 * SAMPLE_RATE))
    response = rng.normal(size=len(delay))
    response *= np.exp(-delay / (rng.uniform(0.01, 0.03) * SAMPLE_RATE))
    response *= rng.random(len(delay)) < 0.05  # single echoes, not yet a tail
    response *= 10 ** (level / 20) / (np.sqrt(np.sum(response**2)) + 1e-12)
    return fftconvolve(wave, np.concatenate([[1.0], response]))[: len(wave)]
