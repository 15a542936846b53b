"""Which findings a sentence names, and which words may change what it says of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.reports.lexicon import Cue, FindingTerm, Lexicon, Meaning, Slot, Subject
from dicomnode.reports.schema import Effect
from dicomnode.reports.terms import Hit
from dicomnode.reports.text import Words

LONGEST_GAP = 10
"""Words between the halves of a term with a gap."""
_JOINS = frozenset({"and", "or", ",", "/", "the", "&", "both"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTerm:
    """A finding named by words `first` up to, not including, `last`.

    `anchor` is the first word of the part that cues act on: for a term with a gap its second half.
    """

    meaning: FindingTerm
    first: int
    anchor: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCue:
    """A cue at words `first` up to, not including, `last`."""

    cue: Cue
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that one sentence names, in order of the text."""

    terms: tuple[FoundTerm, ...]
    cues: tuple[FoundCue, ...]


def find(words: Words, lexicon: Lexicon) -> Found:
    """Look up every finding and cue of one sentence."""
    hits = list(lexicon.index.search(words.words))
    terms: list[FoundTerm] = []
    cues: list[FoundCue] = []
    for number, hit in enumerate(hits):
        for meaning in hit.entries:
            if isinstance(meaning, FindingTerm):
                terms.append(
                    FoundTerm(meaning=meaning, first=hit.first, anchor=hit.first, last=hit.last)
                )
            elif isinstance(meaning, Cue):
                cues.append(FoundCue(cue=meaning, first=hit.first, last=hit.last))
            elif isinstance(meaning, Slot):
                terms.extend(_pairs(words, hits, number, meaning, lexicon))
    return Found(terms=tuple(dict.fromkeys(terms)), cues=tuple(cues))


def _pairs(
    words: Words, hits: Sequence[Hit[Meaning]], second: int, slot: Slot, lexicon: Lexicon
) -> list[FoundTerm]:
    """Terms with a gap whose second half is `slot`.

    The first half is looked for leftwards. A second structure of the body in between takes the
    predicate for itself, unless both are joined (`heart and mediastinum are enlarged`).
    """
    found: list[FoundTerm] = []
    anchor, last = hits[second].first, hits[second].last
    nearest: int | None = None
    for hit in reversed(hits[:second]):
        if anchor - hit.last > LONGEST_GAP or any(_stops(meaning) for meaning in hit.entries):
            break
        is_subject = any(isinstance(meaning, Subject) for meaning in hit.entries)
        if is_subject:
            if nearest is not None and not _only_joins(words, hit.last, nearest):
                break
            nearest = hit.first
        both = [
            FoundTerm(meaning=term, first=hit.first, anchor=anchor, last=last)
            for meaning in hit.entries
            if isinstance(meaning, Slot)
            for term in lexicon.pairs.get((meaning.id, slot.id), ())
        ]
        found.extend(both)
        if both and not is_subject:
            break
    return found


def _only_joins(words: Words, first: int, last: int) -> bool:
    return last - first <= 4 and all(word in _JOINS for word in words.words[first:last])


def _stops(meaning: Meaning) -> bool:
    return isinstance(meaning, Cue) and meaning.effect is Effect.STOP
