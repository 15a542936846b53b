"""Verdicts as text for a person who asks why a study did or did not run."""

from collections.abc import Sequence
from itertools import groupby

from dicomnode.domain.matching import ConditionVerdict, RuleVerdict


def explain(verdicts: Sequence[RuleVerdict]) -> str:
    """Each rule with its reason, then each condition with what was found.

    Shows values of the header where conditions ask for them: for the person who asked, never for
    a log.
    """
    return "\n".join(line for verdict in verdicts for line in _lines(verdict))


def _lines(verdict: RuleVerdict) -> list[str]:
    lines = [f"{verdict.rule_name}: {verdict.reason}"]
    for subject, conditions in groupby(verdict.conditions, key=lambda one: one.subject):
        lines.append(f"  {subject if subject == 'study' else f'series {subject}'}")
        lines += [_line(one) for one in conditions]
    lines += [
        f"  runs {one.algorithm}, priority {one.priority.name.lower()}, "
        f"to {', '.join(one.destinations) or 'every destination'}"
        for one in verdict.matches
    ]
    return lines


def _line(verdict: ConditionVerdict) -> str:
    mark = "yes" if verdict.held else "NO "
    return f"    {mark}  {verdict.condition}   [{verdict.actual}]"
