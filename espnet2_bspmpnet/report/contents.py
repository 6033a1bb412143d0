"""Which pictures an experiment has to show, and what is to be heard with them."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import audio_info, read_audio
from espnet2_bspmpnet.report import figures
from espnet2_bspmpnet.report.experiment import (
    Absent,
    LayerWeights,
    TestSet,
    config_of,
    epoch_of,
    find_model,
    input_snr,
    read_curves,
    read_layer_weights,
)
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.results import NamedScores

LONGEST = 10.0  # seconds of an utterance that can be listened to
MOST_SAMPLES = 3_000_000  # in a page: about 6 MB
SI_SNR_LOSS = "si_snr_loss"


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        name: of its PNG file, without suffix.
        content: the PNG file's.
        alt: what is to be seen, for those who cannot.
        caption: text below it.
        sound: FLAC file of what is shown.
    """

    name: str
    content: bytes
    alt: str
    caption: str = ""
    sound: bytes = b""


@dataclass(frozen=True)
class Recording:
    """What can be seen and heard of a recording.

    Args:
        wave: samples [L].
        rate: samples per second.
        whole: seconds of all of it, 0 where this is all.
    """

    wave: np.ndarray
    rate: int
    whole: float = 0.0


def label(system: str, test_set: str) -> str:
    """Shorten a system's name: enhanced_tt_boosted of the set tt is enhanced boosted."""
    return system.replace(f"_{test_set}", "").replace("_", " ") or system


def references_of(test_set: TestSet) -> list[str]:
    """List the references that its systems were compared with."""
    return [reference for reference in REFERENCES if test_set.judged(reference)]


def _labelled(test_set: TestSet, reference: str) -> dict[str, NamedScores]:
    return {label(row[0], test_set.name): row for row in test_set.judged(reference)}


def has_metric(row: NamedScores, metric: str) -> bool:
    """Tell whether some utterance has a value of this metric."""
    statistics = row[1].summary.metrics.get(metric)
    return statistics is not None and statistics.count > 0


# Figures over utterances


def before_and_after(test_set: TestSet) -> Iterator[Picture]:
    """Draw PESQ of noisy and enhanced speech, a picture for each reference.

    Raises:
        Absent: one of them was not scored.
    """
    if test_set.noisy is None:
        raise Absent("the noisy speech was not scored (bspmpnet score --noisy)")
    noisy = test_set.noisy[1].values(["PESQ"])[:, 0]
    drawn = 0
    for reference in references_of(test_set):
        systems = {
            name: row[1].values(["PESQ"])[:, 0]
            for name, row in _labelled(test_set, reference).items()
            if has_metric(row, "PESQ") and has_metric(test_set.noisy, "PESQ")
        }
        if systems:
            title = f"PESQ by utterance, reference: {REFERENCES[reference]}"
            figure = figures.before_and_after("PESQ", noisy, systems, title)
            yield Picture(
                _file_name(f"{test_set.name}_pesq_reference_{reference}"),
                figures.png(figure),
                f"Scatter plot: {title}; {len(noisy)} utterances, enhanced against "
                f"noisy speech. Above the diagonal speech became better.",
            )
            drawn += 1
    if not drawn:
        raise Absent("nothing was scored with PESQ")


def improvement_by_snr(test_set: TestSet) -> Iterator[Picture]:
    """Draw improvements in PESQ and SI-SNR against the SNR of the noisy speech.

    Raises:
        Absent: SNRs or improvements are not known.
        UserError: damaged files.
    """
    snr = input_snr(test_set)
    drawn = 0
    for metric, reference in [
        *(("PESQ", reference) for reference in references_of(test_set)),
        # With PCS in the reference alone it would tell little about the noise.
        ("SI_SNR", "clean"),
    ]:
        gains = {
            name: test_set.improvement(row, metric)
            for name, row in _labelled(test_set, reference).items()
        }
        gains = {
            name: values
            for name, values in gains.items()
            if np.any(np.isfinite(values) & np.isfinite(snr))
        }
        if gains:
            shown = metric.replace("_", "-")
            title = f"{shown} gain, reference: {REFERENCES[reference]}"
            figure = figures.improvement_by_snr(metric, snr, gains, title)
            yield Picture(
                _file_name(f"{test_set.name}_{metric}_by_snr_reference_{reference}"),
                figures.png(figure),
                f"{title} against the SNR of the noisy speech: points for utterances, "
                "lines for means with 95 % intervals.",
            )
            drawn += 1
    if not drawn:
        raise Absent("no utterance has an SNR and an improvement in PESQ or SI-SNR")


# Examples


