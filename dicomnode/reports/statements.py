"""What one sentence says, wherever it stands: worked out once per distinct sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from dicomnode.domain.reports import (
    Assertion,
    Attributes,
    Circumstance,
    Decision,
    Hedge,
    Method,
    Span,
)
from dicomnode.reports.assertion import Reading, read_windows
from dicomnode.reports.attributes import attributes_of
from dicomnode.reports.combine import Verdict, combined
from dicomnode.reports.graph import Opinions
from dicomnode.reports.lexicon import Finding, Lexicon
from dicomnode.reports.mentions import Found, FoundTerm, find
from dicomnode.reports.skeleton import Skeleton, skeleton_of
from dicomnode.reports.text import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One finding in one sentence; spans count from the start of the sentence."""

    finding: Finding
    span: Span
    assertion: Assertion
    hedge: Hedge
    circumstance: Circumstance
    decision: Decision
    attributes: Attributes


class WindowReading(NamedTuple):
    """A sentence after the scope windows, before the graph."""

    sentence: str
    words: Words
    found: Found
    readings: tuple[Reading, ...]
    skeleton: Skeleton | None
    """What the graph is to be asked; None where the windows are sure."""


def read_sentence(sentence: str, lexicon: Lexicon, *, ask_graph: bool) -> WindowReading:
    """Findings, cues and what the windows make of them."""
    words = Words(sentence)
    found = find(words, lexicon)
    readings = read_windows(words, found, lexicon) if found.terms else ()
    skeleton = None
    if ask_graph and any(_may_change(reading, words, lexicon) for reading in readings):
        skeleton = skeleton_of(words, found)
    return WindowReading(sentence, words, found, readings, skeleton)


def _may_change(reading: Reading, words: Words, lexicon: Lexicon) -> bool:
    """True if `combined` might follow the graph rather than this reading."""
    if reading.sure or reading.circumstance is not Circumstance.CURRENT:
        return False
    if reading.assertion is Assertion.ABSENT:
        rules = lexicon.undoing
    elif reading.assertion is Assertion.PRESENT and reading.trigger is None:
        rules = lexicon.denying
    else:
        return False
    here = frozenset(words.words)
    return any(all(node & here for node in nodes) for nodes in rules)


def verdicts(window: WindowReading, opinions: Opinions | None) -> tuple[Verdict, ...]:
    """One verdict per finding of the sentence, after both readers were heard."""
    heard = repeat(None) if opinions is None else opinions
    return tuple(map(combined, window.found.terms, window.readings, heard))


def statements(
    window: WindowReading, held: Sequence[Verdict], lexicon: Lexicon
) -> tuple[Statement, ...]:
    """All that the sentence says, with its places, triggers and attributes."""
    if not held:
        return ()
    described = attributes_of(window.sentence, window.words, window.found.terms, lexicon)
    return tuple(
        _statement(window.words, term, reading, verdict, attributes)
        for term, reading, verdict, attributes in zip(
            window.found.terms, window.readings, held, described, strict=True
        )
    )


def _statement(
    words: Words, term: FoundTerm, reading: Reading, verdict: Verdict, attributes: Attributes
) -> Statement:
    return Statement(
        finding=term.meaning.finding,
        span=words.span(term.first, term.last),
        assertion=verdict.assertion,
        hedge=verdict.hedge,
        circumstance=reading.circumstance,
        decision=_decision(words, term, reading, verdict),
        attributes=attributes,
    )


def _decision(words: Words, term: FoundTerm, reading: Reading, verdict: Verdict) -> Decision:
    trigger: Span | None = None
    if verdict.method is Method.TERM:
        trigger = words.span(term.anchor, term.last)
    elif verdict.method is not Method.GRAPH and reading.trigger is not None:
        trigger = words.span(reading.trigger.first, reading.trigger.last)
    return Decision(
        method=verdict.method,
        rule=verdict.rule,
        trigger=trigger,
        window=reading.assertion,
        graph=verdict.graph,
    )
