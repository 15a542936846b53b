"""A sentence made ready for the parser: each finding becomes one common noun.

A general parser reads `No focal infiltrates` with a verb in it, but not `No focal diseases`; and
many sentences become the same one, so fewer are parsed.
"""

from dataclasses import dataclass

from dicomnode.reports.mentions import Found
from dicomnode.reports.text import Words

STAND_IN = "disease"
NUMBER = "5"
"""Stands for every number: which one it is does not change the graph."""
# Words that only describe: without them sentences are shorter and more of them are the same.
_DROPPED = frozenset(
    {
        *("small", "large", "tiny", "trace", "minimal", "mild", "mildly", "moderate", "moderately"),
        *(
            "severe",
            "marked",
            "markedly",
            "slight",
            "slightly",
            "subtle",
            "significant",
            "definite",
        ),
        *("acute", "chronic", "new", "old", "stable", "focal", "patchy", "left", "right", "xxxx"),
        *("bilateral", "basilar", "bibasilar", "upper", "lower", "middle", "pleural", "pulmonary"),
        "lung",
    }
)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Words for the parser, and which of them stand for findings."""

    words: tuple[str, ...]
    places: tuple[int | None, ...]
    """For each finding of the sentence its word here; None if another hides it."""


def skeleton_of(words: Words, found: Found) -> Skeleton:
    """The skeleton of a sentence."""
    heads: dict[int, int] = {}
    swallowed: set[int] = set()
    for term in found.terms:
        head = term.last - 1
        whole = term.first == term.anchor and term.meaning.finding.label is not None
        heads[head] = heads.get(head, 0) or int(whole)
        swallowed |= set(range(term.anchor, head))
    kept: list[str] = []
    at: dict[int, int] = {}
    for place, word in enumerate(words.words):
        if place in heads:
            at[place] = len(kept)
            kept.append(STAND_IN if heads[place] else word)
        elif place not in swallowed and word not in _DROPPED:
            kept.append(NUMBER if word[0].isdigit() else word)
    return Skeleton(tuple(kept), tuple(at.get(term.last - 1) for term in found.terms))
