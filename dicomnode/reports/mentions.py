"""Which findings a sentence names, and which words may change what it says of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dicomnode.reports.lexicon import Cue, FindingTerm, Lexicon, Meanings
from dicomnode.reports.terms import Hit
from dicomnode.reports.text import Words

LONGEST_GAP = 10
"""Words between the halves of a term with a gap."""
_JOINS = frozenset({"and", "or", ",", "/", "the", "&", "both"})


class FoundTerm(NamedTuple):
    """A finding named by words `first` up to, not including, `last`."""

    meaning: FindingTerm
    first: int
    anchor: int
    """First word of the part that cues act on: for a term with a gap its second half."""
    last: int


class FoundCue(NamedTuple):
    """A cue at words `first` up to, not including, `last`."""

    cue: Cue
    first: int
    last: int


class Found(NamedTuple):
    """All that one sentence names, in order of the text."""

    terms: tuple[FoundTerm, ...]
    cues: tuple[FoundCue, ...]


def find(words: Words, lexicon: Lexicon) -> Found:
    """Look up every finding and cue of one sentence."""
    hits = lexicon.index.search(words.words)
    terms: list[FoundTerm] = []
    cues: list[FoundCue] = []
    for number, (first, last, value) in enumerate(hits):
        for term in value.terms:
            terms.append(FoundTerm(term, first, first, last))
        for cue in value.cues:
            cues.append(FoundCue(cue, first, last))
        for slot in value.slots:
            halves = lexicon.pairs.get(slot)
            if halves is not None:
                terms.extend(_pairs(words, hits, number, halves))
    if len(terms) > 1:
        terms = list(dict.fromkeys(terms))
        begins = {at for term in terms if term.first != term.anchor for at in term[1:3]}
        if begins:
            terms = [term for term in terms if not _is_half(term, begins)]
    return Found(tuple(terms), tuple(cues))


def _is_half(term: FoundTerm, begins: set[int]) -> bool:
    """True for words that are half of a term with a gap, which says more than they alone.

    What makes a label of its own stays: `the silhouette shows cardiomegaly`.
    """
    return term.first in begins and term.first == term.anchor and term.meaning.finding.label is None


def _pairs(
    words: Words,
    hits: Sequence[Hit[Meanings]],
    second: int,
    halves: Mapping[str, tuple[FindingTerm, ...]],
) -> Iterator[FoundTerm]:
    """Terms with a gap whose second half is hit number `second`; `halves` may be its first.

    The first half is looked for leftwards. A second structure of the body in between takes the
    predicate for itself, unless both are joined (`heart and mediastinum are enlarged`).
    """
    anchor, last, _ = hits[second]
    nearest: int | None = None
    for place in range(second - 1, -1, -1):
        begin, end, value = hits[place]
        if anchor - end > LONGEST_GAP:
            return
        if value.stops:
            return
        if value.subject:
            if nearest is not None and not _only_joins(words, end, nearest):
                return
            nearest = begin
        both = [
            FoundTerm(term, begin, anchor, last)
            for half in value.slots
            for term in halves.get(half, ())
        ]
        yield from both
        if both and not value.subject:
            return


def _only_joins(words: Words, first: int, last: int) -> bool:
    return last - first <= 4 and all(word in _JOINS for word in words.words[first:last])
