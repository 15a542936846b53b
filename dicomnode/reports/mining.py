"""From a report's text to its labels, in the order things happen.

sections -> sentences -> what each sentence says (findings and cues, scope windows, the dependency
graph where those are not sure, attributes) -> study labels under a policy.

The text is never edited; everything is a span on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dicomnode.domain.reports import (
    Assertion,
    Circumstance,
    Label,
    Mention,
    Reason,
    Report,
    ReportLabels,
    Section,
    Span,
    StudyLabel,
    Versions,
)
from dicomnode.reports.aggregate import CASES
from dicomnode.reports.combine import Verdict
from dicomnode.reports.graph import GraphReader
from dicomnode.reports.legibility import fault_of, is_other_language
from dicomnode.reports.lexicon import Lexicon
from dicomnode.reports.policy import Policy
from dicomnode.reports.sections import split_sections
from dicomnode.reports.sentences import split_sentences
from dicomnode.reports.statements import (
    Statement,
    WindowReading,
    read_sentence,
    statements,
    verdicts,
)

VERSION = "1"
_LARGEST_CACHE = 30_000


class _Sentence(NamedTuple):
    """One sentence in its place."""

    section: Section
    start: int
    """In the text of its part."""
    text: str


@dataclass(frozen=True, slots=True)
class _Said:
    """What a sentence says, and what it counts for under the policy."""

    window: WindowReading
    verdicts: tuple[Verdict, ...]
    votes: tuple[tuple[str, Assertion], ...]
    against_normal: bool
    words: int
    known_words: int


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The bare result of one report: what a row of a table needs."""

    values: Mapping[str, Label]
    normal: bool
    flags: tuple[Reason, ...]


