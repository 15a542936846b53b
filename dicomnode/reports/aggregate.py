"""Study labels from mentions: every combination that can occur is a row of a table."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicomnode.domain.reports import Assertion, Label

_PRESENT, _ABSENT, _UNCERTAIN = Assertion.PRESENT, Assertion.ABSENT, Assertion.UNCERTAIN


@dataclass(frozen=True, slots=True)
class Case:
    """What one combination of mentions comes to."""

    value: Label
    speaks: Assertion | None
    """The assertion that decides; its first mention is the one to show."""
    words: str


CASES: Mapping[frozenset[Assertion], Case] = {
    frozenset(): Case(Label.NOT_MENTIONED, None, "not mentioned"),
    frozenset({_PRESENT}): Case(Label.POSITIVE, _PRESENT, "present"),
    frozenset({_ABSENT}): Case(Label.NEGATIVE, _ABSENT, "absent"),
    frozenset({_UNCERTAIN}): Case(Label.UNCERTAIN, _UNCERTAIN, "uncertain"),
    # A report denies what it looked for in one place and finds it in another (`no large effusion`,
    # then `small effusion`): the finding is the news.
    frozenset({_PRESENT, _ABSENT}): Case(
        Label.POSITIVE,
        _PRESENT,
        "present and absent: present holds",
    ),
    frozenset({_PRESENT, _UNCERTAIN}): Case(
        Label.POSITIVE,
        _PRESENT,
        "present and uncertain: present holds",
    ),
    frozenset({_ABSENT, _UNCERTAIN}): Case(
        Label.UNCERTAIN,
        _UNCERTAIN,
        "absent and uncertain: uncertain holds",
    ),
    frozenset({_PRESENT, _ABSENT, _UNCERTAIN}): Case(
        Label.POSITIVE,
        _PRESENT,
        "present, absent and uncertain: present holds",
    ),
}

BITS: Mapping[Assertion, int] = {_PRESENT: 1, _ABSENT: 2, _UNCERTAIN: 4}
"""A set of assertions as a number, for tables: the sum of these."""
CASES_BY_BITS = tuple(
    CASES[frozenset(each for each, bit in BITS.items() if bits & bit)] for bits in range(8)
)
