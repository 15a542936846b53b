"""Which findings a sentence names, and which words may change what it says of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dicomnode.reports.lexicon import Cue, FindingTerm, Lexicon, Meanings
from dicomnode.reports.schema import Effect
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
        terms.extend(FoundTerm(term, first, first, last) for term in value.terms)
        cues.extend(FoundCue(cue, first, last) for cue in value.cues)
        for slot in value.slots:
            terms.extend(_pairs(words, hits, number, slot, lexicon))
    return Found(tuple(dict.fromkeys(terms)), tuple(cues))


def _pairs(
    words: Words, hits: Sequence[Hit[Meanings]], second: int, slot: str, lexicon: Lexicon
) -> Iterator[FoundTerm]:
    """Terms with a gap whose second half is `slot`.

    The first half is looked for leftwards. A second structure of the body in between takes the
    predicate for itself, unless both are joined (`heart and mediastinum are enlarged`).
    """
    anchor, last = hits[second].first, hits[second].last
    nearest: int | None = None
    for hit in reversed(hits[:second]):
        if anchor - hit.last > LONGEST_GAP:
            return
        if any(cue.effect is Effect.STOP for cue in hit.value.cues):
            return
        if hit.value.subject:
            if nearest is not None and not _only_joins(words, hit.last, nearest):
                return
            nearest = hit.first
        both = [
            FoundTerm(term, hit.first, anchor, last)
            for half in hit.value.slots
            for term in lexicon.pairs.get((half, slot), ())
        ]
        yield from both
        if both and not hit.value.subject:
            return


def _only_joins(words: Words, first: int, last: int) -> bool:
    return last - first <= 4 and all(word in _JOINS for word in words.words[first:last])
