"""Clauses of a sentence: how far a cue may reach."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicomnode.reports.lexicon import Lexicon
from dicomnode.reports.mentions import FoundCue
from dicomnode.reports.schema import Effect

_JOINS = frozenset({",", "and"})
_SUBJECT_OPENERS = frozenset({"the", "this", "these", "both"})


@dataclass(frozen=True, slots=True)
class Clauses:
    """`number[i]` is the clause of word `i`, None if all is one; `verbs` are places of verbs."""

    number: Sequence[int] | None
    verbs: frozenset[int]

    def together(self, one: int, other: int) -> bool:
        """True if both words stand in one clause."""
        return self.number is None or self.number[one] == self.number[other]


_NO_VERBS: frozenset[int] = frozenset()


def clauses_of(words: Sequence[str], cues: Sequence[FoundCue], lexicon: Lexicon) -> Clauses:
    """Number the clauses.

    A stop begins one; so does a comma or `and` between two verbs, or in front of a new subject with
    its verb (`no effusion, and the heart is enlarged`).
    """
    verbs = _NO_VERBS
    if not lexicon.verbs.isdisjoint(words):
        verbs = frozenset(
            place
            for place, word in enumerate(words)
            if word in lexicon.verbs and (place == 0 or words[place - 1] != "there")
        )
    stops = sorted(cue.first for cue in cues if cue.cue.effect is Effect.STOP)
    if not stops and (not verbs or _JOINS.isdisjoint(words)):
        return Clauses(None, verbs)
    return Clauses(_numbers(words, verbs, stops), verbs)


def _numbers(words: Sequence[str], verbs: frozenset[int], stops: Sequence[int]) -> list[int]:
    numbers: list[int] = []
    clause, seen_verb = 0, False
    for place, word in enumerate(words):
        joins = word in _JOINS and (seen_verb or _opens_subject(place, words))
        if place in stops or (joins and _verb_follows(place, verbs, stops, words)):
            clause, seen_verb = clause + 1, False
        seen_verb = seen_verb or place in verbs
        numbers.append(clause)
    return numbers


def _verb_follows(
    place: int, verbs: frozenset[int], stops: Sequence[int], words: Sequence[str]
) -> bool:
    end = next((stop for stop in stops if stop > place), len(words))
    return any(place < verb < end for verb in verbs)


def _opens_subject(place: int, words: Sequence[str]) -> bool:
    return place + 1 < len(words) and words[place + 1] in _SUBJECT_OPENERS
