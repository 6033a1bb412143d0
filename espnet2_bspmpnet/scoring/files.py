"""Scores of one system: utterances.tsv and summary.json, written, read, compared."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.measures.intervals import mean_intervals
from espnet2_bspmpnet.scoring import OLD_REFERENCES, REFERENCES

# Where both are asked for, each has a folder.
FOLDERS = {name: f"reference_{name}" for name in REFERENCES}
NOISY = "noisy"  # the system that leaves everything as it is
DECIMALS = 6
# Up to the next one, as a reason may have semicolons itself.
REASON = re.compile(r"(\w+): (.*?)(?:; (?=[A-Z]\w*: )|$)")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One utterance.

    Args:
        utterance: its id.
        values: metric -> value.
        reasons: metric -> why it has no value.
        note: what had to be done to the recordings before; may be empty.
    """

    utterance: str
    values: dict[str, float]
    reasons: dict[str, str]
    note: str = ""


@dataclass(frozen=True)
class Statistics:
    """One metric over a set of utterances.

    Args:
        mean: None if no utterance has a value.
        std: standard deviation of the utterances; None below two values.
        interval: 95 % bootstrap interval of the mean; None below two values.
        count: utterances with a value.
        failures: utterances without.
        reasons: reason -> how many utterances have no value because of it.
    """

    mean: float | None
    std: float | None
    interval: Interval | None
    count: int
    failures: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """How far a system's mean lies above another's, over the utterances of both.

    Args:
        mean: None if no utterance has both values.
        interval: paired 95 % bootstrap interval; None below two such utterances.
        count: utterances with both values.
    """

    mean: float | None
    interval: Interval | None
    count: int


@dataclass(frozen=True)
class Summary:
    """All metrics over a set of utterances.

    Args:
        reference: one of REFERENCES.
        system: the name that `score` was given; "noisy" is the unprocessed speech.
        references_hash: of the clean recordings; scores of equal ones may be compared.
        utterances: their number.
        notes: what had to be done to recordings before, for people to read.
        metrics: metric -> its statistics.
        differences: other system -> metric -> the difference to it.
    """

    reference: str
    system: str
    references_hash: str
    utterances: int
    notes: list[str]
    metrics: dict[str, Statistics]
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """A system's rows and their summary.

    Args:
        rows: one an utterance.
        summary: see there.
    """

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
        """Read what `write` has written.

        Args:
            folder: where `score` wrote it.

        Raises:
            UserError: it is not there, or damaged.
        """
        summary = _read_summary(Path(folder) / "summary.json")
        rows = _read_rows(Path(folder) / "utterances.tsv", list(summary.metrics))
        return cls(rows, summary)


def statistics(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, Statistics]:
    """Summarise rows.

    Args:
        rows: one an utterance.
        metrics: names.

    Returns:
        Metric -> its statistics.
    """
    values = _values(rows, metrics)
    found = {}
    for name, column, interval in zip(
        metrics, values.T, mean_intervals(values), strict=True
    ):
        known = column[np.isfinite(column)]
        reasons = Counter(row.reasons[name] for row in rows if name in row.reasons)
        found[name] = Statistics(
            mean=round(float(known.mean()), DECIMALS) if len(known) else None,
            std=round(float(known.std(ddof=1)), DECIMALS) if len(known) > 1 else None,
            interval=_interval(interval),
            count=len(known),
            failures=len(rows) - len(known),
            reasons=dict(sorted(reasons.items())),
        )
    return found


def differences(scores: Scores, other: Scores) -> dict[str, Difference]:
    """Compare two systems utterance by utterance.

    Args:
        scores: of one system.
        other: of another, over the same utterances.

    Returns:
        Metric that both have -> mean of one minus the other.
    """
    utterances = [[row.utterance for row in one.rows] for one in (scores, other)]
    assert utterances[0] == utterances[1], utterances
    metrics = [name for name in scores.summary.metrics if name in other.summary.metrics]
    values = scores.values(metrics) - other.values(metrics)
    found = {}
    for name, column, interval in zip(
        metrics, values.T, mean_intervals(values), strict=True
    ):
        known = column[np.isfinite(column)]
        mean = round(float(known.mean()), DECIMALS) if len(known) else None
        found[name] = Difference(mean, _interval(interval), len(known))
    return found


def _values(rows: Sequence[Row], metrics: Sequence[str]) -> np.ndarray:
    return np.array(
        [[row.values.get(name, np.nan) for name in metrics] for row in rows]
    ).reshape(len(rows), len(metrics))


def _interval(ends: np.ndarray) -> Interval | None:
    if not np.isfinite(ends).all():
        return None
    lower, upper = (round(float(end), DECIMALS) for end in ends)
    return lower, upper


def _table(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    lines = ["\t".join(["utt", *metrics, "reason", "note"])]
    for row in rows:
        cells = [
            f"{row.values[name]:.{DECIMALS}f}" if name in row.values else ""
            for name in metrics
        ]
        reason = "; ".join(f"{name}: {why}" for name, why in row.reasons.items())
        lines.append("\t".join([row.utterance, *cells, reason, row.note]))
    return "\n".join(lines) + "\n"


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file; score first (stage 8)")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path}: damaged or of an older version; score again (stage 8)")


def _read_summary(path: Path) -> Summary:
    try:
        content = json.loads(_read(path))
        if "protocol" in content:  # written before references had these names
            content["reference"] = OLD_REFERENCES[content.pop("protocol")]
            content["references_hash"] = content.pop("references")
        metrics = {
            name: Statistics(**_with_interval(values))
            for name, values in content.pop("metrics").items()
        }
        others = {
            other: {
                name: Difference(**_with_interval(values))
                for name, values in entries.items()
            }
            for other, entries in content.pop("differences").items()
        }
        return Summary(metrics=metrics, differences=others, **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _with_interval(values: dict) -> dict:
    ends = values["interval"]
    return {**values, "interval": None if ends is None else tuple(ends)}


def _read_rows(path: Path, metrics: Sequence[str]) -> list[Row]:
    lines = csv.DictReader(
        io.StringIO(_read(path)), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    try:
        return [
            Row(
                line["utt"],
                {name: float(line[name]) for name in metrics if line[name]},
                dict(REASON.findall(line["reason"])),
                line["note"],
            )
            for line in lines
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path) from error
