"""What an experiment's folder holds: scores, recordings, training curves, SSL weights."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import read_audio
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.scores import NOISY, SCORING, NamedScores, find_scores

DUMP = "dump/raw"  # where recipes keep a folder of data for each set
LAYER_WEIGHTS = re.compile(r".*\.fs_ssl\.layer_weights\.(\w+)\.logits")

Curve = dict[int, float]  # epoch -> value
Weights = dict[int, float]  # number of an SSL layer (0 is the first one's input) -> w_i


class Absent(Exception):
    """An experiment does not have some part; the message says why."""


@dataclass(frozen=True)
class TestSet:
    """What was scored of one set of utterances."""

    name: str  # of its data directory, or else of the first system
    systems: list[NamedScores]  # one for each reference; those of "clean" come first
    noisy: NamedScores | None  # the unprocessed speech, None if it was not scored
    data: DataDir | None  # noisy and clean recordings, None if they were not found
    enhanced: dict[str, dict[str, str]]  # system -> utterance -> file, where known

    __test__ = False  # no test, whatever pytest makes of its name

    @property
    def utterances(self) -> list[str]:
        """Their ids, in the order of all rows."""
        return [row.utterance for row in self.systems[0][1].rows]

    @property
    def references(self) -> list[str]:
        """What they were compared with."""
        return list(dict.fromkeys(one.summary.reference for _, one in self.systems))

    def short_name(self, system: str) -> str:
        """Shorten enhanced_tt_boosted of the set tt to "enhanced boosted"."""
        return system.replace(f"_{self.name}", "").replace("_", " ") or system

    def values(self, metric: str, reference: str) -> dict[str, np.ndarray]:
        """Give a metric's values: system's short name -> [N], NaN where undefined."""
        return {
            self.short_name(name): scores.values([metric])[:, 0]
            for name, scores in self.systems
            if scores.summary.reference == reference
        }

    def noisy_values(self, metric: str) -> np.ndarray:
        """Give a metric's values of the noisy speech [N], or raise `Absent`."""
        if self.noisy is None:
            raise Absent("the noisy speech was not scored (bspmpnet score --noisy)")
        return self.noisy[1].values([metric])[:, 0]


def find_test_sets(
    expdir: str | Path, data_dirs: Sequence[str | Path] | None = None
) -> list[TestSet]:
    """Find what was scored in an experiment, and the recordings that belong to it.

    Without data directories of the test sets, dump/raw/* is searched.

    Raises:
        UserError: no experiment, nothing scored yet, damaged files, or a data directory
            that none of the scored utterances is from.
    """
    expdir = Path(expdir)
    if not expdir.is_dir():
        raise UserError(f"{expdir}: no such folder; name that of an experiment")
    rows = find_scores(expdir)
    systems = [
        row
        for reference in REFERENCES
        for row in rows
        if row[1].summary.system != NOISY and row[1].summary.reference == reference
    ]
    if not systems:
        raise UserError(f"{expdir}: only noisy speech was scored; score enhanced, too")
    folders = _data_dirs(data_dirs)
    groups: dict[object, list[NamedScores]] = {}
    for name, scores in systems:
        folder = _belonging(name, [row.utterance for row in scores.rows], folders)
        key = folder, scores.summary.references_hash
        groups.setdefault(key, []).append((name, scores))
    used = {folder for folder, _ in groups}
    for path in folders:
        if data_dirs is not None and path not in used:
            fault = f"has other utterances than were scored in {expdir}"
            raise UserError(f"{path}: {fault}")
    return [
        TestSet(
            name=folder.name if folder else alike[0][0],
            systems=alike,
            noisy=_noisy(rows, folder, references),
            data=DataDir.read(folder, need_reference=False) if folder else None,
            enhanced=_enhanced(expdir, dict(alike)),
        )
        for (folder, references), alike in groups.items()
    ]


def _data_dirs(asked: Sequence[str | Path] | None) -> dict[Path, set[str]]:
    """Map data directories to the ids of their utterances."""
    if asked is None:
        asked = sorted(path.parent for path in Path(DUMP).glob("*/wav.scp"))
    return {path: set(read_scp(path / "wav.scp")) for path in map(Path, asked)}


def _belonging(
    system: str, utterances: Sequence[str], folders: dict[Path, set[str]]
) -> Path | None:
    """Choose the data directory of the same ids; of several the one the system names."""
    alike = [path for path, ids in folders.items() if ids == set(utterances)]
    named = {path: len(path.name) * (path.name in system) for path in alike}
    return max(named, key=named.get, default=None)


