"""The real clips in tests/data/clips, and the MATLAB reference's scores of them."""

import csv
from pathlib import Path

_FOLDER = Path(__file__).parent / "data/clips"
CLEAN, NOISY = _FOLDER / "clean", _FOLDER / "noisy"
# Half a unit of the last digit that the reference is written with; STOI is in percent.
MATLAB_TOLERANCES = {
    "PESQ": 0.0005,
    "CSIG": 0.0005,
    "CBAK": 0.0005,
    "COVL": 0.0005,
    "SSNR": 0.0005,
    "STOI": 0.05,
}


def matlab_scores() -> dict[str, dict[str, float]]:
    """Read the scores of the noisy clips: clip -> metric -> value."""
    with open(_FOLDER / "noisy_matlab.tsv", newline="") as file:
        rows = {row.pop("utt"): row for row in csv.DictReader(file, delimiter="\t")}
    scores = {
        clip: {name: float(text) for name, text in row.items()}
        for clip, row in rows.items()
    }
    for row in scores.values():
        row["STOI"] *= 100.0
    return scores
