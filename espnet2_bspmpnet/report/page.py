"""An experiment as one HTML page that needs nothing else, and its figures as PNG files."""

import base64
import re
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from string import Template

from espnet2_bspmpnet.files.atomic import replacing, write_text
from espnet2_bspmpnet.report.contents import (
    Picture,
    before_and_after,
    choose_examples,
    has_metric,
    improvement_by_snr,
    label,
    layer_weights,
    read_example,
    references_of,
    seconds_to_hear,
    spectrograms,
    training,
)
from espnet2_bspmpnet.report.experiment import Absent, TestSet, find_test_sets
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.results import tables, trained_with

TEMPLATE = Path(__file__).with_suffix(".html")
KEY_FIGURES = ("PESQ", "STOI", "SI_SNR", "DNSMOS_OVRL")


def write_report(
    expdir: str | Path,
    data_dirs: Sequence[str | Path] | None = None,
    model: str | None = None,
) -> Path:
    """Write EXP_DIR/report/index.html, and its figures beside it.

    A part that the experiment does not have is left out, and the page says why.

    Args:
        expdir: folder of the experiment, in or below which speech was scored.
        data_dirs: data directories of the test sets; None looks through dump/raw/*.
        model: file in the experiment's folder whose weights of SSL layers are shown;
            None takes the best by the first of best_model_criterion.

    Returns:
        The page.

    Raises:
        UserError: no such experiment, nothing scored yet, or damaged files.
    """
    expdir = Path(expdir)
    test_sets = find_test_sets(expdir, data_dirs)
    page = _Page()
    seconds = seconds_to_hear(test_sets)
    for test_set in test_sets:
        page.add_test_set(test_set, seconds)
    page.add_training(expdir, model)
    folder = expdir / "report"
    for picture in page.pictures:
        with replacing(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.content)
    title = f"{expdir.resolve().name}: speech enhancement"
    config = trained_with(expdir)
    summary = f"<p class=faint>Trained with {escape(config)}</p>" if config else ""
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        summary=summary,
        links=page.links(),
        sections="\n".join(page.parts),
        date=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_text(folder / "index.html", text)
    return folder / "index.html"


class _Page:
    """The page's parts as they are added, one below the other."""

    def __init__(self):
        self.parts: list[str] = []
        self.pictures: list[Picture] = []
        self.headings: dict[str, str] = {}  # anchor -> text

    def links(self) -> str:
        return "\n".join(
            f'<li><a href="#{anchor}">{escape(text)}</a></li>'
            for anchor, text in self.headings.items()
        )

    def heading(self, text: str) -> None:
        anchor = f"section{len(self.headings) + 1}"
        self.headings[anchor] = text
        self.parts.append(f'<h2 id="{anchor}">{escape(text)}</h2>')

    def figures(self, drawing: Iterator[Picture], kind: str = "") -> None:
        """Add figures as they are drawn, or the reason why there are none."""
        try:
            drawn = list(drawing)
        except Absent as absent:
            self.leave_out(str(absent))
            return
        self.pictures += drawn
        images = "\n".join(_figure(picture) for picture in drawn)
        self.parts.append(f'<div class="figures {kind}">\n{images}\n</div>')

    def leave_out(self, reason: str) -> None:
        self.parts.append(f"<p class=absent>Left out: {escape(reason)}.</p>")

    def add_test_set(self, test_set: TestSet, seconds: float) -> None:
        name = test_set.name
        rows = [*([test_set.noisy] if test_set.noisy else []), *test_set.systems]
        self.heading(f"Results: {name}")
        self.parts.append(_tiles(test_set))
        self.parts.append(_tables_as_html(tables(rows)))
        self.heading(f"Utterance by utterance: {name}")
        if test_set.noisy and "pcs" in references_of(test_set):
            self.parts.append(
                "<p class=faint>Noisy speech is always compared with clean speech, beside "
                "PCS of the clean speech as well.</p>"
            )
        self.figures(before_and_after(test_set))
        self.parts.append(
            "<h3>Improvement against the SNR of the noisy speech</h3>\n<p class=faint>"
            "Points are utterances, lines the means of alike SNR with their 95 % "
            "intervals.</p>"
        )
        self.figures(improvement_by_snr(test_set))
        self.heading(f"To see and hear: {name}")
        try:
            self._add_examples(test_set, seconds)
        except Absent as absent:
            self.leave_out(str(absent))

    def _add_examples(self, test_set: TestSet, seconds: float) -> None:
        name, scores = test_set.systems[0]
        reference = scores.summary.reference
        examples = choose_examples(test_set)
        read = {
            which: read_example(test_set, test_set.utterances[place], seconds)
            for which, place in examples.items()
        }
        if not any(recordings for recordings, _ in read.values()):
            raise Absent("recordings were not found (--data_dir names noisy and clean)")
        judged = escape(label(name, test_set.name))
        self.parts.append(
            f"<p class=faint>By improvement in PESQ: {judged}, reference: "
            f"{REFERENCES[reference]}.</p>"
        )
        for which, place in examples.items():
            utterance = test_set.utterances[place]
            before, after = (
                one.values(["PESQ"])[place, 0] for one in (test_set.noisy[1], scores)
            )
            recordings, notes = read[which]
            whole = max((one.whole for one in recordings.values()), default=0.0)
            cut = f" The first {seconds:.3g} of {whole:.1f} s." if whole else ""
            self.parts.append(
                f"<h3>{which}: {escape(utterance)}</h3>\n"
                f"<p>PESQ {before:.2f} → {after:.2f} ({after - before:+.2f}).{cut}</p>"
            )
            for note in notes:
                self.leave_out(note)
            self.figures(
                spectrograms(recordings, utterance, f"{test_set.name}_{which}"),
                "small",
            )

    def add_training(self, expdir: Path, model: str | None) -> None:
        self.heading("SSL layers")
        self.figures(layer_weights(expdir, model))
        self.heading("Training")
        self.figures(training(expdir, model))


