"""The tables of scores: means, intervals, differences, and a short one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.scores import (
    NOISY,
    Mean,
    NamedScores,
    Summary,
    differences,
)
from espnet2_bspmpnet.scoring.tables import Cell, Section, Table

LOWER_IS_BETTER = ("LLR", "WSS", "RTF")
DECIMALS = {"LLR": 3, "COSINE": 3, "RTF": 3}  # 2 of others
NamedMeans = Sequence[tuple[str, Mapping[str, Mean]]]  # name -> metric -> mean
# The measures of the short table, and its columns.
SHORT = {name: name for name in ("PESQ", "CSIG", "CBAK", "COVL", "STOI")}
SHORT |= {"SI_SNR": "SI-SNR", "DNSMOS_OVRL": "DNSMOS"}


def sections_of(rows: Sequence[NamedScores]) -> list[Section]:
    """Lay out name -> scores: a section for each test set and reference.

    A section has the means, the best in bold, their intervals, the improvements over
    the noisy speech and the differences to the first system, each where there is
    something to show, and says what a mean leaves out.  No rows are a UserError.
    """
    return [_section(*group) for group in _groups(rows)]


def overview(rows: Sequence[NamedScores]) -> Section:
    """Lay out the means of a few measures in one table of all test sets.

    Scores against clean speech are shown, or if there are none those against PCS of it.
    There is no table where none of these measures was taken.
    """
    groups = list(_groups(rows))
    reference = groups[0][0]
    alike = [noisy + systems for own, noisy, systems in groups if own == reference]
    shown = [row for rows in alike for row in rows]
    known = _metrics(shown)
    metrics = [name for name in SHORT if name in known]
    table = _table("dataset", metrics, _means(shown), interval=False)
    table = replace(table, columns=[SHORT[name] for name in metrics])
    return Section(_heading(reference), [table] if metrics else [])


def _groups(
    rows: Sequence[NamedScores],
) -> Iterator[tuple[str, list[NamedScores], list[NamedScores]]]:
    """Yield for each test set and reference the noisy speech and the systems."""
    if not rows:
        raise UserError("nothing to report; name at least one folder of scores")
    for test_set in dict.fromkeys(scores.summary.references_hash for _, scores in rows):
        alike = [row for row in rows if row[1].summary.references_hash == test_set]
        noisy = [row for row in alike if row[1].summary.system == NOISY][:1]
        systems = [row for row in alike if row[1].summary.system != NOISY]
        for reference in REFERENCES:
            judged = [row for row in systems if row[1].summary.reference == reference]
            if judged or (not systems and reference == "clean"):
                yield reference, noisy, judged


def _heading(reference: str) -> str:
    return f"Reference: {REFERENCES[reference]}"


def _metrics(rows: Sequence[NamedScores]) -> list[str]:
    return list(dict.fromkeys(name for _, one in rows for name in one.summary.metrics))


def _means(rows: Sequence[NamedScores]) -> NamedMeans:
    return [(name, scores.summary.metrics) for name, scores in rows]


def _section(
    reference: str, noisy: Sequence[NamedScores], systems: Sequence[NamedScores]
) -> Section:
    rows = [*noisy, *systems]
    metrics = _metrics(rows)
    means = _means(rows)
    tables = [
        _with_best(_table("dataset", metrics, means, interval=False)),
        _table("95 % interval", metrics, means, value=False),
    ]
    compared = [("improvement over", systems, noisy)]
    compared += [("difference to", systems[1:], systems[:1])]
    for title, judged, others in compared:
        for other, base in others:
            signed = [(name, differences(scores, base)) for name, scores in judged]
            tables.append(_table(f"{title} {other}", metrics, signed, signed=True))
    tables = [
        table
        for table in tables
        if any(cell.text for _, cells in table.rows for cell in cells)
    ]
    return Section(_heading(reference), tables, _notes(reference, noisy, rows, metrics))


def _table(
    title: str,
    metrics: Sequence[str],
    rows: NamedMeans,
    value: bool = True,
    interval: bool = True,
    signed: bool = False,
) -> Table:
    """Lay out name -> metric -> mean, with its value, its interval or both."""
    filled = []
    for name, means in rows:
        cells = []
        for metric in metrics:
            found = means.get(metric, Mean(None, None, 0))
            mean = found.mean if value else None
            ends = found.interval if interval else None
            cells.append(Cell(mean, ends, DECIMALS.get(metric, 2), signed))
        filled.append((name, cells))
    return Table(title, metrics, filled)


def _with_best(table: Table) -> Table:
    """Make the best of each column bold, where several have a value."""
    columns = []
    for metric, *cells in zip(table.columns, *(cells for _, cells in table.rows)):
        # Compared as they are shown.
        known = [cell.text for cell in cells if cell.text]
        choose = min if metric in LOWER_IS_BETTER else max
        best = choose(known, key=float) if len(known) > 1 else None
        columns.append([replace(cell, bold=cell.text == best) for cell in cells])
    names = (name for name, _ in table.rows)
    return replace(table, rows=list(zip(names, zip(*columns))))


def _notes(
    reference: str,
    noisy: Sequence[NamedScores],
    rows: Sequence[NamedScores],
    metrics: Sequence[str],
) -> list[str]:
    count = rows[0][1].summary.utterances
    notes = [f"Utterances: {count}. Intervals: bootstrap over utterances."]
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