def _noisy(
    rows: Sequence[NamedScores], folder: Path | None, references: str
) -> NamedScores | None:
    if folder and any((folder / SCORING).rglob("summary.json")):
        rows = [*find_scores(folder / SCORING, f"{NOISY}_{folder.name}"), *rows]
    for name, scores in rows:
        summary = scores.summary
        if summary.system == NOISY and summary.references_hash == references:
            return name, scores
    return None


def _enhanced(expdir: Path, systems: dict[str, object]) -> dict[str, dict[str, str]]:
    # A lone system's scores lie in the experiment's folder itself, named after it.
    lone = expdir / "spk1.scp"
    lists = {name: expdir / name / "spk1.scp" for name in systems}
    lists = {name: path if path.is_file() else lone for name, path in lists.items()}
    return {name: read_scp(path) for name, path in lists.items() if path.is_file()}


def read_layer_weights(model: Path, config: dict) -> dict[str, Weights]:
    """Read the weights w_i of Eq. 3, which sum to 1, from a trained model's file.

    Returns:
        "magnitude" and "phase", or "shared" -> weights of the layers that the config
        names, or else of 1, 2, ...; a model without any is `Absent`, a damaged file a
        UserError.
    """
    states = _read_states(model, "copy it again, or train again (stage 6)")
    layers = (config.get("separator_conf") or {}).get("layers")
    found = {}
    for name in states:
        if match := LAYER_WEIGHTS.fullmatch(name):
            weights = states[name].float().softmax(0).tolist()
            numbers = sorted(layers or range(1, len(weights) + 1))
            found[match[1]] = dict(zip(numbers, weights, strict=True))
    if not found:
        raise Absent(f"{model.name} has no weights of SSL layers")
    return found


def read_curves(expdir: str | Path) -> dict[str, dict[str, Curve]]:
    """Read what training has reported: value -> phase ("train", "valid") -> curve.

    It is `Absent` without a checkpoint; a damaged one is a UserError.
    """
    path = Path(expdir) / "checkpoint.pth"
    if not path.is_file():
        raise Absent(f"there is no {path}, in which training keeps its log")
    states = _read_states(path, "remove it, and train again (stage 6)")
    stats = states["reporter"]["stats"]
    curves: dict[str, dict[str, Curve]] = {}
    for epoch, phases in sorted(stats.items()):
        for phase, values in phases.items():
            for name, value in values.items():
                if isinstance(value, Real) and math.isfinite(value):
                    curve = curves.setdefault(name, {}).setdefault(phase, {})
                    curve[epoch] = float(value)
    if not curves:
        raise Absent("no epoch of training is finished yet")
    return curves


def _read_states(path: Path, fix: str) -> dict:
    from espnet2_bspmpnet.files import checkpoints

    try:
        return checkpoints.read_checkpoint(path)
    except checkpoints.DAMAGE as error:
        reason = checkpoints.damage_reason(error)
        raise UserError(f"{path}: damaged ({reason}); {fix}") from error


def input_snr(test_set: TestSet) -> np.ndarray:
    """Give the SNR of the noisy speech in dB [N], NaN where undefined.

    It is what the corpus says in utt2snr, or else the power of the clean speech over
    that of the difference between noisy and clean speech.  It is `Absent` without
    either; damaged files are a UserError.
    """
    data = test_set.data
    if data is None:
        raise Absent("the noisy recordings were not found (--data_dir names them)")
    path = data.path / "utt2snr"
    if path.is_file():
        known = read_scp(path)
        try:
            return np.array([float(known.get(u, "nan")) for u in test_set.utterances])
        except ValueError as error:
            raise UserError(f"{path}: {error}; write numbers, in dB") from error
    if data.spk1 is None:
        raise Absent(f"{data.path} has neither utt2snr nor clean speech")
    for file in (*data.wav.values(), *data.spk1.values()):
        if not Path(file).is_file():
            raise Absent(f"{file}, which {data.path} names, is gone")
    return np.array([_snr(data, utterance) for utterance in test_set.utterances])


def _snr(data: DataDir, utterance: str) -> float:
    noisy, _ = read_audio(data.wav[utterance])
    clean, _ = read_audio(data.spk1[utterance])
    length = min(len(noisy), len(clean))
    noise = np.sum((noisy[:length] - clean[:length]) ** 2, dtype=np.float64)
    speech = np.sum(clean[:length] ** 2, dtype=np.float64)
    return 10.0 * math.log10(speech / noise) if speech and noise else math.nan
