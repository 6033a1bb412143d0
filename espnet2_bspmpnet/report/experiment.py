"""What an experiment's folder tells: scores, recordings, training curves, SSL weights."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np

from espnet2_bspmpnet.data.audio import read_audio
from espnet2_bspmpnet.data.datadir import DataDir, read_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.scoring import REFERENCES
from espnet2_bspmpnet.scoring.files import NOISY
from espnet2_bspmpnet.scoring.results import SCORING, NamedScores, find_scores

DUMP = "dump/raw"  # where recipes keep a folder of data for each set
LAYER_WEIGHTS = re.compile(r".*\.fs_ssl\.layer_weights\.(\w+)\.logits")

Curve = list[tuple[int, float]]  # epoch, value


class Absent(Exception):
    """An experiment does not have some part; the message says why."""


@dataclass(frozen=True)
class TestSet:
    """What was scored of one set of utterances.

    Args:
        name: of its data directory, or else of the first system.
        systems: name -> scores, one for each reference; those of "clean" come first.
        noisy: the same of the unprocessed speech, or None if nobody scored it.
        data: its noisy and clean recordings, or None if they were not found.
        enhanced: system -> utterance -> file, where known.
    """

    name: str
    systems: list[NamedScores]
    noisy: NamedScores | None
    data: DataDir | None
    enhanced: dict[str, dict[str, str]]

    __test__ = False  # no test, whatever pytest makes of its name

    @property
    def utterances(self) -> list[str]:
        """Their ids, in the order of all rows."""
        return [row.utterance for row in self.systems[0][1].rows]

    def judged(self, reference: str) -> list[NamedScores]:
        """Give the systems' scores under one reference."""
        return [row for row in self.systems if row[1].summary.reference == reference]

    def improvement(self, row: NamedScores, metric: str) -> np.ndarray:
        """Give a metric's improvement over the noisy speech [N], NaN where undefined.

        Raises:
            Absent: the noisy speech was not scored.
        """
        if self.noisy is None:
            raise Absent("the noisy speech was not scored (bspmpnet score --noisy)")
        before, after = (one.values([metric])[:, 0] for _, one in (self.noisy, row))
        return after - before


@dataclass(frozen=True)
class LayerWeights:
    """How much each SSL layer counts.

    Args:
        layers: their numbers [N]; 0 is the transformer's input.
        paths: "magnitude" and "phase", or "shared" -> weights, which sum to 1 [N].
    """

    layers: list[int]
    paths: dict[str, np.ndarray]


def find_test_sets(
    expdir: str | Path, data_dirs: Sequence[str | Path] | None = None
) -> list[TestSet]:
    """Find what was scored, and the recordings that belong to it.

    Args:
        expdir: folder of the experiment.
        data_dirs: data directories of the test sets; None looks through dump/raw/*.

    Raises:
        UserError: no experiment, nothing scored yet, damaged files, or a data directory
            that none of the scored utterances is from.
    """
    expdir = Path(expdir)
    if not expdir.is_dir():
        raise UserError(f"{expdir}: no such folder; name that of an experiment")
    rows = find_scores(expdir)
    order = list(REFERENCES)
    systems = sorted(
        (row for row in rows if row[1].summary.system != NOISY),
        key=lambda row: order.index(row[1].summary.reference),
    )
    if not systems:
        raise UserError(
            f"{expdir}: only noisy speech was scored; score enhanced speech"
        )
    folders = _data_dirs(data_dirs)
    groups: dict[object, list[NamedScores]] = {}
    for name, scores in systems:
        folder = _belonging(name, [row.utterance for row in scores.rows], folders)
        key = folder, scores.summary.references_hash
        groups.setdefault(key, []).append((name, scores))
    used = {folder for folder, _ in groups}
    unused = [] if data_dirs is None else [path for path in folders if path not in used]
    if unused:
        raise UserError(
            f"{unused[0]}: has other utterances than were scored in {expdir}"
        )
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
        paths = sorted(path.parent for path in Path(DUMP).glob("*/wav.scp"))
    else:
        paths = [Path(path) for path in asked]
    return {path: set(read_scp(path / "wav.scp")) for path in paths}


def _belonging(
    system: str, utterances: Sequence[str], folders: dict[Path, set[str]]
) -> Path | None:
    """Choose the data directory of the same ids; of several the one the system names."""
    alike = [path for path, ids in folders.items() if ids == set(utterances)]
    return max(
        alike,
        key=lambda path: len(path.name) if path.name in system else 0,
        default=None,
    )


def _noisy(
    rows: Sequence[NamedScores], folder: Path | None, references: str
) -> NamedScores | None:
    beside: list[NamedScores] = []
    if folder and any((folder / SCORING).rglob("summary.json")):
        beside = find_scores(folder / SCORING, f"{NOISY}_{folder.name}")
    for name, scores in [*beside, *rows]:
        if (scores.summary.system, scores.summary.references_hash) == (
            NOISY,
            references,
        ):
            return name, scores
    return None


def _enhanced(expdir: Path, systems: dict[str, object]) -> dict[str, dict[str, str]]:
    found = {}
    for name in systems:
        # A lone system's scores lie in the experiment's folder itself, named after it.
        for folder in (expdir / name, expdir):
            if (folder / "spk1.scp").is_file():
                found[name] = read_scp(folder / "spk1.scp")
                break
    return found


