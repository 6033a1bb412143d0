"""Word and character error rates of recognised speech, and their tables."""

import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from espnet2_bspmpnet.data.datadir import check_same_ids
from espnet2_bspmpnet.errors import UserError
from espnet2_bspmpnet.files.atomic import write_text

IGNORED = ("case", "punctuation")
RATES = "wer.json"
MEND = "recognise and score again (stages 9 and 10)"


@dataclass(frozen=True)
class Errors:
    """What an alignment of recognised and true units counts.

    Attributes:
        units: words or characters of the references.
        substitutions: units taken for others.
        deletions: units missed.
        insertions: units that nobody said.
        utterances: utterances with at least one error.
    """

    units: int
    substitutions: int
    deletions: int
    insertions: int
    utterances: int

    @property
    def rate(self) -> float:
        """Errors in percent of the references' units."""
        wrong = self.substitutions + self.deletions + self.insertions
        return 100.0 * wrong / self.units


@dataclass(frozen=True)
class ErrorRates:
    """How well one system's speech was recognised.

    Attributes:
        name: of what was recognised, e.g. "noisy_tt_mini".
        asr: the recogniser.
        ignored: differences that were not counted, see IGNORED.
        utterances: how many were compared.
        words: errors in words.
        characters: errors in characters, spaces included.
    """

    name: str
    asr: str
    ignored: tuple[str, ...]
    utterances: int
    words: Errors
    characters: Errors

    @classmethod
    def read(cls, path: Path) -> "ErrorRates":
        """Read what `score_text` wrote.

        Raises:
            UserError: damaged.
        """
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
            entries["words"] = Errors(**entries["words"])
            entries["characters"] = Errors(**entries["characters"])
            entries["ignored"] = tuple(entries["ignored"])
            return cls(**entries)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error}); {MEND}") from error

    def __str__(self) -> str:
        told = [
            f"{title} {errors.rate:.1f} % ({errors.substitutions} substituted,"
            f" {errors.deletions} deleted, {errors.insertions} inserted of"
            f" {errors.units})"
            for title, errors in (("WER", self.words), ("CER", self.characters))
        ]
        return f"{self.name}: {', '.join(told)}"


def check_recogniser(config: str | Path, rate: int) -> None:
    """Make sure that a recogniser is for speech of a rate; a wrong one hears nonsense.

    Args:
        config: its training configuration.
        rate: samples per second of what it is to recognise.

    Raises:
        UserError: no configuration, or of another rate.
    """
    import yaml
    from humanfriendly import parse_size

    path = Path(config)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a trained recogniser's folder")
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        trained = options["frontend_conf"].get("fs", 16000)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no configuration of a recogniser; name the config.yaml that"
            " ESPnet wrote when it was trained"
        ) from error
    if parse_size(str(trained)) != rate:
        raise UserError(
            f"{path}: this recogniser was trained at {trained} Hz, but the speech has"
            f" {rate} Hz; choose another"
        )


def read_text(path: str | Path) -> dict[str, str]:
    """Read transcripts, lines "<id> <words>", where words may be missing.

    Raises:
        UserError: missing or empty file, or an id used twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; word error rates need transcripts, one line"
            ' "<id> <words>" for each utterance'
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        fields = line.split(maxsplit=1)
        if not fields:
            continue
        if fields[0] in texts:
            raise UserError(
                f"{path}:{number}: id {fields[0]} is there twice; remove one line"
            )
        texts[fields[0]] = "".join(fields[1:]).rstrip()
    if not texts:
        raise UserError(f"{path}: the file is empty; {MEND}")
    return texts


def normalise(text: str, ignored: Collection[str] = IGNORED) -> str:
    """Take away differences between transcripts that are not to be counted.

    Args:
        text: a transcript.
        ignored: "case" makes all letters small; "punctuation" removes punctuation and
            symbols, but not apostrophes within words, and makes hyphens spaces.

    Returns:
        The words, one space between them.
    """
    text = unicodedata.normalize("NFKC", text)
    if "case" in ignored:
        text = text.lower()
    if "punctuation" in ignored:
        text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        text = "".join(_without_punctuation(text))
    return " ".join(text.split())


def _without_punctuation(text: str) -> list[str]:
    kept = []
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        within = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        if character == "'" and len(within) == 2 and within.isalpha():
            kept.append(character)
        elif category == "Pd":
            kept.append(" ")
        elif category[0] not in "PS":
            kept.append(character)
    return kept


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
        name: of what was recognised, e.g. "noisy_tt_mini".
        asr: the recogniser.
        ignore: see `normalise`.

    Raises:
        UserError: missing files, other utterances than the transcripts', or no word in
            any transcript.
    """
    unknown = sorted(set(ignore) - set(IGNORED))
    if unknown:
        raise UserError(
            f"--ignore {' '.join(unknown)}: choose from {' '.join(IGNORED)}"
        )
    truth = read_text(ref)
    found: dict[str, str] = {}
    for path in hyp:
        found |= read_text(path)
    check_same_ids(Path(ref), truth, Path(output) / "text", found)
    utterances = sorted(truth)
    references = [normalise(truth[utterance], ignore) for utterance in utterances]
    guesses = [normalise(found[utterance], ignore) for utterance in utterances]
    if not any(references):
        raise UserError(f"{ref}: there is no word in it; write what was said")
    rates, alignment = _align(utterances, references, guesses)
    found_rates = ErrorRates(
        name=name,
        asr=asr,
        ignored=tuple(part for part in IGNORED if part in ignore),
        utterances=len(utterances),
        **rates,
    )
    output = Path(output)
    write_text(output / "text", "".join(f"{key} {found[key]}\n" for key in utterances))
    write_text(output / "alignment.txt", alignment)
    write_text(output / RATES, json.dumps(asdict(found_rates), indent=2) + "\n")
    return found_rates


