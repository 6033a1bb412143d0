"""Sentences put together from word lists, rich in the sounds of English."""

import numpy as np


def _list(words: str, separator: str = " ") -> list[str]:
    return words.split(separator)


_OPENINGS = _list(
    "This morning; After lunch; Before the storm; Last Thursday; In early spring; "
    "By the end of June; On rainy days; As usual",
    "; ",
)
_DETERMINERS = ("the", "a", "my", "their", "every", "this", "our", "another")
_ADJECTIVES = _list(
    "small yellow cheerful broken quiet heavy shiny thin young rough velvet square "
    "foggy gentle huge polished wooden careful"
)
_PEOPLE = _list(
    "teacher fisherman neighbour judge child painter shepherd nurse driver cousin "
    "visitor queen author goalkeeper watchmaker piper"
)
_THINGS = _list(
    "kettle bridge ship garden violin treasure bottle chair mountain yacht jacket "
    "feather window orchard thimble village coin basket letter machine acorn fire "
    "pavement zipper"
)
_DID_TO = _list(
    "carried found noticed painted measured bought brushed hid sketched repaired "
    "offered pulled chose borrowed photographed ignored"
)
_DID = _list(
    "laughed waited vanished shouted slept returned whistled stumbled argued "
    "danced yawned hurried"
)
_WHERE = _list(
    "near the harbour; behind the church; under a pale moon; across the valley; in the "
    "kitchen; beside the railway; through the thick forest; on the other side of the "
    "road; above the noisy street; at the edge of town",
    "; ",
)
_HOW = _list(
    "with great pleasure; without a sound; rather slowly; once again; much too early; "
    "for five or six hours; just in time; as though nothing had happened",
    "; ",
)
_LINKS = ("and then", "but", "while", "because", "so", "although")

# Each word is one part of a sentence, made by the function of that name below.
_SHAPES = (
    "open subject act",
    "subject act where",
    "subject act how",
    "subject do where how",
    "subject do link subject do",
    "open subject do where",
    "subject act link subject do",
    "where_first subject act",
)


def compose(rng: np.random.Generator) -> str:
    """Return a random sentence of some six to sixteen words, 1.5 to 4 s when spoken."""

    def pick(words):
        return words[rng.integers(len(words))]

    def phrase(nouns):
        determiner = pick(_DETERMINERS)
        adjective = f"{pick(_ADJECTIVES)} " if rng.random() < 0.6 else ""
        noun = f"{adjective}{pick(nouns)}"
        if determiner == "a" and noun[0] in "aeiou":
            determiner = "an"
        return f"{determiner} {noun}"

    parts = {
        "open": lambda: f"{pick(_OPENINGS)},",
        "subject": lambda: phrase(_PEOPLE),
        "act": lambda: f"{pick(_DID_TO)} {phrase(_THINGS)}",
        "do": lambda: pick(_DID),
        "where": lambda: pick(_WHERE),
        "where_first": lambda: f"{pick(_WHERE)},",
        "how": lambda: pick(_HOW),
        "link": lambda: pick(_LINKS),
    }
    sentence = " ".join(parts[part]() for part in pick(_SHAPES).split())
    return f"{sentence[0].upper()}{sentence[1:]}."
