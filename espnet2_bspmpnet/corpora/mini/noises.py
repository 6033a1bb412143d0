"""Noises of many kinds, each a function (rng, length) -> waveform at 16 kHz.

Nothing here is a recording. Every call draws all parameters of its kind, so that no
two noises of a kind are alike. `TRAIN` and `TEST` share no kind.
"""

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

from espnet2_bspmpnet.corpora.mini import espeak
from espnet2_bspmpnet.corpora.mini.sentences import compose
from espnet2_bspmpnet.corpora.mini.voices import TEST_CROWD, TRAIN_CROWD
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE


def make(kind: str, rng: np.random.Generator, length: int) -> np.ndarray:
    """Return a noise: float64 [length] at 16 kHz, of unit RMS.

    Places are never silent but for one source, and most of what microphones pick
    up is rumble: each noise stands before a steady background, sometimes as strong
    as itself, and is seen through a random smooth spectrum that falls with frequency.
    `kind` is a name in `TRAIN` or `TEST`; `rng` decides everything else.
    """
    noise = _unit({**TRAIN, **TEST}[kind](rng, length))
    noise = noise + floor(rng, length) * _decibel(rng.uniform(-20, -2))
    return _unit(_filter(noise, _smooth_gain(rng, rng.uniform(-3.8, 0.8), 3)))