def choose_examples(test_set: TestSet) -> dict[str, int]:
    """Choose the utterances of the best, median and worst PESQ improvement.

    Args:
        test_set: whose first system is judged.

    Returns:
        "Best", "Median" and "Worst" -> place of the utterance; fewer of them where
        there are fewer than three utterances.

    Raises:
        Absent: there is no improvement in PESQ.
    """
    gains = test_set.improvement(test_set.systems[0], "PESQ")
    known = np.flatnonzero(np.isfinite(gains))
    if not len(known):
        raise Absent("no utterance has an improvement in PESQ")
    order = known[np.argsort(-gains[known], kind="stable")]
    if len(order) == 1:
        return {"Best": int(order[0])}
    chosen = {"Best": order[0], "Median": order[len(order) // 2], "Worst": order[-1]}
    if len(order) == 2:
        del chosen["Median"]
    return {which: int(place) for which, place in chosen.items()}


def _recordings(test_set: TestSet) -> dict[str, Mapping[str, str]]:
    """Map what is shown of an utterance to utterance -> file; none if unknown."""
    data = test_set.data
    enhanced = {
        label(name, test_set.name): test_set.enhanced.get(name, {})
        for name, _ in test_set.systems
    }
    return {
        "noisy": data.wav if data else {},
        **enhanced,
        "clean": (data.spk1 or {}) if data else {},
    }


def seconds_to_hear(test_sets: Sequence[TestSet]) -> float:
    """Give how much of each example fits into the page."""
    count = sum(3 * len(_recordings(test_set)) for test_set in test_sets)
    rate = SAMPLE_RATE
    for test_set in test_sets:
        for files in _recordings(test_set).values():
            path = next(iter(files.values()), None)
            if path is not None and Path(path).is_file():
                rate = max(rate, audio_info(path).rate)
    return min(LONGEST, max(1.0, MOST_SAMPLES / (count * rate)))


def read_example(
    test_set: TestSet, utterance: str, seconds: float
) -> tuple[dict[str, Recording], list[str]]:
    """Read an utterance's recordings.

    Args:
        test_set: what it belongs to.
        utterance: its id.
        seconds: how much of it to keep.

    Returns:
        "noisy", the systems, "clean" -> recording, as far as they are there, and what is
        missing for which reason.

    Raises:
        UserError: damaged files.
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
            found[name] = Recording(wave[: round(seconds * rate)], rate)
            if len(wave) > seconds * rate:
                found[name] = replace(found[name], whole=len(wave) / rate)
    return found, notes


def spectrograms(
    recordings: Mapping[str, Recording], utterance: str, file: str
) -> Iterator[Picture]:
    """Draw recordings of an utterance, of the same scale and with the same loudness.

    Args:
        recordings: name -> recording; at least one.
        utterance: its id.
        file: how the pictures' names begin.
    """
    peak = max(float(np.abs(one.wave).max()) for one in recordings.values())
    gain = min(1.0, 0.999 / peak) if peak else 1.0
    loudest = figures.peak_power([(one.wave, one.rate) for one in recordings.values()])
    for name, one in recordings.items():
        figure = figures.spectrogram(name, one.wave, one.rate, loudest)
        yield Picture(
            _file_name(f"{file}_{name}"),
            figures.png(figure),
            f"Spectrogram of the {name} speech of {utterance}",
            sound=_flac(gain * one.wave, one.rate),
        )


def _flac(wave: np.ndarray, rate: int) -> bytes:
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, wave, rate, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()


# The model and its training


def layer_weights(expdir: Path, model: str | None) -> Iterator[Picture]:
    """Draw the weights of SSL layers of an experiment's model.

    Raises:
        Absent: no model, or none with such weights.
        UserError: a damaged file, or the named model is missing.
    """
    path = find_model(expdir, model)
    weights = read_layer_weights(path, config_of(expdir))
    yield Picture(
        "layer_weights",
        figures.png(figures.layer_weights(weights)),
        f"Weights of {len(weights.layers)} SSL layers. {_heaviest(weights)}",
        f"{path.name}. {_heaviest(weights)}",
    )


def _heaviest(weights: LayerWeights) -> str:
    said = [
        f"{path} {weights.layers[int(values.argmax())]}"
        for path, values in weights.paths.items()
    ]
    return f"Heaviest layer: {', '.join(said)}."


def training(expdir: Path, model: str | None) -> Iterator[Picture]:
    """Draw the curves of an experiment's training.

    Raises:
        Absent: it has no checkpoint.
        UserError: a damaged file, or the named model is missing.
    """
    curves = read_curves(expdir)
    try:
        chosen = epoch_of(find_model(expdir, model))
    except Absent:
        chosen = None
    total = curves.get("loss", {})
    shown = {"Loss": total}
    for name, curve in curves.items():
        # A lone criterion's loss is the total.
        if name.endswith("_loss") and name != SI_SNR_LOSS and curve != total:
            part = name.removesuffix("_loss").replace("_", " ").capitalize()
            shown[f"{part} loss"] = curve
    shown["PESQ (validation)"] = curves.get("pesq", {})
    shown["SI-SNR (validation, dB)"] = {
        phase: [(epoch, -value) for epoch, value in curve]
        for phase, curve in curves.get(SI_SNR_LOSS, {}).items()
    }
    for title, phases in shown.items():
        if not phases:
            continue
        ends = [f"{phase} {curve[-1][1]:.3g}" for phase, curve in phases.items()]
        figure = figures.training_curves(title, phases, chosen)
        yield Picture(
            _file_name(f"training_{title}"),
            figures.png(figure),
            f"{title} by epoch; in the last epoch {', '.join(ends)}.",
        )


def _file_name(text: str) -> str:
    return re.sub(r"\W+", "_", text.lower()).strip("_")
