"""RESULTS.md in ESPnet's layout, and the tables in it."""

import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.scoring import OLD_REFERENCES, REFERENCES
from espnet2_bspmpnet.scoring.files import (
    FOLDERS,
    NOISY,
    Difference,
    Interval,
    Scores,
    Summary,
    differences,
)

LOWER_IS_BETTER = ("LLR", "WSS", "RTF")
SHOWN_DECIMALS = {"LLR": 3, "COSINE": 3, "RTF": 3}
OTHERS_DECIMALS = 2
SCORING = "scoring"  # a folder's name that says nothing about what is scored

NamedScores = tuple[str, Scores]


def tables(rows: Sequence[NamedScores]) -> str:
    """Lay out scores as Markdown: a section for each test set and reference.

    A section has the means, the best in bold, their intervals, the improvements over
    the noisy speech and the differences to the first system, each where there is
    something to show, and says what a mean leaves out.

    Args:
        rows: name -> its scores; those of the same references stand side by side.

    Raises:
        UserError: no rows.
    """
    if not rows:
        raise UserError("nothing to report; name at least one folder of scores")
    sections = []
    for references in dict.fromkeys(
        scores.summary.references_hash for _, scores in rows
    ):
        alike = [row for row in rows if row[1].summary.references_hash == references]
        noisy = [row for row in alike if _is_noisy(row)][:1]
        systems = [row for row in alike if not _is_noisy(row)]
        asked = [p for p in REFERENCES if any(_reference(row) == p for row in systems)]
        for reference in asked or ["clean"]:
            judged = [row for row in systems if _reference(row) == reference]
            sections.append(_section(reference, noisy, judged))
    return "\n".join(sections)


def _is_noisy(row: NamedScores) -> bool:
    return row[1].summary.system == NOISY


def _reference(row: NamedScores) -> str:
    return row[1].summary.reference


def _section(
    reference: str, noisy: Sequence[NamedScores], systems: Sequence[NamedScores]
) -> str:
    rows = [*noisy, *systems]
    metrics = list(
        dict.fromkeys(name for _, scores in rows for name in scores.summary.metrics)
    )
    parts = [
        _means(rows, metrics),
        _grid(
            "95 % interval",
            metrics,
            [
                (
                    name,
                    {
                        metric: _interval(statistics.interval, metric, "")
                        for metric, statistics in scores.summary.metrics.items()
                    },
                )
                for name, scores in rows
            ],
        ),
    ]
    if noisy:
        title = f"improvement over {noisy[0][0]}"
        parts.append(_differences(title, metrics, systems, noisy[0]))
    if len(systems) > 1:
        title = f"difference to {systems[0][0]}"
        parts.append(_differences(title, metrics, systems[1:], systems[0]))
    notes = _notes(reference, noisy, systems, metrics)
    parts.append("".join(f"- {note}\n" for note in notes))
    title = f"### Reference: {REFERENCES[reference]}\n"
    return "\n".join([title, *(part for part in parts if part)])


def _means(rows: Sequence[NamedScores], metrics: Sequence[str]) -> str:
    shown = {
        metric: [
            _number(scores.summary.metrics[metric].mean, metric)
            if metric in scores.summary.metrics
            else ""
            for _, scores in rows
        ]
        for metric in metrics
    }
    for metric, cells in shown.items():
        known = [float(cell) for cell in cells if cell]
        if len(known) > 1:
            best = (min if metric in LOWER_IS_BETTER else max)(known)
            shown[metric] = [
                f"**{cell}**" if cell and float(cell) == best else cell
                for cell in cells
            ]
    lines = [
        (name, {metric: shown[metric][place] for metric in metrics})
        for place, (name, _) in enumerate(rows)
    ]
    return _grid("dataset", metrics, lines)


def _differences(
    title: str,
    metrics: Sequence[str],
    systems: Sequence[NamedScores],
    other: NamedScores,
) -> str:
    return _grid(
        title,
        metrics,
        [
            (
                name,
                {
                    metric: _difference(difference, metric)
                    for metric, difference in differences(scores, other[1]).items()
                },
            )
            for name, scores in systems
        ],
    )


def _difference(difference: Difference, metric: str) -> str:
    interval = _interval(difference.interval, metric, "+")
    mean = _number(difference.mean, metric, "+")
    return f"{mean} ({interval})" if interval else mean


def _interval(interval: Interval | None, metric: str, sign: str) -> str:
    if interval is None:
        return ""
    return " … ".join(_number(end, metric, sign) for end in interval)


def _number(value: float | None, metric: str, sign: str = "") -> str:
    if value is None:
        return ""
    decimals = SHOWN_DECIMALS.get(metric, OTHERS_DECIMALS)
    # Adding 0 turns a negative zero into a plain one.
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"