# The results


def _tiles(test_set: TestSet) -> str:
    """Show the first system's main figures, and where they come from."""
    name, scores = test_set.systems[0]
    tiles = []
    for metric in KEY_FIGURES:
        if not has_metric((name, scores), metric):
            continue
        mean = f"{scores.summary.metrics[metric].mean:.2f}"
        if test_set.noisy and has_metric(test_set.noisy, metric):
            before = test_set.noisy[1].summary.metrics[metric].mean
            mean = f"{before:.2f} → {mean}"
        unit = {"STOI": " (%)", "SI_SNR": " (dB)"}.get(metric, "")
        shown = metric.replace("_", "-") + unit
        tiles.append(f"<div class=tile>{shown}<b>{mean}</b></div>")
    system = escape(label(name, test_set.name))
    arrow = f"noisy → {system}" if test_set.noisy else system
    said = f"{arrow}, {scores.summary.utterances} utterances, reference: "
    return (
        f"<div class=tiles>{''.join(tiles)}</div>\n"
        f"<p class=faint>Means: {said}{REFERENCES[scores.summary.reference]}.</p>"
    )


def _tables_as_html(markdown: str) -> str:
    """Write the tables of RESULTS.md as HTML; all but the means are folded away."""
    written = []
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if block.startswith("### "):
            written.append(f"<h3>{escape(block[4:])}</h3>")
        elif block.startswith("|"):
            title = lines[0].split("|")[1]
            table = _table(lines)
            if title != "dataset":
                summary = f"<summary>{escape(title.capitalize())}</summary>"
                table = f"<details>{summary}{table}</details>"
            written.append(table)
        else:
            notes = [f"<li>{escape(line.removeprefix('- '))}</li>" for line in lines]
            written.append(f"<ul class=faint>{''.join(notes)}</ul>")
    return "\n".join(written)


def _table(lines: Sequence[str]) -> str:
    head, _, *body = (escape(line).strip("\n")[1:-1].split("|") for line in lines)
    names = "".join(
        f"<th scope=col>{name.replace('DNSMOS_', 'DNSMOS_<wbr>')}</th>" for name in head
    )
    rows = []
    for name, *cells in body:
        values = "".join(f"<td>{_strong(cell)}</td>" for cell in cells)
        rows.append(f"<tr><th scope=row>{name}</th>{values}</tr>")
    # In the tab order, so that it can be scrolled without a mouse.
    return (
        f'<div class=table tabindex=0 role=region aria-label="{head[0]}"><table>'
        f"<thead><tr>{names}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _strong(cell: str) -> str:
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", cell)


def _figure(picture: Picture) -> str:
    """Write a picture with its image and sound inside."""
    alt = escape(picture.alt)
    inside = f'<img alt="{alt}" src="{_data_uri("image/png", picture.content)}">'
    if picture.sound:
        source = _data_uri("audio/flac", picture.sound)
        inside += (
            f'\n<audio controls aria-label="Listen: {alt}" src="{source}"></audio>'
        )
    if picture.caption:
        inside += f"\n<figcaption>{escape(picture.caption)}</figcaption>"
    return f"<figure>{inside}</figure>"


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