def _align(
    utterances: Sequence[str], references: list[str], guesses: list[str]
) -> tuple[dict[str, Errors], str]:
    import jiwer

    words = jiwer.process_words(references, guesses)
    characters = jiwer.process_characters(references, guesses)
    shown = jiwer.visualize_alignment(words, show_measures=False)
    shown = re.sub(
        r"=== SENTENCE (\d+) ===", lambda match: utterances[int(match[1]) - 1], shown
    )
    rates = {}
    for title, aligned in (("words", words), ("characters", characters)):
        wrong = [
            any(chunk.type != "equal" for chunk in chunks)
            for chunks in aligned.alignments
        ]
        rates[title] = Errors(
            units=aligned.hits + aligned.substitutions + aligned.deletions,
            substitutions=aligned.substitutions,
            deletions=aligned.deletions,
            insertions=aligned.insertions,
            utterances=sum(wrong),
        )
    return rates, shown


def find_error_rates(
    folder: str | Path, name: str = ""
) -> list[tuple[str, ErrorRates]]:
    """Find all results of `score_text` at and below a folder.

    Args:
        folder: one that scores are in or below.
        name: whether what lies in it was given a name, else folders' names are used.

    Returns:
        Name -> error rates, e.g. "enh_train_raw/enhanced_tt".
    """
    folder = Path(folder)
    found = []
    for path in sorted(folder.rglob(RATES)):
        rates = ErrorRates.read(path)
        above = path.relative_to(folder).parts[:-4]  # SYSTEM/scoring/ASR/wer.json
        parts = [rates.name] if name else [*above, rates.name]
        found.append(("/".join(parts), rates))
    return found


def tables(rows: Sequence[tuple[str, ErrorRates]]) -> str:
    """Lay error rates out as ESPnet does, a section for each recogniser.

    Args:
        rows: name -> error rates.

    Returns:
        Markdown; nothing if there are no rows.
    """
    sections = []
    for asr, ignored in dict.fromkeys((row.asr, row.ignored) for _, row in rows):
        alike = {n: row for n, row in rows if (row.asr, row.ignored) == (asr, ignored)}
        without = " and ".join(ignored)
        sections += [
            f"## Recognised by {asr}\n",
            f"### WER\n\n{_table('Wrd', alike, 'words')}",
            f"### CER\n\n{_table('Chr', alike, 'characters')}",
            f"- Compared without regard to {without}.\n"
            if without
            else "- Compared as they are written.\n",
        ]
    return "\n".join(sections)


def _table(unit: str, rows: Mapping[str, ErrorRates], kind: str) -> str:
    titles = ["dataset", "Snt", unit, "Corr", "Sub", "Del", "Ins", "Err", "S.Err"]
    lines = [titles, ["---"] * len(titles)]
    for name, row in rows.items():
        errors: Errors = getattr(row, kind)
        correct = errors.units - errors.substitutions - errors.deletions
        counts = (correct, errors.substitutions, errors.deletions, errors.insertions)
        shown = [f"{100.0 * count / errors.units:.1f}" for count in counts]
        shown += [f"{errors.rate:.1f}"]
        shown += [f"{100.0 * errors.utterances / row.utterances:.1f}"]
        lines.append([name, str(row.utterances), str(errors.units), *shown])
    return "".join(f"|{'|'.join(line)}|\n" for line in lines)
