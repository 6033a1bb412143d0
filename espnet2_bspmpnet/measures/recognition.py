"""Word and character errors of recognised speech: texts in, counts out."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

IGNORED = ("case", "punctuation")


@dataclass(frozen=True)
class Errors:
    """What an alignment of recognised and true units counts."""

    units: int  # words or characters of the references
    substitutions: int
    deletions: int
    insertions: int
    utterances: int  # with at least one error

    @property
    def rate(self) -> float:
        """Errors in percent of the references' units."""
        wrong = self.substitutions + self.deletions + self.insertions
        return 100.0 * wrong / self.units


def normalise(text: str, ignored: Collection[str] = IGNORED) -> str:
    """Remove differences between transcripts that are not to be counted.

    "case" makes all letters small; "punctuation" removes punctuation and symbols, but not
    apostrophes within words, and makes hyphens spaces.  One space is left between words.
    """
    text = unicodedata.normalize("NFKC", text)
    if "case" in ignored:
        text = text.lower()
    if "punctuation" in ignored:
        text = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        text = "".join(_without_punctuation(text))
    return " ".join(text.split())


def _without_punctuation(text: str) -> Iterator[str]:
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        within = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        if character == "'" and len(within) == 2 and within.isalpha():
            yield character
        elif category == "Pd":
            yield " "
        elif category[0] not in "PS":
            yield character


def count_errors(
    utterances: Sequence[str], references: Sequence[str], recognised: Sequence[str]
) -> tuple[Errors, Errors, str]:
    """Align what was recognised with what was said [N], at least one word in all.

    Returns:
        Errors in words, errors in characters (spaces included), and the alignment of
        each utterance's words, for people to read.
    """
    import jiwer

    references, recognised = list(references), list(recognised)
    words = jiwer.process_words(references, recognised)
    characters = jiwer.process_characters(references, recognised)
    alignment = re.sub(
        r"=== SENTENCE (\d+) ===",
        lambda match: utterances[int(match[1]) - 1],
        jiwer.visualize_alignment(words, show_measures=False),
    )
    return _errors(words), _errors(characters), alignment


def _errors(aligned) -> Errors:
    wrong = (any(c.type != "equal" for c in chunks) for chunks in aligned.alignments)
    return Errors(
        units=aligned.hits + aligned.substitutions + aligned.deletions,
        substitutions=aligned.substitutions,
        deletions=aligned.deletions,
        insertions=aligned.insertions,
        utterances=sum(wrong),
    )