class Miner:
    """Mines reports with one lexicon and policy; remembers the sentences it has read.

    `graph` None reads by scope windows only. Not for use from several threads at once.
    """

    def __init__(self, lexicon: Lexicon, policy: Policy, graph: GraphReader | None) -> None:
        self.lexicon = lexicon
        self.policy = policy
        self.graph = graph
        self.versions = Versions(miner=VERSION, lexicon=lexicon.digest, policy=policy.name)
        self._said: dict[str, _Said] = {}

    def mine(self, reports: Sequence[Report]) -> list[ReportLabels]:
        """Labels and mentions of every report, in order. A batch shares one parse."""
        pages = self._pages(reports)
        return [self._labels(report, *page) for report, page in zip(reports, pages, strict=True)]

    def values(self, reports: Sequence[Report]) -> list[LabelValues]:
        """Labels only, for tables: the same ones as `mine`, faster."""
        return [self._values(*page) for page in self._pages(reports)]

    def _pages(self, reports: Sequence[Report]) -> list[tuple[list[_Sentence], tuple[Reason, ...]]]:
        """The asserting sentences of every report, all of them read, and what is wrong with it."""
        pages = [self._sentences(report) for report in reports]
        self._read({sentence.text for sentences, _ in pages for sentence in sentences})
        return [self._checked(sentences, flags) for sentences, flags in pages]

    def _sentences(self, report: Report) -> tuple[list[_Sentence], tuple[Reason, ...]]:
        fault = fault_of(report)
        if fault is not None:
            return [], (fault,)
        found: list[_Sentence] = []
        for section in split_sections(report, self.lexicon.headings):
            if section.kind.asserts:
                text = section.span.of(report.parts[section.part].text)
                found.extend(
                    _Sentence(section, section.span.start + start, text[start:end])
                    for start, end in split_sentences(text)
                )
        return found, () if found else (Reason.EMPTY,)

    def _read(self, sentences: set[str]) -> None:
        """Read those not known yet; the graph parses all it is asked in one go."""
        fresh = sorted(sentence for sentence in sentences if sentence not in self._said)
        if len(self._said) + len(fresh) > _LARGEST_CACHE:
            self._said.clear()
            fresh = sorted(sentences)
        asks = self.graph is not None
        windows = [read_sentence(text, self.lexicon, ask_graph=asks) for text in fresh]
        if self.graph is not None:
            self.graph.read([each.skeleton for each in windows if each.skeleton is not None])
        for window in windows:
            self._said[window.sentence] = self._counted(window)

    def _counted(self, window: WindowReading) -> _Said:
        held = verdicts(window, self.graph)
        votes: set[tuple[str, Assertion]] = set()
        against_normal = False
        for term, reading, verdict in zip(window.found.terms, window.readings, held, strict=True):
            if reading.circumstance is not Circumstance.CURRENT:
                continue
            finding = term.meaning.finding
            counted = self.policy.counted(finding, verdict.assertion, verdict.hedge)
            if finding.label is not None and counted is not None:
                votes.add((finding.label, counted))
            against_normal = against_normal or self.policy.speaks_against_normal(
                finding, verdict.assertion, verdict.hedge
            )
        words = [word for word in window.words.words if word.isalpha()]
        known = [word for word in words if word in self.lexicon.vocabulary]
        return _Said(window, held, tuple(votes), against_normal, len(words), len(known))

    def _checked(
        self, sentences: list[_Sentence], flags: tuple[Reason, ...]
    ) -> tuple[list[_Sentence], tuple[Reason, ...]]:
        said = [self._said[sentence.text] for sentence in sentences]
        words, known = sum(each.words for each in said), sum(each.known_words for each in said)
        if is_other_language(words, known):
            return [], (*flags, Reason.OTHER_LANGUAGE)
        return sentences, flags

    def _values(self, sentences: list[_Sentence], flags: tuple[Reason, ...]) -> LabelValues:
        asserted: dict[str, set[Assertion]] = {}
        normal = not flags
        for sentence in sentences:
            said = self._said[sentence.text]
            normal = normal and not said.against_normal
            for label, assertion in said.votes:
                asserted.setdefault(label, set()).add(assertion)
        values = {label: CASES[frozenset(found)].value for label, found in asserted.items()}
        return LabelValues(values=values, normal=normal, flags=flags)

    def _labels(
        self, report: Report, sentences: list[_Sentence], flags: tuple[Reason, ...]
    ) -> ReportLabels:
        mentions = tuple(
            _mention(sentence, statement)
            for sentence in sentences
            for statement in self._statements(sentence.text)
        )
        bare = self._values(sentences, flags)
        counted = [(each, self._counts(each)) for each in mentions]
        return ReportLabels(
            report_id=report.report_id,
            labels={name: _label(name, counted) for name in self.lexicon.labels},
            normal=bare.normal,
            mentions=mentions,
            flags=flags,
            versions=self.versions,
        )

    def _statements(self, sentence: str) -> tuple[Statement, ...]:
        said = self._said[sentence]
        return statements(said.window, said.verdicts, self.lexicon)

    def _counts(self, mention: Mention) -> Assertion | None:
        if mention.circumstance is not Circumstance.CURRENT:
            return None
        finding = self.lexicon.findings[mention.concept]
        return self.policy.counted(finding, mention.assertion, mention.hedge)


def _label(name: str, mentions: Sequence[tuple[Mention, Assertion | None]]) -> StudyLabel:
    ours = [(each, counted) for each, counted in mentions if each.label == name and counted]
    case = CASES[frozenset(counted for _, counted in ours)]
    deciding = next((each for each, counted in ours if counted is case.speaks), None)
    return StudyLabel(name=name, value=case.value, case=case.words, deciding=deciding)


def _mention(sentence: _Sentence, statement: Statement) -> Mention:
    decision = statement.decision
    if decision.trigger is not None:
        decision = replace(decision, trigger=decision.trigger.moved(sentence.start))
    return Mention(
        concept=statement.finding.id,
        label=statement.finding.label,
        part=sentence.section.part,
        section=sentence.section.kind,
        sentence=Span(start=sentence.start, end=sentence.start + len(sentence.text)),
        span=statement.span.moved(sentence.start),
        assertion=statement.assertion,
        hedge=statement.hedge,
        circumstance=statement.circumstance,
        decision=decision,
        attributes=statement.attributes,
    )
