"""Scores of files: folders of recordings in, tables and summaries out.

The reference is the clean speech (``clean``), as every system of the field reports, or
PCS of the clean speech (``pcs``), at its own level and loudness: the paper's figures are
such, apart from its noisy row, which is that of the clean speech.

``score`` writes to DIR[/reference_clean or _pcs][/NAME], where the former is there if both
references are asked for and NAME if the system has one:

    utterances.tsv  one row an utterance: its metrics, reasons for empty cells, notes
    summary.json    means and their intervals, see files.Summary

and to DIR itself RESULTS.md, the tables, and scores.jsonl, see journal.py.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import read_audio, resample
from espnet2_bspmpnet.data.datadir import TIMES, read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.parallel import parallel_map
from espnet2_bspmpnet.measures.metrics import (
    METRICS,
    REFERENCE_FREE,
    check_metrics,
    score_pair,
)
from espnet2_bspmpnet.measures.pcs_boost import boost
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE
from espnet2_bspmpnet.scoring import BOTH, OLD_REFERENCES, REFERENCES, results
from espnet2_bspmpnet.scoring.files import (
    DECIMALS,
    FOLDERS,
    NOISY,
    Row,
    Scores,
    Summary,
    differences,
    statistics,
)
from espnet2_bspmpnet.scoring.journal import Comparison, Journal, Outcome
from espnet2_bspmpnet.scoring.pairs import (
    File,
    Pair,
    hash_of_references,
    inspect_files,
    notes_on,
    pair_up,
)

UNNAMED = "enhanced"  # a lone system, whose scores lie in the output folder itself
RTF = "RTF"
# What is compared: the recordings as they are, the reference with PCS, both with PCS,
# or nothing, as the measure looks at the estimate alone.
KINDS = CLEAN, PCS, PCS_BOTH, ALONE = "clean", "pcs", "pcs both", "alone"


@dataclass(frozen=True)
class _Task:
    pair: Pair
    wanted: dict[str, tuple[str, ...]]  # kind -> metrics


@dataclass(frozen=True)
class _System:
    name: str
    path: Path
    named: bool = True
    natural: bool = False

    def kind(self, metric: str, reference: str) -> str:
        if reference == "pcs" and self.natural:
            return PCS_BOTH
        if metric in REFERENCE_FREE:
            return ALONE
        return PCS if reference == "pcs" else CLEAN

    def times(self) -> dict[str, float]:
        """Read how long each utterance took; empty where nobody wrote it down."""
        folder = self.path.parent if self.path.is_file() else self.path
        path = folder / TIMES
        if not path.is_file():
            return {}
        times = {}
        for utterance, text in read_scp(path).items():
            try:
                times[utterance] = float(text)
            except ValueError:
                times[utterance] = np.nan
            if not 0.0 <= times[utterance] < np.inf:
                raise UserError(f"{path}: {utterance} took {text!r}; enhance it again")
        return times


def score(
    ref: str | Path,
    inf: str | Path | Mapping[str, str | Path],
    output: str | Path,
    *,
    noisy: str | Path | None = None,
    reference: str = "clean",
    metrics: Sequence[str] | None = None,
    natural: Collection[str] = (),
    nj: int = 1,
    part: tuple[int, int] | None = None,
) -> list[Scores]:
    """Score recordings against references, and write tables.

    What an earlier run has measured of the same recordings is not measured again.

    Args:
        ref: clean speech: a folder of audio files, or a list of them such as wav.scp.
        inf: speech to judge, likewise; of several systems name -> folder or list.
            Times are read from a file utt2seconds beside it.
        output: folder to write to.
        noisy: the unprocessed speech, to show improvements.
        reference: "clean", "pcs" or "both".
        metrics: names out of METRICS, and RTF, the real-time factor; None takes all
            (RTF where there are times).
        natural: systems that PCS is applied to before they are compared with "pcs", as
            they give out speech of natural spectral balance.
        nj: number of processes.
        part: (k, n) measures the k-th of n shares of the utterances alone; jobs do so
            at the same time, and a last call without it finds what they measured.

    Returns:
        For each reference the systems' scores, first the noisy speech's; none of a part.

    Raises:
        UserError: an unknown metric, reference or name, utterances that differ, bad
            files, lengths that differ by more than 0.1 s.
    """
    references = _references(reference)
    systems = _systems(inf, noisy, natural)
    metrics = _metrics(metrics, systems)
    paths = {"": Path(ref)} | {one.name: one.path for one in systems}
    files = inspect_files(paths, nj, part)
    pairs = {one.name: pair_up(files[""], files[one.name]) for one in systems}
    for name, ours in pairs.items():
        for note in notes_on(ours):
            logging.warning("%s: %s", name, note)
    # The noisy speech is always compared with clean speech, as in the paper.
    runs = [
        (system, "clean" if system.name == NOISY else reference)
        for reference in references
        for system in systems
    ]
    runs = list(dict.fromkeys(runs))
    output = Path(output)
    journal = Journal(output, part)
    tasks = _tasks(runs, pairs, metrics, journal)
    count = len({pair for ours in pairs.values() for pair in ours.values()})
    # Not where nothing is left to do, as in the call that follows the jobs of parts.
    if len(tasks) < count and (tasks or part is not None):
        kept = f"{count - len(tasks)} of {count}"
        logging.info("%s pairs are kept as an earlier run measured them", kept)
    parallel_map(_measure, tasks, nj, f"scoring into {output}", journal.add)
    if part is not None:
        return []
    journal.save()
    _rename_old_folders(output)
    found = _with_differences(
        [
            _scores(system, reference, pairs[system.name], metrics, journal)
            for system, reference in runs
        ]
    )
    for (system, reference), scores in zip(runs, found, strict=True):
        folder = output / FOLDERS[reference] if len(references) > 1 else output
        scores.write(folder / system.name if system.named else folder)
    rows = [(scores.summary.system, scores) for scores in found]
    write_text(output / "RESULTS.md", f"# RESULTS\n\n{results.tables(rows)}")
    return found


def _rename_old_folders(output: Path) -> None:
    for old, reference in OLD_REFERENCES.items():
        if (output / old).is_dir() and not (output / FOLDERS[reference]).exists():
            (output / old).rename(output / FOLDERS[reference])


def _references(asked: str) -> tuple[str, ...]:
    if asked == BOTH:
        return tuple(REFERENCES)
    if asked not in REFERENCES:
        allowed = ", ".join([*REFERENCES, BOTH])
        raise UserError(f"reference: {asked!r} is not one of {allowed}")
    return (asked,)


def _systems(
    inf: str | Path | Mapping[str, str | Path],
    noisy: str | Path | None,
    natural: Collection[str],
) -> list[_System]:
    named = isinstance(inf, Mapping)
    systems = [
        _System(name, Path(path), named, name in natural)
        for name, path in (inf if named else {UNNAMED: inf}).items()
    ]
    for system in systems:
        if system.name in (NOISY, "", ".", "..") or "/" in system.name:
            raise UserError(
                f"{system.name!r} ({system.path}): cannot be a system's name; give it "
                "another, without slashes (noisy is that of the unprocessed speech)"
            )
    if noisy is not None:
        systems.insert(0, _System(NOISY, Path(noisy)))
    if not systems:
        raise UserError("nothing to score; name a folder of enhanced or noisy speech")
    unknown = sorted(set(natural) - {system.name for system in systems})
    if unknown:
        known = " ".join(system.name for system in systems)
        raise UserError(f"natural: no system {' '.join(unknown)}; there are {known}")
    return systems


def _metrics(asked: Sequence[str] | None, systems: Sequence[_System]) -> list[str]:
    timed = any(system.times() for system in systems)
    if asked is None:
        return [*METRICS, RTF] if timed else list(METRICS)
    if RTF in asked and not timed:
        raise UserError(
            f"{RTF}: there is no {TIMES} beside the speech; enhance it again, or leave "
            f"{RTF} out"
        )
    metrics = list(dict.fromkeys(asked))
    if metrics != [RTF]:
        check_metrics([name for name in metrics if name != RTF])
    return metrics


def _tasks(
    runs: Iterable[tuple[_System, str]],
    pairs: Mapping[str, Mapping[str, Pair]],
    metrics: Sequence[str],
    journal: Journal,
) -> list[_Task]:
    """List what is still to be measured: one task a pair, in the order of the runs."""
    wanted: dict[Pair, dict[str, dict[str, None]]] = {}
    for system, reference in runs:
        for pair in pairs[system.name].values():
            for metric in metrics:
                kind = system.kind(metric, reference)
                if metric != RTF and metric not in journal[pair.comparison(kind)]:
                    wanted.setdefault(pair, {}).setdefault(kind, {})[metric] = None
    return [
        _Task(pair, {kind: tuple(names) for kind, names in kinds.items()})
        for pair, kinds in wanted.items()
    ]


def _measure(task: _Task) -> dict[Comparison, Outcome]:
    pair = task.pair
    reference, rate = read_audio(pair.reference.path)
    estimate, estimate_rate = read_audio(pair.estimate.path)
    estimate = resample(estimate, estimate_rate, rate)
    length = min(len(reference), len(estimate))
    outcomes = {}
    for kind, metrics in task.wanted.items():
        compared = _as_compared(reference[:length], estimate[:length], rate, kind)
        values, reasons = score_pair(*compared, metrics)
        values = {name: round(value, DECIMALS) for name, value in values.items()}
        outcomes[pair.comparison(kind)] = Outcome(values, reasons)
    return outcomes


def _as_compared(
    reference: np.ndarray, estimate: np.ndarray, rate: int, kind: str
) -> tuple[np.ndarray, np.ndarray, int]:
    if kind in (CLEAN, ALONE):
        return reference, estimate, rate
    if rate > SAMPLE_RATE:  # PCS is not defined above 8 kHz
        reference = resample(reference, rate, SAMPLE_RATE)
        estimate = resample(estimate, rate, SAMPLE_RATE)
        rate = SAMPLE_RATE
    if kind == PCS_BOTH:
        estimate = boost(estimate, rate)
    return boost(reference, rate), estimate, rate


def _scores(
    system: _System,
    reference: str,
    pairs: Mapping[str, Pair],
    metrics: Sequence[str],
    journal: Journal,
) -> Scores:
    times = system.times()
    metrics = [name for name in metrics if name != RTF or times]
    rows = []
    for utterance, pair in pairs.items():
        values, reasons = {}, {}
        for metric in metrics:
            if metric == RTF:
                outcome = _real_time_factor(times.get(utterance), pair.estimate)
            else:
                outcome = journal[pair.comparison(system.kind(metric, reference))]
            if metric in outcome.values:
                values[metric] = outcome.values[metric]
            else:
                reasons[metric] = outcome.reasons[metric]
        rows.append(Row(utterance, values, reasons, pair.note))
    notes = notes_on(pairs)
    if reference == "pcs":
        notes += _notes_on_pcs(system, pairs)
    summary = Summary(
        reference=reference,
        system=system.name,
        references_hash=hash_of_references(pairs),
        utterances=len(rows),
        notes=notes,
        metrics=statistics(rows, metrics),
    )
    return Scores(rows, summary)


def _real_time_factor(seconds: float | None, estimate: File) -> Outcome:
    if seconds is None:
        return Outcome(reasons={RTF: f"not in {TIMES}"})
    return Outcome({RTF: round(seconds * estimate.rate / estimate.frames, DECIMALS)})


def _notes_on_pcs(system: _System, pairs: Mapping[str, Pair]) -> list[str]:
    notes = []
    if any(pair.reference.rate > SAMPLE_RATE for pair in pairs.values()):
        notes.append(f"compared at {SAMPLE_RATE} Hz, the highest rate PCS is made for")
    if system.natural:
        notes.append("PCS was applied to it first, as its spectral balance is natural")
    return notes


def _with_differences(found: Sequence[Scores]) -> list[Scores]:
    """Add to each system's summary how it differs from the noisy and the first one."""
    complete = []
    for scores in found:
        reference = scores.summary.reference
        noisy = [other for other in found if other.summary.system == NOISY]
        first = [
            other
            for other in found
            if other.summary.system != NOISY and other.summary.reference == reference
        ][:1]
        others = {
            other.summary.system: differences(scores, other)
            for other in noisy + first
            if other is not scores and scores.summary.system != NOISY
        }
        summary = replace(scores.summary, differences=others)
        complete.append(replace(scores, summary=summary))
    return complete
