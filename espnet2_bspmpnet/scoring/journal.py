"""What has been measured already, so that scoring resumes where it stopped.

``scores.jsonl`` has a line for each pair of recordings, known by hashes of their contents,
and each way to compare them:

    {"measures": …, "reference": …, "estimate": …, "comparison": "clean",
     "values": {"PESQ": 2.5}, "reasons": {"STOI": "less than 0.4 s of speech"}}

Lines are appended while scoring runs; one that a killed run left incomplete is ignored.
Jobs of parts append to scores.K-N.jsonl instead; the run that finishes merges all files.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from espnet2_bspmpnet.files.atomic import append_text, write_text
from espnet2_bspmpnet.measures import VERSION
from espnet2_bspmpnet.scoring.pairs import Comparison

# What a value depends on besides the two recordings and VERSION of measures/: when one of
# these packages changes, all is measured again.
PACKAGES = (
    "librosa", "numba", "numpy", "onnx", "pesq", "pystoi", "scipy", "soxr", "speechmos"
)  # fmt: skip


@dataclass
class Outcome:
    """What was measured."""

    values: dict[str, float] = field(default_factory=dict)  # metric -> value
    reasons: dict[str, str] = field(default_factory=dict)  # metric -> why there is none

    def __contains__(self, metric: str) -> bool:
        return metric in self.values or metric in self.reasons


class Journal:
    """The outcomes of earlier runs in a folder, which need not exist, and of this one.

    A job that measures a part gives its number and how many there are.
    """

    def __init__(self, folder: Path, part: tuple[int, int] | None = None):
        self.folder = folder
        self.whole = folder / "scores.jsonl"
        self.path = folder / "scores.{}-{}.jsonl".format(*part) if part else self.whole
        self.outcomes: dict[Comparison, Outcome] = {}
        for path in (self.whole, *self._parts()):
            if path.is_file():
                self._read(path)

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("scores.*-*.jsonl"))

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            self._read_line(line)
        if path == self.path and text and not text.endswith("\n"):
            append_text(path, "\n")

    def _read_line(self, line: str) -> None:
        with suppress(ValueError, KeyError, TypeError):
            record = json.loads(line)
            files = record["reference"], record["estimate"]
            comparison = Comparison(*files, record["comparison"])
            outcome = Outcome(dict(record["values"]), dict(record["reasons"]))
            if record["measures"] == measures_version():
                self._merge(comparison, outcome)

    def _merge(self, comparison: Comparison, outcome: Outcome) -> None:
        known = self.outcomes.setdefault(comparison, Outcome())
        known.values |= outcome.values
        known.reasons |= outcome.reasons

    def __getitem__(self, comparison: Comparison) -> Outcome:
        """Everything known about a comparison; may be empty."""
        return self.outcomes.get(comparison, Outcome())

    def add(self, outcomes: Mapping[Comparison, Outcome]) -> None:
        """Append what was measured; a MachineError says that the disk cannot take it."""
        for comparison, outcome in outcomes.items():
            self._merge(comparison, outcome)
        append_text(self.path, "".join(_line(*pair) for pair in outcomes.items()))

    def save(self) -> None:
        """Rewrite scores.jsonl: sorted, without what other versions have measured."""
        lines = [_line(*pair) for pair in self.outcomes.items()]
        write_text(self.whole, "".join(sorted(lines)))
        for path in self._parts():
            path.unlink()


def _line(comparison: Comparison, outcome: Outcome) -> str:
    record = {
        "measures": measures_version(),
        "reference": comparison.reference,
        "estimate": comparison.estimate,
        "comparison": comparison.kind,
        "values": dict(sorted(outcome.values.items())),
        "reasons": dict(sorted(outcome.reasons.items())),
    }
    return json.dumps(record) + "\n"


@cache
def measures_version() -> str:
    """Give the version of the measures and of the packages that they call."""
    packages = ",".join(f"{name} {installed_version(name)}" for name in PACKAGES)
    return f"{VERSION};{packages}"


def installed_version(package: str) -> str:
    """Give the version of a package, or "none"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
