"""Conditions held against a series or a study."""

from collections.abc import Callable, Mapping, Sequence

from dicomnode.domain.matching import ConditionVerdict
from dicomnode.domain.studies import SeriesFacts
from dicomnode.rules.model import Condition, Operands, Operator, Subject
from dicomnode.rules.patterns import found_in
from dicomnode.rules.subjects import STUDY_WORDS, number_of, values_of

_NEGATIVE = {Operator.NOT: Operator.ANY_OF, Operator.NOT_MATCHES: Operator.MATCHES}
_COMPARISONS: Mapping[Operator, Callable[[float, float, float], bool]] = {
    Operator.BELOW: lambda number, limit, _: number < limit,
    Operator.AT_MOST: lambda number, limit, _: number <= limit,
    Operator.ABOVE: lambda number, limit, _: number > limit,
    Operator.AT_LEAST: lambda number, limit, _: number >= limit,
    Operator.BETWEEN: lambda number, low, high: low <= number <= high,
}
_LONGEST_SHOWN = 80

Values = tuple[str, ...]
"""What one series has for one subject; empty if the attribute is absent or empty."""


def held_by_series(condition: Condition, facts: SeriesFacts, *, prefix: str) -> ConditionVerdict:
    """`condition` against one series."""
    found = [(subject, values_of(subject, facts)) for subject in condition.subjects]
    return ConditionVerdict(
        condition=f"{prefix}{condition}",
        subject=facts.series_uid,
        actual=_shown(found),
        held=_holds(condition, found),
    )


def held_by_study(
    condition: Condition,
    series: Sequence[SeriesFacts],
    calling_aes: frozenset[str],
    *,
    prefix: str = "",
) -> ConditionVerdict:
    """`condition` against a study: it holds if any series has it, a negative one if none has."""
    found: list[tuple[Subject, Values]] = []
    for subject in condition.subjects:
        if subject.word in STUDY_WORDS:
            found.append((subject, tuple(sorted(calling_aes))))
        else:
            found += [(subject, values_of(subject, facts)) for facts in series]
    return ConditionVerdict(
        condition=f"{prefix}{condition}",
        subject="study",
        actual=_shown(found),
        held=_holds(condition, found),
    )


def _holds(condition: Condition, found: Sequence[tuple[Subject, Values]]) -> bool:
    operator, operands = condition.operator, condition.operands
    if operator is Operator.PRESENT:
        return any(values for _, values in found) == (operands[0] == "true")
    if operator in _NEGATIVE:
        return not any(_fits(_NEGATIVE[operator], operands, *one) for one in found)
    return any(_fits(operator, operands, *one) for one in found)


def _fits(operator: Operator, operands: Operands, subject: Subject, values: Values) -> bool:
    if not values:
        return operator is Operator.ANY_OF and "" in operands
    if operator is Operator.ALL_OF:
        return all(any(_equals(subject, v, wanted) for v in values) for wanted in operands)
    return any(_value_fits(operator, operands, subject, value) for value in values)


def _value_fits(operator: Operator, operands: Operands, subject: Subject, value: str) -> bool:
    if operator is Operator.ANY_OF:
        return any(_equals(subject, value, wanted) for wanted in operands)
    if operator is Operator.MATCHES:
        return found_in(str(operands[0]), value)
    number = number_of(subject.kind, value)
    if number is None:
        return False
    return _COMPARISONS[operator](number, float(operands[0]), float(operands[-1]))


def _equals(subject: Subject, value: str, wanted: str | float) -> bool:
    if isinstance(wanted, str):
        return value.casefold() == wanted.strip().casefold()
    return number_of(subject.kind, value) == wanted


def _shown(found: Sequence[tuple[Subject, Values]]) -> str:
    named = len({subject.word for subject, _ in found}) > 1
    shown: dict[str, None] = {}
    for subject, values in found:
        text = "\\".join(values) or "absent"
        text = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
        shown[f"{subject.word}: {text}" if named else text] = None
    return "; ".join(shown) or "absent"