def floor(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return what even a quiet room puts under a recording: rumble, of unit RMS."""
    return _unit(_coloured(rng, length, rng.uniform(-8, -4)))


def hiss(rng, length):
    """Steady noise of a random colour, white to brown, with broad bumps."""
    return _coloured(rng, length, rng.uniform(-7, 1), bumps=5)


def hum(rng, length):
    """Mains hum: harmonics of 50 or 60 Hz that beat slowly, over a little hiss."""
    base = rng.choice([50, 60, 100, 120]) * rng.uniform(0.99, 1.01)
    tones = _harmonics(rng, np.full(length, base), rng.integers(6, 30), -6)
    tones *= 1 + 0.2 * _curve(rng, length, 2)
    return _unit(tones) + _decibel(-12) * _unit(hiss(rng, length))


def babble(rng, length):
    """Three to seven people talking at once, none of them a speaker."""
    return _talk(rng, length, TRAIN_CROWD, rng.integers(3, 8))


def knocks(rng, length):
    """Knocks, clicks and bursts at irregular times."""
    noise = np.zeros(length)
    for onset in _onsets(rng, length, rng.uniform(1, 6)):
        decay = rng.uniform(0.003, 0.08) * SAMPLE_RATE
        burst = _coloured(rng, int(8 * decay), rng.uniform(-8, 0), bumps=8)
        burst = burst * np.exp(-np.arange(len(burst)) / decay)
        _add(noise, onset, _decibel(rng.uniform(-12, 0)) * burst)
    return _unit(noise) + _decibel(-15) * _unit(_coloured(rng, length, -6))


def gusts(rng, length):
    """Wind on the microphone: low rumble in gusts."""
    rumble = _coloured(rng, length, rng.uniform(-12, -7))
    rustle = _coloured(rng, length, rng.uniform(-4, -1))
    strength = np.exp(0.8 * _curve(rng, length, rng.uniform(0.8, 3)))
    return strength * _unit(rumble) + _decibel(-18) * strength**1.5 * _unit(rustle)


def traffic(rng, length):
    """Vehicles that pass: broadband noise swelling and fading, motors under it."""
    road = _unit(_coloured(rng, length, -4, bumps=3))
    road = road * _decibel(5 * _curve(rng, length, 0.7))
    pitch = rng.uniform(30, 90) * (1 + 0.1 * _curve(rng, length, 0.5))
    motor = _harmonics(rng, pitch, 14, -6)
    swell = _decibel(6 * _curve(rng, length, 0.5))
    return road + _decibel(rng.uniform(-9, 0)) * swell * _unit(motor)


def fan(rng, length):
    """Machine or fan: drifting tones over rushing air."""
    base = rng.uniform(60, 400) * (1 + 0.01 * _curve(rng, length, 1))
    tones = _unit(_harmonics(rng, base, rng.integers(3, 12), -4))
    air = _unit(_coloured(rng, length, rng.uniform(-6, -2), bumps=4))
    return air + _decibel(rng.uniform(-12, 3)) * tones


def clatter(rng, length):
    """Crockery and tools: strokes that ring in many inharmonic modes."""
    noise = np.zeros(length)
    for onset in _onsets(rng, length, rng.uniform(2, 8)):
        stroke = _ring(rng, rng.uniform(600, 5000, rng.integers(3, 9)), 0.005, 0.12)
        _add(noise, onset, _decibel(rng.uniform(-15, 0)) * stroke)
    return _unit(noise) + _decibel(-12) * _unit(_coloured(rng, length, -5))


def chimes(rng, length):
    """Music-like tones: notes of a scale, plucked or held, several at once."""
    scale = rng.uniform(110, 330) * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 16]) / 12)
    noise = np.zeros(length)
    for onset in _onsets(rng, length, rng.uniform(2, 7)):
        harmonics = rng.choice(scale) * np.arange(1, rng.integers(3, 10))
        _add(noise, onset, _ring(rng, harmonics, 0.1, 0.8))
    return _unit(noise) + _decibel(-20) * _unit(_coloured(rng, length, -4))


def rain(rng, length):
    """Rain or crackle: countless drops over a bright hiss."""
    drops = np.zeros(length)
    count = int(length / SAMPLE_RATE * rng.uniform(30, 600))
    drops[rng.integers(length, size=count)] = rng.exponential(size=count)
    drops = _filter(drops, _smooth_gain(rng, rng.uniform(-4, 1), 6))
    level = _decibel(rng.uniform(-9, 6))
    return _unit(drops) + level * _unit(_coloured(rng, length, -1, bumps=4))


def engine(rng, length):
    """An engine: pulses of combustion whose rate rises and falls."""
    rate = rng.uniform(18, 45) * np.exp(0.15 * _curve(rng, length, 0.6))
    phase = np.cumsum(rate) / SAMPLE_RATE
    pulses = np.exp(-((phase % 1) * rng.uniform(6, 15)))
    exhaust = pulses * _unit(_coloured(rng, length, -4, bumps=6))
    boom = _unit(_harmonics(rng, rate, 20, -5))
    return _unit(exhaust) + _decibel(rng.uniform(-3, 6)) * boom


def siren(rng, length):
    """A siren or alarm: two tones or a glide, with the street under it."""
    swing = np.sin(2 * np.pi * np.arange(length) / SAMPLE_RATE * rng.uniform(0.4, 3))
    if rng.random() < 0.5:
        swing = np.sign(swing)
    pitch = rng.uniform(500, 1100) * 2 ** (swing * rng.uniform(0.1, 0.4))
    tones = _unit(_harmonics(rng, pitch, rng.integers(2, 6), -9))
    return tones + _decibel(rng.uniform(-6, 3)) * _unit(_coloured(rng, length, -5))


def railway(rng, length):
    """A train: rumble, and the double clack of wheels on rail joints."""
    noise = _unit(_coloured(rng, length, rng.uniform(-8, -5), bumps=4))
    period = rng.uniform(0.45, 0.9)
    for beat in np.arange(rng.uniform(0, period), length / SAMPLE_RATE, period):
        for delay in (0, 0.22 * period):
            clack = _ring(rng, rng.uniform(120, 2500, 8), 0.01, 0.05)
            onset = int((beat + delay + rng.normal(0, 0.004)) * SAMPLE_RATE)
            _add(noise, onset, rng.uniform(2, 5) * clack)
    return noise


def surf(rng, length):
    """Waves on a beach: bright noise that swells, breaks and draws back."""
    period = rng.uniform(1.5, 4)
    phase = (np.arange(length) / SAMPLE_RATE / period + rng.random()) % 1
    swell = np.where(phase < 0.4, phase / 0.4, np.exp(-(phase - 0.4) * 4))
    foam = _unit(_coloured(rng, length, rng.uniform(-3, 0)))
    roar = _unit(_coloured(rng, length, rng.uniform(-8, -6)))
    return (0.1 + swell**2) * foam + (0.3 + swell) * roar


def crowd(rng, length):
    """A hall full of people: a dozen unseen voices, blurred by the room."""
    talk = _talk(rng, length, TEST_CROWD, rng.integers(9, 14))
    delay = np.arange(int(0.6 * SAMPLE_RATE)) / SAMPLE_RATE
    hall = rng.normal(size=len(delay)) * np.exp(-delay / rng.uniform(0.08, 0.2))
    return fftconvolve(talk, hall)[:length]


_TRAIN = (hiss, hum, babble, knocks, gusts, traffic, fan, clatter, chimes, rain)
_TEST = (engine, siren, railway, surf, crowd)
TRAIN = {kind.__name__: kind for kind in _TRAIN}
TEST = {kind.__name__: kind for kind in _TEST}


def _unit(wave):
    return wave / (np.sqrt(np.mean(wave**2)) + 1e-9)


def _decibel(level):
    return 10 ** (np.asarray(level) / 20)


def _filter(wave, gain):
    """Filter by a gain given as a function of frequency in Hz, in dB."""
    size = next_fast_len(len(wave), real=True)
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    # Flat below 40 Hz: what is not heard should not decide the SNR.
    spectrum = rfft(wave, size) * _decibel(gain(np.maximum(frequency, 40)))
    spectrum[frequency < 20] = 0  # no offset and no subsonic drift
    return irfft(spectrum, size)[: len(wave)]


def _smooth_gain(rng, slope, bumps):
    """Return a gain: `slope` dB an octave, and bumps of that many dB's spread."""
    centres = np.arange(4, 14)  # octaves, 16 Hz to 8 kHz
    levels = slope * (centres - 10) + rng.normal(0, bumps, len(centres))
    return lambda frequency: np.interp(np.log2(frequency), centres, levels)


def _coloured(rng, length, slope, bumps=2.0):
    return _filter(rng.normal(size=length), _smooth_gain(rng, slope, bumps))


def _curve(rng, length, per_second):
    """Return a smooth random curve of about unit spread."""
    count = int(length / SAMPLE_RATE * per_second) + 3
    at = rng.random() + np.arange(length) * per_second / SAMPLE_RATE
    points = rng.normal(size=count + 1)
    left = at.astype(int)
    weight = 0.5 - 0.5 * np.cos(np.pi * (at - left))  # no corners
    return points[left] * (1 - weight) + points[left + 1] * weight


def _harmonics(rng, pitch, count, slope):
    """Sum harmonics of a changing pitch (Hz), falling by `slope` dB an octave."""
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    wave = np.zeros(len(pitch))
    for number in range(1, count + 1):
        if number * pitch.max() > SAMPLE_RATE / 2:
            break
        level = slope * np.log2(number) + rng.normal(0, 5)
        wave += _decibel(level) * np.sin(number * phase + rng.uniform(0, 2 * np.pi))
    return wave


def _onsets(rng, length, per_second):
    count = max(rng.poisson(length / SAMPLE_RATE * per_second), 2)
    return rng.integers(length, size=count)


def _ring(rng, frequencies, shortest, longest):
    """Return decaying tones struck together; decays in seconds."""
    decays = rng.uniform(shortest, longest, len(frequencies))
    time = np.arange(int(4 * decays.max() * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros(len(time))
    for frequency, decay in zip(frequencies, decays, strict=True):
        if frequency < SAMPLE_RATE / 2:
            tone = np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi))
            wave += rng.exponential() * np.exp(-time / decay) * tone
    return wave


def _add(noise, onset, event):
    """Add an event that begins at a sample; what lies outside is cut off."""
    place = noise[max(onset, 0) :][: len(event)]
    place += event[: len(place)]


def _talk(rng, length, crowd, count):
    talk = np.zeros(length)
    for talker in rng.choice(len(crowd), size=count):
        said = np.zeros(0)
        while len(said) < 1.5 * length * espeak.RATE / SAMPLE_RATE:
            speech = espeak.speak(
                compose(rng),
                crowd[talker],
                rate=int(rng.integers(130, 210)),
                pitch=int(rng.integers(25, 75)),
                seed=int(rng.integers(2**31)),
            )
            said = np.concatenate([said, speech])
        said = soxr.resample(said, espeak.RATE, SAMPLE_RATE)
        said = said[rng.integers(length // 3) :]
        talk += _decibel(rng.uniform(-9, 0)) * _unit(said[:length])
    return talk
