"""One assertion from two readers: scope windows first, the dependency graph as second opinion.

Measured on held-out folds, windows miss fewer negations and the graph is misled by its own parse
errors, so the graph only decides in the cases written out in `combined`. Both opinions are kept.
"""

from typing import NamedTuple

from dicomnode.domain.reports import Assertion, Hedge, Method
from dicomnode.reports.assertion import HEDGES, Reading
from dicomnode.reports.graph import GraphOpinion
from dicomnode.reports.mentions import FoundTerm
from dicomnode.reports.schema import Effect

_OVERRULING = frozenset({Effect.NOT_EXCLUDED, Effect.NEUTRAL})


class Verdict(NamedTuple):
    """What holds after both were heard."""

    assertion: Assertion
    hedge: Hedge
    method: Method
    rule: str
    graph: Assertion | None


def combined(term: FoundTerm, window: Reading, opinion: GraphOpinion | None) -> Verdict:
    """Who decides, case by case.

    windows               graph                          holds
    words that deny       any                            the words themselves
    any                   no opinion                     windows
    the same              the same                       both
    present, no trigger   absent or uncertain            graph: no window reached so far; but not
                                                         if it only inherits from a list, which
                                                         parsers carry on too far
    absent                not excluded                   graph: `not` belongs to `excluded`
    absent                neutral (`no change in`)       graph: the finding is there
    any other             any other                      windows
    """
    if term.meaning.absent:
        return Verdict(window.assertion, window.hedge, Method.TERM, "absent-term", None)
    method, rule = Method.PLAIN, ""
    if window.trigger is not None:
        method, rule = Method.WINDOW, window.trigger.cue.id
    graph = assertion_of(opinion) if opinion is not None else None
    if opinion is None or graph is None:
        return Verdict(window.assertion, window.hedge, method, rule, None)
    if graph is window.assertion:
        agreed = Method.BOTH if window.trigger is not None else method
        return Verdict(graph, window.hedge, agreed, rule, graph)
    unreached = window.assertion is Assertion.PRESENT and window.trigger is None
    overruled = window.assertion is Assertion.ABSENT and opinion.effect in _OVERRULING
    if (unreached and not opinion.inherited) or overruled:
        hedge = HEDGES.get(opinion.effect, Hedge.NONE)
        return Verdict(graph, hedge, Method.GRAPH, opinion.rule, graph)
    return Verdict(window.assertion, window.hedge, method, rule, graph)


def assertion_of(opinion: GraphOpinion | None) -> Assertion | None:
    """The graph's opinion as an assertion."""
    if opinion is None:
        return None
    if opinion.effect in HEDGES:
        return Assertion.UNCERTAIN
    return Assertion.ABSENT if opinion.effect is Effect.ABSENT else Assertion.PRESENT
