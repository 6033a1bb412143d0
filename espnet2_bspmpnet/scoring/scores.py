"""Scores of one system: utterances.tsv and summary.json, written, read, compared."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.measures.intervals import mean_intervals
from espnet2_bspmpnet.scoring import FOLDERS, OLD_REFERENCES

NOISY = "noisy"  # the system that leaves everything as it is
SCORING = "scoring"  # a folder's name that says nothing about what is scored
DECIMALS = 6
# Up to the next one, as a reason may have semicolons itself.
REASON = re.compile(r"(\w+): (.*?)(?:; (?=[A-Z]\w*: )|$)")


@dataclass(frozen=True)
class Row:
    """One utterance."""

    utterance: str  # its id
    values: dict[str, float]  # metric -> value
    reasons: dict[str, str]  # metric -> why it has no value
    note: str = ""  # what had to be done to the recordings before


@dataclass(frozen=True)
class Mean:
    """A mean over utterances, of one metric or of the differences between two systems."""

    mean: float | None  # None if no utterance has a value
    interval: list[float] | None  # 95 %, by bootstrap; None below two values
    count: int  # utterances with a value


@dataclass(frozen=True)
class Statistics(Mean):
    """One metric over a set of utterances."""

    std: float | None  # standard deviation of the utterances; None below two values
    failures: int  # utterances without a value
    reasons: dict[str, int]  # reason -> how many utterances have no value because of it


@dataclass(frozen=True)
class Summary:
    """All metrics over a set of utterances."""

    reference: str  # one of REFERENCES
    system: str  # the name that `score` was given; "noisy" is the unprocessed speech
    references_hash: str  # of the clean recordings; equal ones may be compared
    utterances: int  # their number
    notes: list[str]  # what had to be done to recordings before, for people to read
    metrics: dict[str, Statistics]
    # Other system -> metric -> mean of this system's values minus the other's.
    differences: dict[str, dict[str, Mean]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """A system's rows, one an utterance, and their summary."""

    rows: list[Row]
    summary: Summary

    def values(self, metrics: Sequence[str]) -> np.ndarray:
        """Give the values of some metrics [N, M], NaN where there is none."""
        return _values(self.rows, metrics)

    def write(self, folder: Path) -> None:
        """Write utterances.tsv, then summary.json."""
        (folder / "summary.json").unlink(missing_ok=True)
        write_text(folder / "utterances.tsv", _table(self.rows, self.summary.metrics))
        summary = json.dumps(asdict(self.summary), indent=2)
        write_text(folder / "summary.json", summary + "\n")

    @classmethod
    def read(cls, folder: str | Path) -> "Scores":
        """Read what `write` wrote; a UserError if it is not there, or damaged."""
        folder = Path(folder)
        summary = _read(folder / "summary.json", _summary)
        read_rows = partial(_rows, metrics=summary.metrics)
        return cls(_read(folder / "utterances.tsv", read_rows), summary)


NamedScores = tuple[str, Scores]


def statistics(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Statistics]:
    """Summarise rows: metric -> its statistics."""
    found = {}
    for name, mean, known in _means(_values(rows, metrics), metrics):
        reasons = Counter(row.reasons[name] for row in rows if name in row.reasons)
        found[name] = Statistics(
            **asdict(mean),
            std=round(float(known.std(ddof=1)), DECIMALS) if len(known) > 1 else None,
            failures=len(rows) - len(known),
            reasons=dict(sorted(reasons.items())),
        )
    return found


def differences(scores: Scores, other: Scores) -> dict[str, Mean]:
    """Give each common metric's mean of one system minus the other, with its interval."""
    utterances = [[row.utterance for row in one.rows] for one in (scores, other)]
    assert utterances[0] == utterances[1], utterances
    metrics = [name for name in scores.summary.metrics if name in other.summary.metrics]
    values = scores.values(metrics) - other.values(metrics)
    return {name: mean for name, mean, _ in _means(values, metrics)}


def _means(
    values: np.ndarray, metrics: Sequence[str]
) -> Iterator[tuple[str, Mean, np.ndarray]]:
    """Yield each metric's mean and finite values from those of all utterances [N, M]."""
    columns = zip(metrics, values.T, mean_intervals(values), strict=True)
    for name, column, ends in columns:
        known = column[np.isfinite(column)]
        mean = round(float(known.mean()), DECIMALS) if len(known) else None
        interval = [round(end, DECIMALS) for end in ends.tolist()]
        if not np.isfinite(ends).all():
            interval = None
        yield name, Mean(mean, interval, len(known)), known


def _values(rows: Sequence[Row], metrics: Sequence[str]) -> np.ndarray:
    return np.array(
        [[row.values.get(name, np.nan) for name in metrics] for row in rows]
    ).reshape(len(rows), len(metrics))


def _table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    lines = ["\t".join(["utt", *metrics, "reason", "note"])]
    for row in rows:
        shown = {name: f"{value:.{DECIMALS}f}" for name, value in row.values.items()}
        cells = [shown.get(name, "") for name in metrics]
        reason = "; ".join(f"{name}: {why}" for name, why in row.reasons.items())
        lines.append("\t".join([row.utterance, *cells, reason, row.note]))
    return "\n".join(lines) + "\n"


def _rows(text: str, metrics: Sequence[str]) -> list[Row]:
    head, *lines = (line.split("\t") for line in text.splitlines())
    rows = []
    for line in lines:
        cells = dict(zip(head, line, strict=True))
        values = {name: float(cells[name]) for name in metrics if cells[name]}
        reasons = dict(REASON.findall(cells["reason"]))
        rows.append(Row(cells["utt"], values, reasons, cells["note"]))
    return rows


def _summary(text: str) -> Summary:
    content = json.loads(text)
    if "protocol" in content:  # what `reference` was called in former versions
        content["reference"] = OLD_REFERENCES[content.pop("protocol")]
        content["references_hash"] = content.pop("references")
    metrics = content.pop("metrics").items()
    content["metrics"] = {name: Statistics(**values) for name, values in metrics}
    content["differences"] = {
        other: {name: Mean(**values) for name, values in means.items()}
        for other, means in content.pop("differences").items()
    }
    return Summary(**content)


def _read(path: Path, parse):
    if not path.is_file():
        raise UserError(f"{path}: no such file; score first (stage 8)")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged or of an older version; score again (stage 8)"
        ) from error


def find_scores(folder: str | Path, name: str = "") -> list[NamedScores]:
    """Find all scores at and below a folder; a UserError if there are none, or damaged.

    Returns:
        The given name and the folders below this one, joined by slashes -> scores.
        Folders named "scoring" or after references are left out of names; where only one
        system was scored, a given name is its name.
    """
    folder = Path(folder)
    paths = sorted(path.parent for path in folder.rglob("summary.json")) or [folder]
    unnamed = {SCORING, *FOLDERS.values(), *OLD_REFERENCES}
    places = [
        [part for part in path.relative_to(folder).parts if part not in unnamed]
        for path in paths
    ]
    alone = name and all(place == places[0] for place in places)
    names = [
        "/".join(part for part in (name, *([] if alone else place)) if part)
        or folder.resolve().name
        for place in places
    ]
    return [(own, Scores.read(path)) for own, path in zip(names, paths, strict=True)]
