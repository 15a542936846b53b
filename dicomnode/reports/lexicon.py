"""A lexicon ready for use: every file read, every phrase in one index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.domain.reports import Code, SectionKind
from dicomnode.reports.graph_rules import nodes_of, pattern_of
from dicomnode.reports.schema import (
    AttributeTable,
    CueTable,
    Effect,
    FindingTable,
    LexiconTable,
    RuleTable,
    TestTable,
)
from dicomnode.reports.terms import GAP, TermIndex, expand, expand_group

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """One concept of the lexicon."""

    id: str
    name: str
    label: str | None
    abnormal: bool
    chronic: bool
    codes: tuple[Code, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FindingTerm:
    """These words name `finding`, or say that it is absent."""

    finding: Finding
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanings:
    """All that one phrase may mean. With nothing in it, it hides the words it holds."""

    terms: tuple[FindingTerm, ...] = ()
    cues: tuple[Cue, ...] = ()
    slots: tuple[str, ...] = ()
    """Halves of terms with a gap that these words are."""
    subject: bool = False
    """Names a structure of the body that predicates belong to."""
    stops: bool = False
    """No cue and no predicate reaches across these words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexicon:
    """Everything the miner knows of language and medicine."""

    digest: str
    """SHA-256 over all files, first 16 hex digits."""
    index: TermIndex[Meanings]
    pairs: Mapping[str, Mapping[str, tuple[FindingTerm, ...]]]
    """Second slot -> first slot -> what both together mean."""
    findings: Mapping[str, Finding]
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    headings: Mapping[str, SectionKind]
    attributes: TermIndex[tuple[AttributeTable, ...]]
    rules: tuple[RuleTable, ...]
    tests: tuple[TestTable, ...]
    verbs: frozenset[str]
    links: frozenset[str]
    denying: tuple[tuple[frozenset[str], ...], ...]
    """For each rule of the graph that can deny or doubt: one word of each set it needs."""
    undoing: tuple[tuple[frozenset[str], ...], ...]
    """The same for rules that can undo a negation."""

    vocabulary: frozenset[str]
    """Words that begin a phrase, and verbs and links: what tells English reports from others."""


def compile_lexicon(files: Sequence[LexiconTable], digest: str) -> Lexicon:
    """Build the index from all files together; a group of one file may be used in any other.

    Raises:
        ValueError: a term or path cannot be read, or an id is defined twice.
    """
    groups = _groups(files)
    findings = _findings(files)
    index, pairs = _index(files, groups, findings)
    verbs, links = _single_words(files, Effect.VERB), _single_words(files, Effect.LINK)
    return Lexicon(
        digest=digest,
        index=index,
        pairs=pairs,
        findings=findings,
        labels=_labels(files, columns_only=False),
        columns=_labels(files, columns_only=True),
        headings={
            " ".join(phrase): heading.kind
            for file in files
            for heading in file.heading
            for term in heading.terms
            for phrase in expand(term, groups)
        },
        attributes=_attributes(files, groups),
        rules=_rules(files),
        tests=tuple(test for file in files for test in file.test),
        verbs=verbs,
        links=links,
        vocabulary=frozenset(filter(str.isalpha, index.first_words() | verbs | links)),
        denying=_needs(files, frozenset(Effect) - {Effect.NEUTRAL, Effect.PRESENT}),
        undoing=_needs(files, frozenset({Effect.NEUTRAL, Effect.NOT_EXCLUDED})),
    )


def _groups(files: Sequence[LexiconTable]) -> Groups:
    groups: dict[str, tuple[str, ...]] = {}
    for file in files:
        for name, terms in {**file.words, **file.subjects}.items():
            if name in groups:
                raise ValueError(f"group {name!r} is defined twice")
            groups[name] = expand_group(terms, groups)
    return groups


def _findings(files: Sequence[LexiconTable]) -> dict[str, Finding]:
    findings: dict[str, Finding] = {}
    for table in (table for file in files for table in file.finding):
        if table.id in findings:
            raise ValueError(f"finding {table.id!r} is defined twice")
        findings[table.id] = _finding(table)
    return findings


def _index(
    files: Sequence[LexiconTable], groups: Groups, findings: Mapping[str, Finding]
) -> tuple[TermIndex[Meanings], dict[str, dict[str, tuple[FindingTerm, ...]]]]:
    index: TermIndex[Meanings] = TermIndex(_merged)
    pairs: dict[str, dict[str, tuple[FindingTerm, ...]]] = {}
    for file in files:
        for subject in file.subjects:
            _add(index, [f"@{subject}"], groups, Meanings(subject=True))
        for cue in file.cue:
            # Verbs and links stand in the way of cues; they may lie within other phrases.
            if cue.effect not in {Effect.VERB, Effect.LINK}:
                stops = cue.effect is Effect.STOP
                _add(index, cue.terms, groups, Meanings(cues=(_cue(cue),), stops=stops))
        for ignore in file.ignore:
            _add(index, ignore.terms, groups, Meanings())
        for table in file.finding:
            for absent, terms in ((False, table.terms), (True, table.absent_terms)):
                meaning = FindingTerm(finding=findings[table.id], absent=absent)
                for term in terms:
                    first, gap, second = (half.strip() for half in term.partition(GAP))
                    if not gap:
                        _add(index, [term], groups, Meanings(terms=(meaning,)))
                        continue
                    _add(index, [first], groups, Meanings(slots=(first,)))
                    _add(index, [second], groups, Meanings(slots=(second,)))
                    firsts = pairs.setdefault(second, {})
                    firsts[first] = (*firsts.get(first, ()), meaning)
    return index, pairs


def _add(
    index: TermIndex[Meanings], terms: Sequence[str], groups: Groups, meanings: Meanings
) -> None:
    for term in terms:
        for phrase in expand(term, groups):
            index.add(phrase, meanings)


def _merged(one: Meanings, other: Meanings) -> Meanings:
    return Meanings(
        terms=tuple(dict.fromkeys((*one.terms, *other.terms))),
        cues=tuple(dict.fromkeys((*one.cues, *other.cues))),
        slots=tuple(dict.fromkeys((*one.slots, *other.slots))),
        subject=one.subject or other.subject,
        stops=one.stops or other.stops,
    )


def _rules(files: Sequence[LexiconTable]) -> tuple[RuleTable, ...]:
    rules: dict[str, RuleTable] = {}
    for rule in (rule for file in files for rule in file.rule):
        if rule.id in rules:
            raise ValueError(f"rule {rule.id!r} is defined twice")
        pattern_of(rule)
        rules[rule.id] = rule
    return tuple(rules.values())


def _needs(
    files: Sequence[LexiconTable], effects: frozenset[Effect]
) -> tuple[tuple[frozenset[str], ...], ...]:
    needs = (nodes_of(rule) for file in files for rule in file.rule if rule.effect in effects)
    return tuple(dict.fromkeys(needs))


def _attributes(
    files: Sequence[LexiconTable], groups: Groups
) -> TermIndex[tuple[AttributeTable, ...]]:
    attributes: TermIndex[tuple[AttributeTable, ...]] = TermIndex(lambda one, other: one + other)
    for table in (table for file in files for table in file.attribute):
        for term in table.terms:
            for phrase in expand(term, groups):
                attributes.add(phrase, (table,))
    return attributes


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


def _single_words(files: Sequence[LexiconTable], effect: Effect) -> frozenset[str]:
    return frozenset(
        word for file in files for cue in file.cue if cue.effect is effect for word in cue.terms
    )
