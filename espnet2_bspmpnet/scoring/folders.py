"""Folders of recordings in, scores and tables out; docs/scoring.md describes the files.

The reference is the clean speech (``clean``), as every system of the field reports, or
PCS of the clean speech (``pcs``), at its own level and loudness: the paper's figures are
such, apart from its noisy row, which is compared with the clean speech.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from espnet2_bspmpnet.scoring import BOTH, FOLDERS, OLD_REFERENCES, REFERENCES
from espnet2_bspmpnet.scoring.journal import Comparison, Journal, Outcome
from espnet2_bspmpnet.scoring.pairs import (
    AudioFile,
    FilePair,
    hash_of_references,
    inspect_files,
    notes_on,
    pair_up,
)
from espnet2_bspmpnet.scoring.score_tables import sections_of
from espnet2_bspmpnet.scoring.scores import (
    DECIMALS,
    NOISY,
    Row,
    Scores,
    Summary,
    differences,
    statistics,
)
from espnet2_bspmpnet.scoring.tables import markdown

UNNAMED = "enhanced"  # a lone system, whose scores lie in the output folder itself
RTF = "RTF"
# What is compared: the recordings as they are, the reference with PCS, both with PCS,
# or nothing, as the measure looks at the estimate alone.
KINDS = CLEAN, PCS, PCS_BOTH, ALONE = *REFERENCES, "pcs both", "alone"


@dataclass(frozen=True)
class _System:
    name: str
    path: Path  # folder or list of its speech
    named: bool = True  # its scores lie in a folder of its name
    natural: bool = False  # PCS is applied to it before it is compared with PCS
    pairs: Mapping[str, FilePair] = field(default_factory=dict)  # by utterance
    reference: str = CLEAN  # what it is compared with

    def comparison(self, pair: FilePair, metric: str) -> Comparison:
        kind = ALONE if metric in REFERENCE_FREE else self.reference
        if self.reference == PCS and self.natural:
            kind = PCS_BOTH
        return pair.comparison(kind)

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
    reference: str = CLEAN,
    metrics: Sequence[str] | None = None,
    natural: Collection[str] = (),
    nj: int = 1,
    part: tuple[int, int] | None = None,
) -> list[Scores]:
    """Score recordings against references; keep what an earlier run has measured.

    Args:
        ref: clean speech: a folder of audio files, or a list of them such as wav.scp.
        inf: speech to judge, likewise; of several systems name -> folder or list.
            Times are read from a file utt2seconds beside it.
        output: folder to write to.
        noisy: the unprocessed speech, to show improvements.
        reference: "clean", "pcs" or "both".
        metrics: names out of METRICS and RTF; None takes all (RTF where there are times).
        natural: systems of natural spectral balance, boosted before "pcs" judges them.
        nj: number of processes.
        part: (k, n) measures the k-th of n shares of the utterances alone; jobs do so
            at the same time, and a last call without it finds what they measured.

    Returns:
        The scores of the noisy speech and, for each reference, of the systems; none of a
        part.

    Raises:
        UserError: an unknown name, utterances or lengths that differ, bad files.
    """
    references = _references(reference)
    systems = _systems(inf, noisy, natural)
    metrics = _metrics(metrics, systems)
    runs = _runs(_paired(Path(ref), systems, nj, part), references)
    journal = Journal(Path(output), part)
    _measure_missing(runs, metrics, journal, nj)
    if part is not None:
        return []
    journal.save()
    found = _with_differences([_scores(run, metrics, journal) for run in runs])
    _write(Path(output), runs, found, len(references) > 1)
    return found


def _references(asked: str) -> list[str]:
    allowed = [*REFERENCES, BOTH]
    if asked not in allowed:
        raise UserError(f"reference: {asked!r} is not one of {', '.join(allowed)}")
    return [name for name in REFERENCES if asked in (name, BOTH)]


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
    known = [system.name for system in systems]
    if unknown := " ".join(sorted(set(natural) - set(known))):
        raise UserError(f"natural: no system {unknown}; there are {' '.join(known)}")
    return systems


def _metrics(asked: Sequence[str] | None, systems: Sequence[_System]) -> list[str]:
    timed = any(system.times() for system in systems)
    if asked is None:
        return [*METRICS, RTF] if timed else list(METRICS)
    if RTF in asked and not timed:
        fix = f"enhance it again, or leave {RTF} out"
        raise UserError(f"{RTF}: there is no {TIMES} beside the speech; {fix}")
    metrics = list(dict.fromkeys(asked))
    if metrics != [RTF]:
        check_metrics([name for name in metrics if name != RTF])
    return metrics


def _paired(
    ref: Path, systems: Sequence[_System], nj: int, part: tuple[int, int] | None
) -> list[_System]:
    paths = {"": ref} | {one.name: one.path for one in systems}
    files = inspect_files(paths, nj, part)
    paired = [replace(o, pairs=pair_up(files[""], files[o.name])) for o in systems]
    for one in paired:
        for note in notes_on(one.pairs):
            logging.warning("%s: %s", one.name, note)
    return paired


def _runs(systems: Sequence[_System], references: Sequence[str]) -> list[_System]:
    # Noisy speech is always compared with clean speech, as in the paper.
    noisy = [one for one in systems if one.name == NOISY]
    others = [one for one in systems if one.name != NOISY]
    return noisy + [replace(one, reference=r) for r in references for one in others]


def _measure_missing(
    runs: Sequence[_System], metrics: Sequence[str], journal: Journal, nj: int
) -> None:
    """Measure what the journal does not know: one task a pair, in the order of runs."""
    wanted: dict[FilePair, dict[str, list[str]]] = {}
    for run in runs:
        for pair in run.pairs.values():
            for metric in metrics:
                comparison = run.comparison(pair, metric)
                if metric != RTF and metric not in journal[comparison]:
                    kinds = wanted.setdefault(pair, {})
                    names = kinds.setdefault(comparison.kind, [])
                    names += [metric] if metric not in names else []
    count = len({pair for run in runs for pair in run.pairs.values()})
    # Not where nothing is left to do, as in the call that follows the jobs of parts.
    if len(wanted) < count and (wanted or journal.path != journal.whole):
        kept = f"{count - len(wanted)} of {count}"
        logging.info("%s pairs are kept as an earlier run measured them", kept)
    title = f"scoring into {journal.folder}"
    parallel_map(_measure, wanted.items(), nj, title, journal.add)


def _measure(task: tuple[FilePair, dict[str, list[str]]]) -> dict[Comparison, Outcome]:
    pair, wanted = task
    reference, rate = read_audio(pair.reference.path)
    estimate, estimate_rate = read_audio(pair.estimate.path)
    estimate = resample(estimate, estimate_rate, rate)
    length = min(len(reference), len(estimate))
    outcomes = {}
    for kind, metrics in wanted.items():
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


def _scores(run: _System, metrics: Sequence[str], journal: Journal) -> Scores:
    times = run.times()
    metrics = [name for name in metrics if name != RTF or times]
    rows = []
    for utterance, pair in run.pairs.items():
        values, reasons = {}, {}
        for metric in metrics:
            outcome = journal[run.comparison(pair, metric)]
            if metric == RTF:
                outcome = _real_time_factor(times.get(utterance), pair.estimate)
            if metric in outcome.values:
                values[metric] = outcome.values[metric]
            else:
                reasons[metric] = outcome.reasons[metric]
        rows.append(Row(utterance, values, reasons, pair.note))
    summary = Summary(
        reference=run.reference,
        system=run.name,
        references_hash=hash_of_references(run.pairs),
        utterances=len(rows),
        notes=notes_on(run.pairs) + _notes_on_pcs(run),
        metrics=statistics(rows, metrics),
    )
    return Scores(rows, summary)


def _real_time_factor(seconds: float | None, estimate: AudioFile) -> Outcome:
    if seconds is None:
        return Outcome(reasons={RTF: f"not in {TIMES}"})
    return Outcome({RTF: round(seconds * estimate.rate / estimate.frames, DECIMALS)})


def _notes_on_pcs(run: _System) -> list[str]:
    if run.reference != PCS:
        return []
    notes = []
    if any(pair.reference.rate > SAMPLE_RATE for pair in run.pairs.values()):
        notes.append(f"compared at {SAMPLE_RATE} Hz, the highest rate PCS is made for")
    if run.natural:
        notes.append("PCS was applied to it first, as its spectral balance is natural")
    return notes


def _with_differences(found: Sequence[Scores]) -> list[Scores]:
    """Add to each system's summary how it differs from the noisy and the first one."""
    noisy = [scores for scores in found if scores.summary.system == NOISY]
    systems = [scores for scores in found if scores.summary.system != NOISY]
    first = {scores.summary.reference: scores for scores in reversed(systems)}
    complete = []
    for scores in systems:
        others = {
            other.summary.system: differences(scores, other)
            for other in (*noisy, first[scores.summary.reference])
            if other is not scores
        }
        summary = replace(scores.summary, differences=others)
        complete.append(replace(scores, summary=summary))
    return noisy + complete


def _write(
    output: Path, runs: Sequence[_System], found: Sequence[Scores], several: bool
) -> None:
    """Write each run's scores to its folder, and the tables."""
    for old, reference in OLD_REFERENCES.items():
        if (output / old).is_dir() and not (output / FOLDERS[reference]).exists():
            (output / old).rename(output / FOLDERS[reference])
    for run, scores in zip(runs, found, strict=True):
        folder = output / FOLDERS[run.reference] if several else output
        scores.write(folder / run.name if run.named else folder)
    tables = markdown(sections_of([(one.summary.system, one) for one in found]))
    write_text(output / "RESULTS.md", f"# RESULTS\n\n{tables}")
