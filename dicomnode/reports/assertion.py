"""What a sentence says of each finding it names, read by scope windows.

A cue governs the findings after it (or before it) up to the next stop, within its reach. The
cases are spelled out in `_combined`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dicomnode.domain.reports import Assertion, Circumstance, Hedge
from dicomnode.reports.clauses import Clauses, clauses_of
from dicomnode.reports.lexicon import Lexicon
from dicomnode.reports.mentions import Found, FoundCue, FoundTerm
from dicomnode.reports.schema import Effect
from dicomnode.reports.text import Words

HEDGES = {
    Effect.LIKELY: Hedge.LIKELY,
    Effect.POSSIBLE: Hedge.POSSIBLE,
    Effect.DIFFERENTIAL: Hedge.DIFFERENTIAL,
    Effect.NOT_EXCLUDED: Hedge.NOT_EXCLUDED,
    Effect.BORDERLINE: Hedge.BORDERLINE,
}
CIRCUMSTANCES = {
    Effect.HISTORY: Circumstance.HISTORY,
    Effect.FAMILY: Circumstance.FAMILY,
    Effect.HYPOTHETICAL: Circumstance.HYPOTHETICAL,
}
_ALTERNATIVES = frozenset({"or", "/"})
LONGEST_ALTERNATIVE = 4
"""Words from one finding to the next in `left basilar atelectasis or mild scarring`."""
DECIDING = frozenset({Effect.ABSENT, Effect.PRESENT, *HEDGES})
WEIGHTY = DECIDING - {Effect.DIFFERENTIAL}
_ACTING = DECIDING | CIRCUMSTANCES.keys()


class Reading(NamedTuple):
    """What the windows make of one finding in one sentence."""

    assertion: Assertion
    hedge: Hedge
    circumstance: Circumstance
    trigger: FoundCue | None
    sure: bool
    """Nothing but a plain list stands between cue and finding: a parse could add nothing."""


_ONE_CLAUSE = Clauses(None, frozenset())
_PLAIN = Reading(
    assertion=Assertion.PRESENT,
    hedge=Hedge.NONE,
    circumstance=Circumstance.CURRENT,
    trigger=None,
    sure=True,
)


def read_windows(words: Words, found: Found, lexicon: Lexicon) -> tuple[Reading, ...]:
    """One reading per term of `found`, in the same order."""
    joined = not _ALTERNATIVES.isdisjoint(words.words)
    acting = [cue for cue in found.cues if cue.cue.effect in _ACTING]
    if not acting and not joined and not any(term.meaning.absent for term in found.terms):
        return (_PLAIN,) * len(found.terms)
    clauses = clauses_of(words.words, found.cues, lexicon) if acting else _ONE_CLAUSE
    deciding = [cue for cue in acting if cue.cue.effect in DECIDING]
    readings = []
    for term in found.terms:
        ahead = [cue for cue in acting if _governs_ahead(cue, term, found, words, clauses)]
        behind = [cue for cue in acting if _governs_behind(cue, term, found, words, clauses)]
        trigger = None
        if ahead or behind:
            trigger = _deciding(_weighty(ahead), _weighty(behind), found)
            trigger = trigger or _versus(ahead + behind)
        assertion, hedge = _meaning_of(trigger, term)
        bare = trigger is None and assertion is Assertion.PRESENT
        if bare and joined and _is_alternative(words, found, term):
            assertion, hedge = Assertion.UNCERTAIN, Hedge.DIFFERENTIAL
        circumstance = _circumstance(ahead + behind, term, trigger)
        sure = not deciding or (
            len(deciding) == 1
            and trigger is not None
            and _is_listed(words.words, clauses, lexicon, trigger, term)
        )
        readings.append(Reading(assertion, hedge, circumstance, trigger, sure))
    return tuple(readings)


def _circumstance(
    cues: Sequence[FoundCue], term: FoundTerm, trigger: FoundCue | None
) -> Circumstance:
    """Of the cues that reach the finding.

    What is denied after the past was mentioned is denied of today: `status post biopsy with no
    pneumothorax`, `previous effusion has resolved`.
    """
    denied = trigger is not None and trigger.cue.effect is Effect.ABSENT
    for cue in cues:
        circumstance = CIRCUMSTANCES.get(cue.cue.effect, Circumstance.CURRENT)
        if circumstance is Circumstance.HISTORY:
            today = denied and trigger is not None and trigger.first >= cue.last
            if today or term.meaning.finding.chronic:
                continue
        if circumstance is not Circumstance.CURRENT:
            return circumstance
    return Circumstance.CURRENT


def _governs_ahead(
    cue: FoundCue, term: FoundTerm, found: Found, words: Words, clauses: Clauses
) -> bool:
    return (
        cue.cue.before
        and cue.last <= term.anchor
        and term.anchor - cue.last <= cue.cue.reach
        and clauses.together(cue.last - 1, term.anchor)
        and not _accompanies(cue, term, found, words)
    )


def _accompanies(cue: FoundCue, term: FoundTerm, found: Found, words: Words) -> bool:
    """True for B in `no A with B`, where A and B are labels: what is denied is A."""
    if cue.cue.effect is not Effect.ABSENT or "with" not in words.words[cue.last : term.first]:
        return False
    companion = term.first - 1 - words.words[cue.last : term.first][::-1].index("with")
    labelled = [other for other in found.terms if other.meaning.finding.label is not None]
    return term in labelled and any(cue.last <= other.anchor < companion for other in labelled)


def _governs_behind(
    cue: FoundCue, term: FoundTerm, found: Found, words: Words, clauses: Clauses
) -> bool:
    return (
        cue.cue.after
        and cue.first >= term.last
        and cue.first - term.last <= cue.cue.reach
        and clauses.together(cue.first, term.anchor)
        and (
            not any(place in clauses.verbs for place in range(term.last, cue.first))
            or _shares_subject(cue, term, found, words)
        )
    )


def _shares_subject(cue: FoundCue, term: FoundTerm, found: Found, words: Words) -> bool:
    """True if the cue is a second predicate: `X is less likely but not excluded`."""
    joins = words.words[cue.first] == "but" or words.words[cue.first - 1] in {"and", "but"}
    return joins and not any(term.last <= other.first < cue.first for other in found.terms)


def _deciding(
    ahead: Sequence[FoundCue], behind: Sequence[FoundCue], found: Found
) -> FoundCue | None:
    """Which of the cues that reach a finding decides, case by case.

    ahead                      behind          decides
    nothing                    nothing         nothing
    nothing                    any             the nearest behind
    hedge after a negation     nothing         the negation: `no evidence to suggest`
    any other                  nothing         the nearest ahead
    any                        not excluded    behind: `no large one, a small one is not excluded`
    negation                   any other       the negation ahead
    hedge                      negation        the negation: `possible effusion has resolved`
    hedge or present           any             behind
    """
    nearest = _absorbed(ahead, found) if ahead else None
    follower = min(behind, key=lambda cue: cue.first, default=None)
    if nearest is None or follower is None:
        return nearest or follower
    if follower.cue.effect is Effect.NOT_EXCLUDED:
        return follower
    if nearest.cue.effect is Effect.ABSENT:
        return nearest
    return follower


def _weighty(cues: Sequence[FoundCue]) -> list[FoundCue]:
    return [cue for cue in cues if cue.cue.effect in WEIGHTY]


def _versus(cues: Sequence[FoundCue]) -> FoundCue | None:
    """`versus` decides only where nothing else does: `may be X versus Y` is no more than `may`."""
    return next((cue for cue in cues if cue.cue.effect is Effect.DIFFERENTIAL), None)


def _absorbed(ahead: Sequence[FoundCue], found: Found) -> FoundCue:
    """The nearest cue ahead, or the negation (or stronger hedge) that governs it."""
    nearest = max(ahead, key=lambda cue: cue.last)
    if nearest.cue.effect not in HEDGES and not nearest.cue.carries:
        return nearest
    for cue in sorted(ahead, key=lambda cue: -cue.last):
        between = any(cue.last <= term.anchor < nearest.first for term in found.terms)
        if cue.cue.effect is Effect.ABSENT and (nearest.cue.carries or not between):
            return cue
        if cue.cue.effect in HEDGES and nearest.cue.effect is Effect.PRESENT and not between:
            return cue
    return nearest


def _meaning_of(trigger: FoundCue | None, term: FoundTerm) -> tuple[Assertion, Hedge]:
    """Assertion of the finding.

    Words that say it is absent (`heart size is normal`) do so whatever reaches them, but for a
    negation right in front (`not normal`).
    """
    effect = trigger.cue.effect if trigger is not None else Effect.PRESENT
    if term.meaning.absent:
        turned = effect is Effect.ABSENT and trigger is not None and trigger.last == term.anchor
        return (Assertion.PRESENT if turned else Assertion.ABSENT), Hedge.NONE
    if effect in HEDGES:
        return Assertion.UNCERTAIN, HEDGES[effect]
    return (Assertion.ABSENT if effect is Effect.ABSENT else Assertion.PRESENT), Hedge.NONE


def _is_alternative(words: Words, found: Found, term: FoundTerm) -> bool:
    """True for `atelectasis or scarring`, `nodule/mass`: not said which of the two is there."""
    for other in found.terms:
        near, far = sorted((term, other), key=lambda side: side.first)
        between = words.words[near.last : far.anchor]
        joined = not _ALTERNATIVES.isdisjoint(between) and not {"and", ","} & {*between}
        if joined and len(between) <= LONGEST_ALTERNATIVE:
            apart = other.meaning.finding is not term.meaning.finding
            return apart and not _interrupted(found, near.last, far.anchor)
    return False


def _interrupted(found: Found, first: int, last: int) -> bool:
    """True if a finding or a cue stands among words `first` to `last`."""
    return any(first <= term.first and term.last <= last for term in found.terms) or any(
        first <= cue.first and cue.last <= last for cue in found.cues
    )


def _is_listed(
    words: Sequence[str], clauses: Clauses, lexicon: Lexicon, trigger: FoundCue, term: FoundTerm
) -> bool:
    """True if nothing but a plain list stands between cue and finding."""
    first, last = sorted((trigger.last, term.anchor, trigger.first, term.last))[1:3]
    return lexicon.links.isdisjoint(words[first:last]) and not any(
        place in clauses.verbs for place in range(first, last)
    )