def config_of(expdir: str | Path) -> dict:
    """Read the experiment's config.yaml; empty where there is none."""
    path = Path(expdir) / "config.yaml"
    return read_config(path) if path.is_file() else {}


def find_model(expdir: str | Path, name: str | None = None) -> Path:
    """Find the trained model.

    Args:
        expdir: folder of the experiment.
        name: file in it; None takes the best by the first of best_model_criterion.

    Raises:
        Absent: there is none.
        UserError: the named one is missing.
    """
    expdir = Path(expdir)
    if name is not None:
        if not (expdir / name).is_file():
            raise UserError(
                f"{expdir / name}: no such model; train it, or name another"
            )
        return expdir / name
    criteria = config_of(expdir).get("best_model_criterion") or []
    chosen = [expdir / f"{words[0]}.{words[1]}.best.pth" for words in criteria]
    for path in [*chosen, *sorted(expdir.glob("valid.*.best.pth"))]:
        if path.is_file():
            return path
    raise Absent(f"there is no trained model {expdir}/valid.*.best.pth")


def epoch_of(model: Path) -> int | None:
    """Look up which epoch's model it is a link to."""
    found = re.fullmatch(r"(\d+)epoch\.pth", model.resolve().name)
    return int(found[1]) if found else None


def read_layer_weights(model: Path, config: dict) -> LayerWeights:
    """Read the weights w_i of Eq. 3 from a trained model.

    Args:
        model: its file, of which only these few numbers are read.
        config: the experiment's, which may name the layers.

    Raises:
        Absent: the model has no such weights.
        UserError: a damaged file.
    """
    import torch

    states = _undamaged(
        model,
        lambda path: torch.load(path, "cpu", mmap=True, weights_only=True),
        "copy it again, or train again (stage 6)",
    )
    found = {name: LAYER_WEIGHTS.fullmatch(name) for name in states}
    paths = {
        match[1]: states[name].float().softmax(0).numpy()
        for name, match in found.items()
        if match
    }
    if not paths:
        raise Absent(f"{model.name} has no weights of SSL layers")
    count = len(next(iter(paths.values())))
    layers = (config.get("separator_conf") or {}).get("layers")
    return LayerWeights(sorted(layers or range(1, count + 1)), paths)


def read_curves(expdir: str | Path) -> dict[str, dict[str, Curve]]:
    """Read what training has reported: value -> phase ("train", "valid") -> curve.

    Raises:
        Absent: the experiment has no checkpoint.
        UserError: a damaged file.
    """
    path = Path(expdir) / "checkpoint.pth"
    if not path.is_file():
        raise Absent(f"there is no {path}, in which training keeps its log")
    from espnet2_bspmpnet.files.checkpoints import read_checkpoint

    mend = "remove it, and train again (stage 6)"
    stats = _undamaged(path, read_checkpoint, mend)["reporter"]["stats"]
    curves: dict[str, dict[str, Curve]] = {}
    for epoch in sorted(stats):
        for phase, values in stats[epoch].items():
            for name, value in values.items():
                if isinstance(value, Real) and math.isfinite(value):
                    curve = curves.setdefault(name, {}).setdefault(phase, [])
                    curve.append((epoch, float(value)))
    if not curves:
        raise Absent("no epoch of training is finished yet")
    return curves


def _undamaged(path: Path, read: Callable[[Path], dict], mend: str) -> dict:
    from espnet2_bspmpnet.files.checkpoints import DAMAGE, damage_reason

    try:
        return read(path)
    except DAMAGE as error:
        raise UserError(f"{path}: damaged ({damage_reason(error)}); {mend}") from error


def input_snr(test_set: TestSet) -> np.ndarray:
    """Give the SNR of the noisy speech in dB [N], NaN where undefined.

    It is what the corpus says in utt2snr, or else the power of the clean speech over
    that of the difference between noisy and clean speech.

    Raises:
        Absent: neither of them is known.
        UserError: damaged files.
    """
    data = test_set.data
    if data is None:
        raise Absent("the noisy recordings were not found (--data_dir names them)")
    path = data.path / "utt2snr"
    if path.is_file():
        known = read_scp(path)
        try:
            snr = [
                float(known.get(utterance, "nan")) for utterance in test_set.utterances
            ]
        except ValueError as error:
            raise UserError(f"{path}: {error}; write numbers, in dB") from error
        return np.array(snr)
    if data.spk1 is None:
        raise Absent(f"{data.path} has neither utt2snr nor clean speech")
    gone = [file for files in (data.wav, data.spk1) for file in files.values()]
    gone = [file for file in gone if not Path(file).is_file()]
    if gone:
        raise Absent(f"{gone[0]}, which {data.path} names, is gone")
    return np.array([_snr(data, utterance) for utterance in test_set.utterances])


def _snr(data: DataDir, utterance: str) -> float:
    noisy, _ = read_audio(data.wav[utterance])
    clean, _ = read_audio(data.spk1[utterance])
    length = min(len(noisy), len(clean))
    noise = np.sum((noisy[:length] - clean[:length]) ** 2, dtype=np.float64)
    speech = np.sum(clean[:length] ** 2, dtype=np.float64)
    if not (speech and noise):
        return math.nan
    return 10.0 * math.log10(speech / noise)
