"""Rules as values, once a file has been found sound."""

from dataclasses import dataclass
from enum import Enum

from dicomnode.domain.matching import Priority, Scope


class Kind(Enum):
    """How the values of a subject are compared."""

    TEXT = "text"
    NUMBER = "number"
    AGE = "age"
    """AS, as years: `006M` is 0.5 (PS3.5 6.2)."""
    DATE = "date"
    """DA, as the number YYYYMMDD, or as text."""
    TIME = "time"
    """TM, as the number HHMMSS, or as text."""


class Operator(Enum):
    """What a condition asks; the value is the word in the rule file."""

    ANY_OF = "any_of"
    ALL_OF = "all_of"
    NOT = "not"
    MATCHES = "matches"
    NOT_MATCHES = "not_matches"
    BELOW = "below"
    AT_MOST = "at_most"
    ABOVE = "above"
    AT_LEAST = "at_least"
    BETWEEN = "between"
    PRESENT = "present"


NUMERIC_OPERATORS = frozenset(
    {Operator.BELOW, Operator.AT_MOST, Operator.ABOVE, Operator.AT_LEAST, Operator.BETWEEN}
)
PATTERN_OPERATORS = frozenset({Operator.MATCHES, Operator.NOT_MATCHES})


Operands = tuple[str, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a condition looks at: a DICOM keyword, or one of our own words in lower case."""

    word: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One line of a rule.

    With several subjects (`"BodyPartExamined or StudyDescription"`) it holds if it holds for any
    of them; a negative one (NOT, NOT_MATCHES, `present = false`) holds if the positive one holds
    for none.
    """

    subjects: tuple[Subject, ...]
    operator: Operator
    operands: Operands
    """Text, or numbers in the order given; PRESENT has `("true",)` or `("false",)`."""

    def __str__(self) -> str:
        """The condition as a rule file has it."""
        words = " or ".join(subject.word for subject in self.subjects)
        name = f'"{words}"' if len(self.subjects) > 1 else words
        if self.operator is Operator.PRESENT:
            return f"{name}.present = {self.operands[0]}"
        suffix = "" if self.operator is Operator.ANY_OF else f".{self.operator.value}"
        shown = [f"{one:g}" if isinstance(one, float) else f'"{one}"' for one in self.operands]
        listed = len(shown) > 1 or self.operator is Operator.BETWEEN
        return f"{name}{suffix} = " + (f"[{', '.join(shown)}]" if listed else shown[0])


class Preference(Enum):
    """How to order series that all fit; the value is the word in the rule file."""

    THINNEST = "thinnest"
    THICKEST = "thickest"
    MOST_SLICES = "most-slices"
    FEWEST_SLICES = "fewest-slices"
    LARGEST_MATRIX = "largest-matrix"
    LATEST = "latest"
    EARLIEST = "earliest"
    AXIAL = "axial"
    ORIGINAL = "original"


class Take(Enum):
    """How many of the fitting series a rule runs on."""

    BEST = "best"
    EACH = "each"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """Which series may be one input of the algorithm, and which of them is taken."""

    name: str
    conditions: tuple[Condition, ...]
    prefer: tuple[Preference, ...] = ()
    take: Take = Take.BEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """A more urgent priority for studies where every condition holds."""

    to: Priority
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Findings that make their study more urgent once the algorithm has run."""

    findings: tuple[str, ...]
    """Names of classes, or types of lesions, in small letters."""
    to: Priority
    at_least: float | None = None
    """Score from which on it holds; None: what the algorithm calls positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to run which algorithm on which series, and where the results go."""

    name: str
    algorithm: str
    enabled: bool
    scope: Scope
    priority: Priority
    destinations: tuple[str, ...]
    """Empty: every configured destination."""
    study: tuple[Condition, ...]
    inputs: tuple[InputRule, ...]
    """At least one; exactly one for scope SERIES."""
    raises: tuple[Raise, ...] = ()
    alerts: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """One version of a rule file."""

    digest: str
    """SHA-256 of `text` in UTF-8, hex."""
    rules: tuple[Rule, ...]
    text: str
    """The whole file with `\\n` line ends and no byte order mark."""
