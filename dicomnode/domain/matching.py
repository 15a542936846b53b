"""Rules and what came of matching them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from dicomnode.domain.identifiers import SeriesUid


class Priority(Enum):
    """Order of work; the value is the queue priority, lower first."""

    STAT = 1
    HIGH = 10
    ROUTINE = 100
    LOW = 1000


class Scope(Enum):
    """What has to be closed before a rule is tried."""

    STUDY = "study"
    SERIES = "series"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleText:
    """One version of a rule file, whether or not it can be used."""

    digest: str
    """SHA-256 of `text` in UTF-8, hex."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionVerdict:
    """One condition held against one study or series, in words a person can check."""

    condition: str
    """As in the rule file, e.g. `SliceThickness <= 3`."""
    subject: str
    """`study`, or the SeriesInstanceUID looked at."""
    actual: str
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A rule that applies, with the series that go in."""

    rule_name: str
    ruleset_digest: str
    algorithm: str
    priority: Priority
    destinations: tuple[str, ...]
    inputs: Mapping[str, SeriesUid]
    """Input name of the algorithm -> series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVerdict:
    """Why one rule did or did not match."""

    rule_name: str
    matches: tuple[Match, ...]
    """Empty if the rule does not apply; several if it runs once for each of several series."""
    reason: str
    """One sentence."""
    conditions: tuple[ConditionVerdict, ...]
