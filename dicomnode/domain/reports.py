"""Reports, what they mention, and what that makes of a study.

Every place in a report is a `Span` of code points in one part's untouched text; `text[start:end]`
is always the words meant. "Not mentioned" is a value, not a missing one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """Half-open range of code points: `text[start:end]`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The words this span stands for."""
        return text[self.start : self.end]

    def moved(self, by: int) -> "Span":
        """The same words in a text that has `by` code points more in front."""
        return Span(start=self.start + by, end=self.end + by)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPart:
    """One field of a report as it came: a column, an SR text item, a whole free text."""

    name: str
    """E.g. `findings`; decides the section of text that stands before any heading."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A radiology report, unedited."""

    report_id: str
    parts: tuple[ReportPart, ...]


class _Fast(Enum):
    """Members are singletons: hashed by identity, as they are compared. Enum's own hash is slow."""

    __hash__ = object.__hash__


class SectionKind(_Fast):
    """What a stretch of a report is about. Only some kinds assert anything about this study."""

    FINDINGS = "findings"
    IMPRESSION = "impression"
    BODY = "body"
    """Text under no heading."""
    INDICATION = "indication"
    COMPARISON = "comparison"
    TECHNIQUE = "technique"
    RECOMMENDATION = "recommendation"
    ELSEWHERE = "elsewhere"
    """About another part of the body, examined on the same occasion: `Left knee.`"""

    @property
    def asserts(self) -> bool:
        """True if what stands here is said of this study."""
        return self in _ASSERTING


_ASSERTING = frozenset({SectionKind.FINDINGS, SectionKind.IMPRESSION, SectionKind.BODY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A stretch of one part, without its heading."""

    part: int
    """Index into `Report.parts`."""
    kind: SectionKind
    span: Span


class Assertion(_Fast):
    """What a sentence says of one mention."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class Hedge(_Fast):
    """How an uncertain mention is hedged; policies may tell them apart."""

    NONE = "none"
    LIKELY = "likely"
    """`probable`, `most compatible with`."""
    POSSIBLE = "possible"
    """`may represent`, `possible`."""
    DIFFERENTIAL = "differential"
    """One of several explanations: `atelectasis versus pneumonia`."""
    NOT_EXCLUDED = "not-excluded"
    """`cannot be excluded`."""
    BORDERLINE = "borderline"
    """At the limit of normal."""


class Circumstance(_Fast):
    """Whom and when a mention is about. Only `CURRENT` ones make labels."""

    CURRENT = "current"
    HISTORY = "history"
    FAMILY = "family"
    HYPOTHETICAL = "hypothetical"
    """A question, a condition or a reason for another examination."""


class Method(Enum):
    """What decided an assertion."""

    PLAIN = "plain"
    """Nothing in the sentence speaks against the mention."""
    TERM = "term"
    """The words themselves say it, e.g. `heart size is normal`."""
    WINDOW = "window"
    GRAPH = "graph"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The rule and the words that decided an assertion."""

    method: Method
    rule: str
    """Id in the lexicon; empty for `PLAIN`."""
    trigger: Span | None
    """The deciding words; None for `PLAIN`."""
    window: Assertion
    """What the scope windows alone say."""
    graph: Assertion | None
    """What the dependency graph alone says; None where it was not asked or has no opinion."""

    @property
    def disagrees(self) -> bool:
        """True if windows and graph read the sentence differently."""
        return self.graph is not None and self.graph is not self.window


class Side(Enum):
    """Laterality as written."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"


class Change(Enum):
    """Change since an earlier examination, as written."""

    NEW = "new"
    INCREASED = "increased"
    DECREASED = "decreased"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """An image a sentence points to, e.g. `series 4, image 56`."""

    series: int | None
    image: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a sentence says about one mention besides that it is there."""

    side: Side | None = None
    locations: tuple[str, ...] = ()
    """Lexicon names, e.g. `lower lobe`, in order of the text."""
    severity: str | None = None
    """Lexicon name, e.g. `mild`."""
    change: Change | None = None
    sizes_mm: tuple[float, ...] = ()
    """Diameters of one measurement as written, in millimetres."""
    count: int | None = None
    images: tuple[ImageReference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A concept id from a public list."""

    scheme: str
    """`UMLS`, `SCT` or `RadLex`."""
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One finding named in one sentence of an asserting section."""

    concept: str
    """Lexicon id, e.g. `pleural-effusion`."""
    label: str | None
    """The label it counts for; None if it only speaks against `normal`."""
    part: int
    section: SectionKind
    sentence: Span
    span: Span
    assertion: Assertion
    hedge: Hedge
    circumstance: Circumstance
    decision: Decision
    attributes: Attributes


class Label(Enum):
    """What a whole report says of one finding."""

    POSITIVE = 1
    NEGATIVE = 0
    UNCERTAIN = -1
    NOT_MENTIONED = None


class Reason(Enum):
    """Why a report could not be read as one; it is kept and flagged."""

    EMPTY = "no text in a section that asserts anything"
    NOT_TEXT = "control characters: binary rather than text"
    TOO_LONG = "longer than a report can be"
    OTHER_LANGUAGE = "hardly any word of the report language"
    FAILED = "the miner failed on it: a fault of the program"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLabel:
    """One label of a report and where it comes from."""

    name: str
    value: Label
    case: str
    """Which combination of mentions was met, in words, e.g. `present and absent: present holds`."""
    deciding: Mention | None
    """The first mention that speaks for the value; None if not mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """What a set of labels was made by; labels of other versions are kept beside it."""

    miner: str
    lexicon: str
    """SHA-256 over all lexicon files, first 16 hex digits."""
    policy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLabels:
    """Everything one report says, under one policy."""

    report_id: str
    labels: Mapping[str, StudyLabel]
    """Every label of the lexicon, in the lexicon's order."""
    normal: bool
    """True if there was text and it asserts no abnormal finding of any kind."""
    mentions: tuple[Mention, ...]
    flags: tuple[Reason, ...]
    versions: Versions
