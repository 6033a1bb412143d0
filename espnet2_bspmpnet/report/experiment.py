"""What the page of an experiment shows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.files.experiments import NoModel, config_of, epoch_of, find_model
from espnet2_bspmpnet.report import examples, figures
from espnet2_bspmpnet.report.data import (
    Absent,
    TestSet,
    find_test_sets,
    input_snr,
    read_curves,
    read_layer_weights,
)
from espnet2_bspmpnet.report.page import Page, Picture, picture
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.score_tables import sections_of
from espnet2_bspmpnet.scoring.scores import Scores

KEY_FIGURES = {"PESQ": "", "STOI": " (%)", "SI_SNR": " (dB)", "DNSMOS_OVRL": ""}
SI_SNR_LOSS = "si_snr_loss"


def write_report(
    expdir: str | Path,
    data_dirs: Sequence[str | Path] | None = None,
    model: str | None = None,
) -> Path:
    """Write the page EXP_DIR/report/index.html, and its figures beside it.

    A part that the experiment does not have is left out, and the page says why.

    Args:
        expdir: folder of the experiment, in or below which speech was scored.
        data_dirs: data directories of the test sets; None looks through dump/raw/*.
        model: file in expdir whose weights of SSL layers are shown; None takes the best.

    Raises:
        UserError: no such experiment, nothing scored yet, or damaged files.
    """
    expdir = Path(expdir)
    test_sets = find_test_sets(expdir, data_dirs)
    page = Page()
    seconds = examples.seconds_to_hear(test_sets)
    for test_set in test_sets:
        _add_results(page, test_set)
        _add_utterances(page, test_set)
        page.heading(f"To see and hear: {test_set.name}")
        with _leaving_out(page):
            _add_examples(page, test_set, seconds)
    page.heading("SSL layers")
    with _leaving_out(page):
        page.figures([_layer_weights(expdir, model)])
    page.heading("Training")
    with _leaving_out(page):
        page.figures(_training(expdir, model))
    config = config_of(expdir).get("config")
    subtitle = f"Trained with {config}" if config else ""
    title = f"{expdir.resolve().name}: speech enhancement"
    return page.write(expdir / "report", title, subtitle, "bspmpnet report")


@contextmanager
def _leaving_out(page: Page) -> Iterator[None]:
    """Say on the page what is left out, where something in this context is absent."""
    try:
        yield
    except (Absent, NoModel) as absent:
        page.leave_out(str(absent))


def _add_results(page: Page, test_set: TestSet) -> None:
    noisy = [test_set.noisy] if test_set.noisy else []
    name, scores = test_set.systems[0]
    page.heading(f"Results: {test_set.name}")
    page.add("tiles", dict(_key_figures([*(one for _, one in noisy), scores])))
    shown = " → ".join([*("noisy" for _ in noisy), test_set.short_name(name)])
    count = f"{scores.summary.utterances} utterances"
    page.add("text", f"Means: {shown}, {count}, {_reference(scores)}.", "faint")
    for section in sections_of([*noisy, *test_set.systems]):
        page.add("section", section)


def _key_figures(shown: Sequence[Scores]) -> Iterator[tuple[str, str]]:
    """Yield the main measures and their means, before and after."""
    for metric, unit in KEY_FIGURES.items():
        found = [one.summary.metrics.get(metric) for one in shown]
        means = [f"{one.mean:.2f}" for one in found if one and one.mean is not None]
        if found[-1] and found[-1].mean is not None:
            yield metric.replace("_", "-") + unit, " → ".join(means)


def _reference(scores: Scores) -> str:
    return f"reference: {REFERENCES[scores.summary.reference]}"


def _add_utterances(page: Page, test_set: TestSet) -> None:
    page.heading(f"Utterance by utterance: {test_set.name}")
    if test_set.noisy and "pcs" in test_set.references:
        page.add("text", "Noisy speech is always compared with clean speech.", "faint")
    with _leaving_out(page):
        page.figures(_before_and_after(test_set))
    page.add("subheading", "Improvement against the SNR of the noisy speech")
    means = "lines means over utterances of similar SNR, with 95 % intervals"
    page.add("text", f"Points are utterances, {means}.", "faint")
    with _leaving_out(page):
        page.figures(_improvement_by_snr(test_set))


def _add_examples(page: Page, test_set: TestSet, seconds: float) -> None:
    name, scores = test_set.systems[0]
    values = test_set.noisy_values("PESQ"), scores.values(["PESQ"])[:, 0]
    chosen = []
    for which, place in examples.choose_examples(test_set).items():
        utterance = test_set.utterances[place]
        read = examples.read_example(test_set, utterance, seconds)
        chosen.append((which, place, utterance, *read))
    if not any(recordings for *_, recordings, _ in chosen):
        raise Absent("recordings were not found (--data_dir names noisy and clean)")
    judged = f"{test_set.short_name(name)}, {_reference(scores)}"
    page.add("text", f"By improvement in PESQ: {judged}.", "faint")
    for which, place, utterance, recordings, notes in chosen:
        before, after = (own[place] for own in values)
        shown = f"PESQ {before:.2f} → {after:.2f} ({after - before:+.2f})."
        whole = max((one.whole for one in recordings.values()), default=0.0)
        if whole > seconds:
            shown += f" The first {seconds:.3g} of {whole:.1f} s."
        page.add("subheading", f"{which}: {utterance}")
        page.add("text", shown)
        for note in notes:
            page.leave_out(note)
        if recordings:
            file = f"{test_set.name}_{which}"
            page.figures(examples.spectrograms(recordings, utterance, file), "small")


def _before_and_after(test_set: TestSet) -> Iterator[Picture]:
    """Draw PESQ of noisy and enhanced speech, a picture for each reference."""
    noisy = test_set.noisy_values("PESQ")
    known = {
        reference: {
            name: values
            for name, values in test_set.values("PESQ", reference).items()
            if np.isfinite(values).any() and np.isfinite(noisy).any()
        }
        for reference in test_set.references
    }
    if not any(known.values()):
        raise Absent("nothing was scored with PESQ")
    for reference, systems in known.items():
        if systems:
            title = f"PESQ, reference: {REFERENCES[reference]}"
            yield picture(
                f"{test_set.name}_pesq_reference_{reference}",
                figures.before_and_after("PESQ", noisy, systems, title),
                f"Scatter plot of {title}; {len(noisy)} utterances, enhanced against noisy "
                "speech. Above the diagonal speech became better.",
            )


def _improvement_by_snr(test_set: TestSet) -> Iterator[Picture]:
    """Draw improvements in PESQ and SI-SNR against the SNR of the noisy speech."""
    snr = input_snr(test_set)
    # With PCS of the reference alone, SI-SNR would say little about the noise.
    shown = [("PESQ", reference) for reference in test_set.references]
    gains = {}
    for metric, reference in [*shown, ("SI_SNR", "clean")]:
        noisy = test_set.noisy_values(metric)
        gains[metric, reference] = {
            name: values - noisy
            for name, values in test_set.values(metric, reference).items()
            if np.any(np.isfinite(values - noisy) & np.isfinite(snr))
        }
    if not any(gains.values()):
        raise Absent("no utterance has an SNR and an improvement in PESQ or SI-SNR")
    for (metric, reference), systems in gains.items():
        if systems:
            name = metric.replace("_", "-")
            title = f"{name} gain, reference: {REFERENCES[reference]}"
            yield picture(
                f"{test_set.name}_{metric}_by_snr_reference_{reference}",
                figures.improvement_by_snr(metric, snr, systems, title),
                f"{title} against the SNR of the noisy speech: points for utterances, "
                "lines for means with 95 % intervals.",
            )


def _layer_weights(expdir: Path, model: str | None) -> Picture:
    """Draw the weights of SSL layers of an experiment's model."""
    path = find_model(expdir, model)
    weights = read_layer_weights(path, config_of(expdir))
    heaviest = [f"{path} {max(own, key=own.get)}" for path, own in weights.items()]
    caption = f"Heaviest layer: {', '.join(heaviest)}."
    drawn = figures.layer_weights(weights)
    text = f"Weights of {len(next(iter(weights.values())))} SSL layers. {caption}"
    return picture("layer_weights", drawn, text, caption=f"{path.name}. {caption}")


def _training(expdir: Path, model: str | None) -> Iterator[Picture]:
    """Draw the losses and validation measures of an experiment's training."""
    curves = read_curves(expdir)
    try:
        chosen = epoch_of(find_model(expdir, model))
    except NoModel:
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
        phase: {epoch: -value for epoch, value in curve.items()}
        for phase, curve in curves.get(SI_SNR_LOSS, {}).items()
    }
    for title, phases in shown.items():
        ends = [f"{phase} {own[max(own)]:.3g}" for phase, own in phases.items()]
        if ends:
            drawn = figures.training_curves(title, phases, chosen)
            text = f"{title} by epoch; in the last epoch {', '.join(ends)}."
            yield picture(f"training_{title}", drawn, text)
