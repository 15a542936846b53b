"""What may stand in a lexicon file. Unknown keys are refused."""

from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dicomnode.domain.reports import Change, SectionKind, Side

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Terms = Annotated[tuple[str, ...], Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Effect(Enum):
    """What a cue does to the mentions it reaches."""

    # Looked up for every cue of every sentence; Enum's own hash is slow.
    __hash__ = object.__hash__

    ABSENT = "absent"
    LIKELY = "likely"
    POSSIBLE = "possible"
    DIFFERENTIAL = "differential"
    NOT_EXCLUDED = "not-excluded"
    BORDERLINE = "borderline"
    PRESENT = "present"
    """Says outright that it is there; ends the reach of cues before it."""
    HISTORY = "history"
    FAMILY = "family"
    HYPOTHETICAL = "hypothetical"
    NEUTRAL = "neutral"
    """Looks like a cue and is none, e.g. `no change in`."""
    STOP = "stop"
    """No cue reaches across it."""
    VERB = "verb"
    """A finite verb: two of them joined by a comma or `and` are two clauses."""
    LINK = "link"
    """A preposition or the like: what stands behind it may belong elsewhere."""


class CueTable(_Table):
    """`[[cue]]`: words that change what is asserted."""

    id: Id
    effect: Effect
    where: Literal["before", "after", "both"] = "before"
    """Where the cue stands, seen from the finding."""
    reach: Annotated[int, Field(ge=1, le=60)] = 30
    """Words between cue and finding at most."""
    carries: bool = False
    """A hedge that hands a negation before it on: `no opacity to suggest pneumonia`."""
    terms: Terms


class HeadingTable(_Table):
    """`[[heading]]`: words that open a section; also names of report parts."""

    kind: SectionKind
    terms: Terms


class CodesTable(_Table):
    """Public concept ids."""

    umls: Annotated[str, Field(pattern=r"^C\d{7}$")] | None = None
    sct: Annotated[str, Field(pattern=r"^\d{6,18}$")] | None = None
    radlex: Annotated[str, Field(pattern=r"^RID\d+$")] | None = None

    @field_validator("sct")
    @classmethod
    def _is_sctid(cls, value: str | None) -> str | None:
        if value is not None and not is_sctid(value):
            raise ValueError(f"{value} is no SNOMED CT id: its check digit is wrong")
        return value


def _times(a: int, b: int) -> int:
    """Product in the dihedral group of order ten."""
    turned = a + b if a < 5 else a - b
    return turned % 5 + (5 if (a < 5) != (b < 5) else 0)


_TURNED = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def is_sctid(identifier: str) -> bool:
    """True if the last digit is Verhoeff's check digit of the others, as in every SNOMED CT id.

    Proves that no digit is wrong or swapped, not that the concept exists.
    """
    check = 0
    for place, char in enumerate(reversed(identifier)):
        digit = int(char)
        for _ in range(place % 8):
            digit = _TURNED[digit]
        check = _times(check, digit)
    return check == 0


class FindingTable(_Table):
    """`[[finding]]`: one concept and how reports word it."""

    id: Id
    name: str
    label: Name | None = None
    abnormal: bool = True
    """Speaks against `normal` when present."""
    chronic: bool = False
    """Stays true once it was true: `old`, `prior` and the like do not make it past."""
    column: bool = False
    """`label` becomes a column of the table `dicomnode label` writes."""
    codes: CodesTable = CodesTable()
    terms: tuple[str, ...] = ()
    absent_terms: tuple[str, ...] = ()
    """Words that say it is not there, e.g. `@heart ... normal`."""


class IgnoreTable(_Table):
    """`[[ignore]]`: phrases that hold a finding's words and mean something else."""

    terms: Terms


class RuleTable(_Table):
    """`[[rule]]`: a path through the dependency graph; notation in `graph_rules`.

    The first rule in the file that matches decides."""

    id: Id
    effect: Effect
    path: str


class AttributeTable(_Table):
    """`[[attribute]]`: words that describe a finding."""

    side: Side | None = None
    location: str | None = None
    severity: str | None = None
    change: Change | None = None
    count: int | None = None
    terms: Terms


class TestTable(_Table):
    """`[[test]]`: a sentence and what must come of it, run by `check`."""

    __test__ = False

    text: str
    expect: dict[str, Literal["present", "absent", "uncertain", "none"]]
    """Finding id or label -> assertion; `none`: no current mention."""


class LexiconTable(_Table):
    """One lexicon file."""

    words: dict[Name, Terms] = Field(default_factory=dict)
    """Groups for `@name` in terms."""
    subjects: dict[Name, Terms] = Field(default_factory=dict)
    """Like `words`; a predicate belongs to the nearest of them."""
    heading: tuple[HeadingTable, ...] = ()
    cue: tuple[CueTable, ...] = ()
    finding: tuple[FindingTable, ...] = ()
    ignore: tuple[IgnoreTable, ...] = ()
    rule: tuple[RuleTable, ...] = ()
    attribute: tuple[AttributeTable, ...] = ()
    test: tuple[TestTable, ...] = ()
