"""WHAMR! for speech enhancement: a generated tree, as data directories.

Three conditions, all with the anechoic speech of one speaker as the target. It has the
delay of the reverberant speech's direct sound, so that no measure sees a shift.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial, reduce
from operator import or_
from pathlib import Path

from espnet2_bspmpnet.corpora.pairs import Pairs
from espnet2_bspmpnet.corpora.whamr.lists import COUNTS, MODES, read_snrs
from espnet2_bspmpnet.data.audio import audio_info
from espnet2_bspmpnet.data.datadir import DataDir, check_same_ids
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.parallel import parallel_map
from espnet2_bspmpnet.sample_rate import SAMPLE_RATE

CONDITIONS = {  # what is heard, besides the target
    "reverb": "s1_reverb",
    "noisy": "mix_single_anechoic",
    "noisy_reverb": "mix_single_reverb",
}
_TARGET = "s1_anechoic"


def prepare(
    whamr_dir: str | Path,
    data_dir: str | Path,
    mode: str = "min",
    conditions: Sequence[str] = tuple(CONDITIONS),
    counts: Mapping[str, int] = COUNTS,
    nj: int = 1,
    wham_noise: str | Path | None = None,
) -> None:
    """Write {tr,cv,tt}_<condition> and, of all conditions together, {tr,cv}_all.

    An utterance is called <file>_<condition>, its speaker by WSJ0's three characters.

    Args:
        whamr_dir: holds wav16k/<mode>/{tr,cv,tt}/{s1_anechoic,...}/.
        data_dir: for the data directories.
        mode: one of `MODES`.
        conditions: some of `CONDITIONS`.
        counts: how many utterances each split must have.
        nj: number of processes that check the files.
        wham_noise: folder of the WHAM! noise, whose lists give utt2snr.

    Raises a UserError if this is another tree, or files are missing, damaged or of
    another rate or length.
    """
    unknown = set(conditions) - set(CONDITIONS)
    if unknown or not conditions or mode not in MODES:
        raise UserError(
            f"conditions {' '.join(conditions)}, mode {mode}: use some of "
            f"{' '.join(CONDITIONS)}, and {' or '.join(MODES)}"
        )
    top = _top(Path(whamr_dir), mode)
    signals = [_TARGET, *(CONDITIONS[condition] for condition in conditions)]
    names = {split: _names(top / split, signals, n) for split, n in counts.items()}
    for split in counts:
        check = partial(_check_utterance, top / split, signals)
        parallel_map(check, names[split], nj, f"checking {top / split}")
    listed = () if wham_noise is None else counts
    snrs = {split: read_snrs(wham_noise, split) for split in listed}
    for split in counts:
        pairs = {c: _pairs(top / split, names[split], c) for c in conditions}
        if split in ("tr", "cv"):
            pairs["all"] = reduce(or_, pairs.values())
        for condition, part in pairs.items():
            _write(Path(data_dir) / f"{split}_{condition}", part, snrs.get(split, {}))
        logging.info("%s: %d utterances, all well", top / split, len(names[split]))


def _top(whamr_dir: Path, mode: str) -> Path:
    top = whamr_dir.absolute() / "wav16k" / mode
    if top.is_dir():
        return top
    if not whamr_dir.is_dir():
        raise UserError(f"{whamr_dir}: no such folder; correct its path")
    there = sorted(str(p.relative_to(whamr_dir)) for p in whamr_dir.glob("wav*k/*/"))
    found = f"found {', '.join(there)}" if there else "found no wav*k/ at all"
    raise UserError(
        f"{whamr_dir}: looked for wav16k/{mode} in it, {found}; name the folder that "
        f"holds wav16k/, or generate 16 kHz {mode} (leave WHAMR empty, set WSJ0)"
    )


def _names(folder: Path, signals: Sequence[str], count: int) -> list[str]:
    """List the files' names, which all folders must share."""
    names: dict[str, set[str]] = {}
    for signal in signals:
        if not (folder / signal).is_dir():
            raise UserError(
                f"{folder / signal}: no such folder; the tree is not whole: generate "
                "it again, or leave out the conditions that need it (--conditions)"
            )
        names[signal] = {
            name
            for name in os.listdir(folder / signal)
            if name.endswith(".wav") and not name.startswith(".")
        }
        check_same_ids(folder / _TARGET, names[_TARGET], folder / signal, names[signal])
    found = len(names[_TARGET])
    if found != count:
        raise UserError(
            f"{folder}: has {found} utterances in place of {count}; generate the rest, "
            "or say how many there should be (--num_train, --num_valid, --num_test)"
        )
    return sorted(names[_TARGET])


def _check_utterance(folder: Path, signals: Sequence[str], name: str) -> None:
    faults, lengths = [], {}
    for signal in signals:
        path = folder / signal / name
        try:
            info = audio_info(path)
        except UserError as error:
            faults.append(str(error))
            continue
        lengths[signal] = info.frames
        if info.rate != SAMPLE_RATE:
            faults.append(
                f"{path}: has {info.rate} Hz in place of {SAMPLE_RATE}; generate 16 kHz"
            )
        if info.channels != 1:
            faults.append(f"{path}: has {info.channels} channels; generate mono audio")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{signal} {length}" for signal, length in lengths.items())
        where = folder / "*" / name
        faults.append(
            f"{where}: lengths differ ({found}); generate this utterance again"
        )
    if faults:
        raise UserError("\n  ".join(faults))


def _pairs(folder: Path, names: list[str], condition: str) -> Pairs:
    mixtures, targets = folder / CONDITIONS[condition], folder / _TARGET
    return {
        f"{name.removesuffix('.wav')}_{condition}": (mixtures / name, targets / name)
        for name in names
    }


def _write(path: Path, pairs: Pairs, snrs: Mapping[str, float]) -> None:
    known = {
        utterance: f"{snrs[mixture.name]:.2f}"
        for utterance, (mixture, _) in pairs.items()
        if mixture.parent.name.startswith("mix_") and mixture.name in snrs
    }
    speakers = {utterance: utterance[:3] for utterance in pairs}
    DataDir.of_pairs(path, pairs, speakers).write({"utt2snr": known})