def _grid(
    title: str, metrics: Sequence[str], rows: Sequence[tuple[str, dict[str, str]]]
) -> str:
    """Draw a Markdown table; nothing where all cells are empty."""
    if not any(any(cells.values()) for _, cells in rows):
        return ""
    lines = [[title, *metrics], ["---"] * (1 + len(metrics))]
    lines += [
        [name, *(cells.get(metric, "") for metric in metrics)] for name, cells in rows
    ]
    return "".join(f"|{'|'.join(line)}|\n" for line in lines)


def _notes(
    reference: str,
    noisy: Sequence[NamedScores],
    systems: Sequence[NamedScores],
    metrics: Sequence[str],
) -> list[str]:
    rows = [*noisy, *systems]
    utterances = {scores.summary.utterances for _, scores in rows}
    notes = [f"Utterances: {utterances.pop()}; intervals by bootstrap over them."]
    if reference != "clean":
        notes += [f"{name}: compared with clean speech." for name, _ in noisy]
    for name, scores in rows:
        summary = scores.summary
        missing = [metric for metric in metrics if metric not in summary.metrics]
        if missing and missing != ["RTF"]:
            notes.append(f"{name}: not scored with {' '.join(missing)}.")
        notes += [f"{name}: {note}." for note in _undefined(summary)]
        notes += [f"{name}: {note}." for note in summary.notes]
    return notes


def _undefined(summary: Summary) -> list[str]:
    """Say which means leave out how many utterances, and why."""
    alike: dict[str, list[str]] = {}
    for metric, statistics in summary.metrics.items():
        if statistics.failures:
            reasons = [f"{why}: {count}" for why, count in statistics.reasons.items()]
            left_out = (
                f"undefined for {statistics.failures} of {summary.utterances} "
                f"utterances, which means leave out ({'; '.join(reasons)})"
            )
            alike.setdefault(left_out, []).append(metric)
    return [f"{', '.join(names)}: {why}" for why, names in alike.items()]


def find_scores(folder: str | Path, name: str = "") -> list[NamedScores]:
    """Find all scores at and below a folder.

    Args:
        folder: that `score` wrote to, or one with such folders in it.
        name: of what lies in it.

    Returns:
        The name and the folders below this one, joined by slashes -> scores.  Folders
        named "scoring" or after references are left out of names; where only one system
        was scored, a given name is its name.

    Raises:
        UserError: there are none, or some are damaged.
    """
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.rglob("summary.json"))
    if not paths:
        path = folder / "summary.json"
        raise UserError(f"{path}: no such file; score first (stage 8)")
    places = [
        [
            part
            for part in path.relative_to(folder).parts
            if part not in (SCORING, *FOLDERS.values(), *OLD_REFERENCES)
        ]
        for path in paths
    ]
    alone = name and all(place == places[0] for place in places)
    names = [
        "/".join(part for part in (name, *([] if alone else place)) if part)
        or folder.resolve().name
        for place in places
    ]
    return [(own, Scores.read(path)) for own, path in zip(names, paths, strict=True)]


def write_results(
    path: str | Path,
    experiment: str,
    config: str | Path | None,
    rows: Sequence[NamedScores],
    more: str = "",
) -> str:
    """Write RESULTS.md.

    Args:
        path: the file to make.
        experiment: name of the experiment, e.g. "enh_train_raw".
        config: the training config it was made with, or None if not known.
        rows: see `tables`.
        more: further sections.

    Returns:
        The tables that the file holds.
    """
    results = "\n".join(part for part in (tables(rows), more) if part)
    write_text(
        path,
        "<!-- Generated by bspmpnet results -->\n"
        "# RESULTS\n"
        f"## Environments\n{_environments()}\n"
        f"## {experiment}\n"
        + (f"config: {config}\n" if config is not None else "")
        + f"\n{results}",
    )
    return results


def _environments() -> str:
    python = " ".join(sys.version.split())
    lines = [
        f"- date: `{time.ctime()}`",
        f"- python version: `{python}`",
        f"- espnet version: `espnet {_version('espnet')}`",
        f"- pytorch version: `pytorch {_version('torch')}`",
        f"- espnet2_bspmpnet version: `{_version('espnet2_bspmpnet')}`",
    ]
    commit = _git("rev-parse", "HEAD")
    if commit:
        lines.append(f"- Git hash: `{commit}`")
        lines.append(f"  - Commit date: `{_git('log', '-1', '--format=%cd')}`")
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    """Ask git about the current folder; an empty answer means there is no commit."""
    try:
        answer = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def trained_with(expdir: str | Path) -> str | None:
    """Look up in an experiment's config.yaml which config file it was given.

    Args:
        expdir: folder of the experiment.

    Returns:
        The path as it was given, or None if there is no config.yaml or no path in it.
    """
    import yaml

    path = Path(expdir) / "config.yaml"
    if not path.is_file():
        return None
    try:
        return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("config")
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML; train again (stage 6)") from error
