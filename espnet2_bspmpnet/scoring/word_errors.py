"""Word and character error rates of one system: wer.json, and the tables of several."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet2_bspmpnet.data.datadir import check_same_ids, read_scp, write_scp
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text
from espnet2_bspmpnet.files.configurations import read_config
from espnet2_bspmpnet.measures.recognition import (
    IGNORED,
    Errors,
    count_errors,
    normalise,
)
from espnet2_bspmpnet.scoring.tables import Cell, Section, Table

RATES = "wer.json"


@dataclass(frozen=True)
class ErrorRates:
    """How well one system's speech was recognised."""

    name: str  # of what was recognised, e.g. "noisy_tt_mini"
    asr: str  # the recogniser
    ignored: tuple[str, ...]  # differences that were not counted, see IGNORED
    utterances: int  # how many were compared
    words: Errors
    characters: Errors  # spaces included

    @classmethod
    def read(cls, path: Path) -> "ErrorRates":
        """Read what `score_text` wrote; a damaged file is a UserError."""
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            entries["words"] = Errors(**entries["words"])
            entries["characters"] = Errors(**entries["characters"])
            entries["ignored"] = tuple(entries["ignored"])
            return cls(**entries)
        except (ValueError, KeyError, TypeError) as error:
            fix = "recognise and score again (stages 9 and 10)"
            raise UserError(f"{path}: damaged ({error}); {fix}") from error

    def __str__(self) -> str:
        shown = [
            f"{title} {errors.rate:.1f} % ({errors.substitutions} substituted,"
            f" {errors.deletions} deleted, {errors.insertions} inserted of"
            f" {errors.units})"
            for title, errors in (("WER", self.words), ("CER", self.characters))
        ]
        return f"{self.name}: {', '.join(shown)}"


def check_recogniser(config: str | Path, rate: int) -> None:
    """Raise a UserError unless a recogniser's config is of speech of this rate (Hz)."""
    from humanfriendly import parse_size

    path = Path(config)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a trained recogniser's folder")
    frontend = read_config(path).get("frontend_conf")
    if not isinstance(frontend, dict):
        raise UserError(
            f"{path}: no configuration of a recogniser; name the config.yaml that"
            " ESPnet wrote when it was trained"
        )
    trained = frontend.get("fs", 16000)
    if parse_size(str(trained)) != rate:
        raise UserError(
            f"{path}: this recogniser was trained at {trained} Hz, but the speech has"
            f" {rate} Hz; choose another"
        )


def score_text(
    ref: str | Path,
    hyp: Sequence[str | Path],
    output: str | Path,
    name: str,
    asr: str,
    ignore: Collection[str] = IGNORED,
) -> ErrorRates:
    """Compare recognised with true words; write wer.json, text and alignment.txt.

    Args:
        ref: transcripts, the file text of a data directory.
        hyp: what was recognised, the lists of one or several jobs.
        output: folder for the results; wer.json is written last.
        name, asr: see `ErrorRates`.
        ignore: see `normalise`.

    Raises:
        UserError: missing files, utterances that differ, or no word in any transcript.
    """
    if unknown := " ".join(sorted(set(ignore) - set(IGNORED))):
        raise UserError(f"--ignore {unknown}: choose from {' '.join(IGNORED)}")
    if not Path(ref).is_file():
        form = 'one line "<id> <words>" for each utterance'
        raise UserError(
            f"{ref}: no such file; word error rates need transcripts, {form}"
        )
    truth = read_scp(ref, need_values=False)
    found: dict[str, str] = {}
    for path in hyp:
        found |= read_scp(path, need_values=False)
    output = Path(output)
    check_same_ids(Path(ref), truth, output / "text", found)
    utterances = sorted(truth)
    references, recognised = (
        [normalise(texts[utterance], ignore) for utterance in utterances]
        for texts in (truth, found)
    )
    if not any(references):
        raise UserError(f"{ref}: there is no word in it; write what was said")
    words, characters, alignment = count_errors(utterances, references, recognised)
    ignored = tuple(part for part in IGNORED if part in ignore)
    rates = ErrorRates(name, asr, ignored, len(utterances), words, characters)
    write_scp(output / "text", found)
    write_text(output / "alignment.txt", alignment)
    write_text(output / RATES, json.dumps(asdict(rates), indent=2) + "\n")
    return rates


def find_error_rates(
    folder: str | Path, name: str = ""
) -> list[tuple[str, ErrorRates]]:
    """Find all results of `score_text` at and below a folder.

    Returns:
        Name, e.g. "enh_train_raw/enhanced_tt", -> error rates.  Folders' names are left
        out where a name was given to what lies in the folder.
    """
    found = []
    for path in sorted(Path(folder).rglob(RATES)):
        rates = ErrorRates.read(path)
        above = path.relative_to(folder).parts[:-4]  # SYSTEM/scoring/ASR/wer.json
        found.append(("/".join([*([] if name else above), rates.name]), rates))
    return found


def error_sections(rows: Sequence[tuple[str, ErrorRates]]) -> list[Section]:
    """Lay out name -> error rates as ESPnet does, for each recogniser by itself."""
    sections = []
    for asr, ignored in dict.fromkeys((row.asr, row.ignored) for _, row in rows):
        alike = {n: row for n, row in rows if (row.asr, row.ignored) == (asr, ignored)}
        kept = f"without regard to {' and '.join(ignored)}"
        how = kept if ignored else "as they are written"
        sections += [
            Section(f"Recognised by {asr}", level=2),
            Section("WER", [_table("Wrd", alike, "words")]),
            Section("CER", [_table("Chr", alike, "characters")], [f"Compared {how}."]),
        ]
    return sections


def _table(unit: str, rows: Mapping[str, ErrorRates], kind: str) -> Table:
    lines = []
    for name, row in rows.items():
        errors: Errors = getattr(row, kind)
        wrong = (errors.substitutions, errors.deletions, errors.insertions)
        counts = (errors.units - sum(wrong[:2]), *wrong, sum(wrong))
        shares = [100.0 * count / errors.units for count in counts]
        shares.append(100.0 * errors.utterances / row.utterances)
        sizes = [Cell(row.utterances, decimals=0), Cell(errors.units, decimals=0)]
        lines.append((name, [*sizes, *(Cell(share, decimals=1) for share in shares)]))
    titles = ["Snt", unit, "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]
    return Table("dataset", titles, lines)
