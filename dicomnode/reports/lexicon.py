"""A lexicon ready for use: every file read, every phrase in one index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.domain.reports import Code, SectionKind
from dicomnode.reports.schema import (
    AttributeTable,
    CueTable,
    Effect,
    FindingTable,
    LexiconTable,
    RuleTable,
    TestTable,
)
from dicomnode.reports.terms import GAP, Phrase, TermIndex, expand, expand_group


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One concept of the lexicon."""

    id: str
    name: str
    label: str | None
    abnormal: bool
    chronic: bool
    codes: tuple[Code, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingTerm:
    """These words name `finding`, or say that it is absent."""

    finding: Finding
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """These words change what is asserted."""

    id: str
    effect: Effect
    before: bool
    """Governs what follows it."""
    after: bool
    """Governs what precedes it."""
    reach: int
    carries: bool
    """A hedge that hands a negation before it on."""


@dataclass(frozen=True, slots=True)
class Subject:
    """These words name a structure of the body that predicates belong to."""

    name: str


@dataclass(frozen=True, slots=True)
class Slot:
    """These words are one half of a term with a gap."""

    id: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """These words hide the ones in them."""


# These stand in the way of a cue rather than being one, so they may lie within other phrases.
_SINGLE_WORDS = frozenset({Effect.VERB, Effect.LINK})

Meaning = FindingTerm | Cue | Subject | Slot | Ignored


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Everything the miner knows of language and medicine."""

    digest: str
    """SHA-256 over all files, first 16 hex digits."""
    index: TermIndex[Meaning]
    pairs: Mapping[tuple[str, str], tuple[FindingTerm, ...]]
    """(first slot, second slot) -> what both together mean."""
    findings: Mapping[str, Finding]
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    headings: Mapping[str, SectionKind]
    attributes: TermIndex[AttributeTable]
    rules: tuple[RuleTable, ...]
    tests: tuple[TestTable, ...]
    verbs: frozenset[str]
    links: frozenset[str]

    def knows(self, word: str) -> bool:
        """True if some phrase begins with `word`, or it is a verb or a link."""
        return self.index.begins(word) or word in self.verbs or word in self.links


def compile_lexicon(files: Sequence[LexiconTable], digest: str) -> Lexicon:
    """Build the index from all files together; a group of one file may be used in any other.

    Raises:
        ValueError: a term cannot be read, or an id is defined twice.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for file in files:
        for name, terms in {**file.words, **file.subjects}.items():
            if name in groups:
                raise ValueError(f"group {name!r} is defined twice")
            groups[name] = expand_group(terms, groups)
    index: TermIndex[Meaning] = TermIndex()
    pairs: dict[tuple[str, str], tuple[FindingTerm, ...]] = {}
    findings: dict[str, Finding] = {}
    attributes: TermIndex[AttributeTable] = TermIndex()
    for file in files:
        for subject in file.subjects:
            for phrase in expand(f"@{subject}", groups):
                index.add(phrase, Subject(subject))
        for cue in file.cue:
            if cue.effect not in _SINGLE_WORDS:
                _add(index, cue.terms, groups, _cue(cue))
        for ignore in file.ignore:
            _add(index, ignore.terms, groups, Ignored())
        for attribute in file.attribute:
            for term in attribute.terms:
                for phrase in expand(term, groups):
                    attributes.add(phrase, attribute)
        for table in file.finding:
            if table.id in findings:
                raise ValueError(f"finding {table.id!r} is defined twice")
            finding = findings[table.id] = _finding(table)
            for absent, terms in ((False, table.terms), (True, table.absent_terms)):
                meaning = FindingTerm(finding=finding, absent=absent)
                _add_finding(index, pairs, terms, groups, meaning)
    return Lexicon(
        digest=digest,
        index=index,
        pairs=pairs,
        findings=findings,
        labels=_labels(files, columns_only=False),
        columns=_labels(files, columns_only=True),
        headings=_headings(files, groups),
        attributes=attributes,
        rules=tuple(rule for file in files for rule in file.rule),
        tests=tuple(test for file in files for test in file.test),
        verbs=_single_words(files, Effect.VERB),
        links=_single_words(files, Effect.LINK),
    )


def _add(
    index: TermIndex[Meaning],
    terms: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    meaning: Meaning,
) -> None:
    for term in terms:
        for phrase in expand(term, groups):
            index.add(phrase, meaning)


def _add_finding(
    index: TermIndex[Meaning],
    pairs: dict[tuple[str, str], tuple[FindingTerm, ...]],
    terms: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    meaning: FindingTerm,
) -> None:
    for term in terms:
        first, gap, second = (half.strip() for half in term.partition(GAP))
        if not gap:
            _add(index, [term], groups, meaning)
            continue
        for half in (first, second):
            _add(index, [half], groups, Slot(half))
        pairs[first, second] = (*pairs.get((first, second), ()), meaning)


def _cue(table: CueTable) -> Cue:
    return Cue(
        id=table.id,
        effect=table.effect,
        before=table.where in {"before", "both"},
        after=table.where in {"after", "both"},
        reach=table.reach,
        carries=table.carries,
    )


def _finding(table: FindingTable) -> Finding:
    codes = (("UMLS", table.codes.umls), ("SCT", table.codes.sct), ("RadLex", table.codes.radlex))
    return Finding(
        id=table.id,
        name=table.name,
        label=table.label,
        abnormal=table.abnormal,
        chronic=table.chronic,
        codes=tuple(Code(scheme=scheme, value=value) for scheme, value in codes if value),
    )


def _labels(files: Sequence[LexiconTable], *, columns_only: bool) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            table.label
            for file in files
            for table in file.finding
            if table.label is not None and (table.column or not columns_only)
        )
    )


def _headings(
    files: Sequence[LexiconTable], groups: Mapping[str, Sequence[str]]
) -> Mapping[str, SectionKind]:
    found: dict[str, SectionKind] = {}
    for file in files:
        for heading in file.heading:
            for term in heading.terms:
                phrases: tuple[Phrase, ...] = expand(term, groups)
                found.update({" ".join(phrase): heading.kind for phrase in phrases})
    return found


def _single_words(files: Sequence[LexiconTable], effect: Effect) -> frozenset[str]:
    return frozenset(
        word for file in files for cue in file.cue if cue.effect is effect for word in cue.terms
    )
