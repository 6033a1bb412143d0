"""Examples to see and hear: spectrograms with players of a few utterances."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import audio_info, read_audio
from espnet2_bspmpnet.report import figures
from espnet2_bspmpnet.report.data import Absent, TestSet
from espnet2_bspmpnet.report.page import Picture, picture
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

LONGEST = 10.0  # seconds of an utterance that can be listened to
MOST_SAMPLES = 3_000_000  # in a page: about 6 MB


@dataclass(frozen=True)
class Excerpt:
    """A recording or its beginning, to see and to hear."""

    wave: np.ndarray  # samples [L]
    rate: int  # samples per second
    whole: float  # seconds of all of it


def spectrograms(
    recordings: Mapping[str, Excerpt], utterance: str, file: str
) -> Iterator[Picture]:
    """Draw recordings of an utterance, with players, on one scale of power and loudness.

    The pictures' names begin with `file`; their texts name the utterance.
    """
    peak = max(float(np.abs(one.wave).max()) for one in recordings.values())
    gain = min(1.0, 0.999 / peak) if peak else 1.0
    loudest = figures.peak_power([(one.wave, one.rate) for one in recordings.values()])
    for name, one in recordings.items():
        yield picture(
            f"{file}_{name}",
            figures.spectrogram(name, one.wave, one.rate, loudest),
            f"Spectrogram of the {name} speech of {utterance}",
            sound=_flac(gain * one.wave, one.rate),
        )


def _flac(wave: np.ndarray, rate: int) -> bytes:
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, wave, rate, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()


def choose_examples(test_set: TestSet) -> dict[str, int]:
    """Choose utterances by the first system's improvement in PESQ; without one: `Absent`.

    Returns:
        "Best", "Median" and "Worst" -> place of the utterance; fewer of them where
        there are fewer than three utterances.
    """
    enhanced = test_set.systems[0][1].values(["PESQ"])[:, 0]
    gains = enhanced - test_set.noisy_values("PESQ")
    known = np.flatnonzero(np.isfinite(gains))
    if not len(known):
        raise Absent("no utterance has an improvement in PESQ")
    order = known[np.argsort(-gains[known], kind="stable")].tolist()
    chosen = {"Best": order[0]}
    if len(order) > 2:
        chosen["Median"] = order[len(order) // 2]
    if len(order) > 1:
        chosen["Worst"] = order[-1]
    return chosen


def _recordings(test_set: TestSet) -> dict[str, Mapping[str, str]]:
    """Map what is shown of an utterance to utterance -> file; none if unknown."""
    data = test_set.data
    found = {"noisy": data.wav if data else {}}
    for name, _ in test_set.systems:
        found[test_set.short_name(name)] = test_set.enhanced.get(name, {})
    return found | {"clean": (data.spk1 if data else None) or {}}


def seconds_to_hear(test_sets: Sequence[TestSet]) -> float:
    """Give how much of each example fits into the page."""
    shown = [files for one in test_sets for files in _recordings(one).values()]
    first = [next(iter(files.values()), "") for files in shown]
    rates = [audio_info(path).rate for path in first if Path(path).is_file()]
    rate = max([SAMPLE_RATE, *rates])
    return min(LONGEST, max(1.0, MOST_SAMPLES / (3 * len(shown) * rate)))


def read_example(
    test_set: TestSet, utterance: str, seconds: float
) -> tuple[dict[str, Excerpt], list[str]]:
    """Read so many seconds of an utterance's recordings.

    Returns:
        "noisy", the systems, "clean" -> recording, as far as they are there, and what is
        missing for which reason.
    """
    found, notes = {}, []
    for name, files in _recordings(test_set).items():
        path = files.get(utterance)
        if path is None:
            notes.append(f"{name} speech, as no list of its files was found")
        elif not Path(path).is_file():
            notes.append(f"{name} speech, as {path} is gone")
        else:
            wave, rate = read_audio(path)
            kept = wave[: round(seconds * rate)]
            found[name] = Excerpt(kept, rate, len(wave) / rate)
    return found, notes
