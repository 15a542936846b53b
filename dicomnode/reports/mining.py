"""From a report's text to its labels, in the order things happen.

sections -> sentences -> what each sentence says (findings and cues, scope windows, the dependency
graph where those are not sure, attributes) -> study labels under a policy.

The text is never edited; everything is a span on it. Each distinct sentence is read once, wherever
it stands, as long as it is remembered.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    SectionKind,
    Span,
    StudyLabel,
    Versions,
)
from dicomnode.reports.aggregate import BITS, CASES, CASES_BY_BITS
from dicomnode.reports.assertion import Reading
from dicomnode.reports.combine import Verdict
from dicomnode.reports.graph import GraphReader, Opinions
from dicomnode.reports.legibility import fault_of, is_other_language
from dicomnode.reports.lexicon import Lexicon
from dicomnode.reports.memory import Recent
from dicomnode.reports.policy import Policy
from dicomnode.reports.sections import LONGEST_REGION, region_of, stretches
from dicomnode.reports.sentences import split_sentences
from dicomnode.reports.statements import (
    Statement,
    WindowReading,
    read_sentence,
    statements,
    verdicts,
)

VERSION = "2"
REMEMBERED = 30_000
"""Distinct sentences whose reading is kept; about a kilobyte each, two with all statements."""


class _Sentence(NamedTuple):
    """One sentence in its place."""

    part: int
    section: SectionKind
    start: int
    """In the text of its part."""
    text: str


class _Page(NamedTuple):
    """The sentences of one report that assert something, or why there are none."""

    sentences: list[_Sentence]
    flags: tuple[Reason, ...]
    blank: bool = False
    """There is no text at all, in no section."""


class _Said(NamedTuple):
    """What a sentence says, and what it counts for under the policy."""

    votes: tuple[tuple[str, int], ...]
    """Label and bit of the assertion."""
    against_normal: bool
    words: int
    known_words: int
    statements: tuple[Statement, ...] | None
    """None if only the labels were asked for so far."""


_Readings = Mapping[str, _Said]
"""By the text of the sentence."""


@dataclass(frozen=True, slots=True)
class LabelValues:
    """The bare result of one report: what a row of a table needs."""

    values: Mapping[str, Label]
    normal: bool
    flags: tuple[Reason, ...]


class Miner:
    """Mines reports with one lexicon and policy; remembers the sentences it has read last.

    `graph` None reads by scope windows only. Not for use from several threads at once.
    """

    def __init__(
        self,
        lexicon: Lexicon,
        policy: Policy,
        graph: GraphReader | None,
        *,
        remembered: int = REMEMBERED,
    ) -> None:
        self.lexicon = lexicon
        self.policy = policy
        self.graph = graph
        self.versions = Versions(miner=VERSION, lexicon=lexicon.digest, policy=policy.name)
        self._memory: Recent[str, _Said] = Recent(remembered)
        self._unmentioned = {name: _label(name, ()) for name in lexicon.labels}

    def mine(self, reports: Sequence[Report]) -> list[ReportLabels]:
        """Labels and mentions of every report, in order. A batch shares one parse."""
        pages = [self._page(report) for report in reports]
        read = self._read(pages, whole=True)
        return [self._labels(*each, read) for each in zip(reports, pages, strict=True)]

    def values(self, reports: Sequence[Report]) -> list[LabelValues]:
        """Labels only, for tables: the same ones as `mine`, faster."""
        pages = [self._page(report) for report in reports]
        read = self._read(pages, whole=False)
        return [self._values(page, read) for page in pages]

    def _page(self, report: Report) -> _Page:
        fault = fault_of(report)
        if fault is not None:
            return _Page([], (fault,))
        found: list[_Sentence] = []
        for number, part in enumerate(report.parts):
            for kind, first, last in stretches(part, self.lexicon.headings):
                if kind.asserts:
                    found.extend(self._sentences(number, kind, first, part.text[first:last]))
        if found:
            return _Page(found, ())
        return _Page([], (Reason.EMPTY,), blank=not any(part.text.strip() for part in report.parts))

    def _sentences(
        self, part: int, kind: SectionKind, first: int, text: str
    ) -> Iterator[_Sentence]:
        """Those of one section, but for what is said of another part of the body."""
        region: SectionKind | None = None
        for start, end in split_sentences(text):
            sentence = text[start:end]
            if len(sentence) <= LONGEST_REGION:
                region = region_of(sentence, self.lexicon.headings) or region
            if region is not SectionKind.ELSEWHERE:
                yield _Sentence(part, kind, first + start, sentence)

    def _read(self, pages: Sequence[_Page], *, whole: bool) -> _Readings:
        """All sentences of the batch; the graph parses what it is asked of them in one go."""
        texts = {sentence.text for page in pages for sentence in page.sentences}
        read = self._memory.known(texts)
        fresh = sorted(
            text
            for text in texts
            if (known := read.get(text)) is None or (whole and known.statements is None)
        )
        new: dict[str, _Said] = {}
        unsure: list[WindowReading] = []
        for text in fresh:
            window = read_sentence(text, self.lexicon, ask_graph=self.graph is not None)
            if window.skeleton is not None:
                unsure.append(window)
            else:
                new[text] = self._counted(window, None, whole=whole)
        if self.graph is not None and unsure:
            heard = self.graph.read(each.skeleton for each in unsure if each.skeleton is not None)
            for window in unsure:
                opinions = heard[window.skeleton] if window.skeleton is not None else None
                new[window.sentence] = self._counted(window, opinions, whole=whole)
        self._memory.keep(new)
        read.update(new)
        return read

    def _counted(self, window: WindowReading, opinions: Opinions | None, *, whole: bool) -> _Said:
        # Where the graph was not asked the windows decide, and labels need no more than that.
        held = verdicts(window, opinions) if whole or opinions is not None else ()
        votes: set[tuple[str, int]] = set()
        against_normal = False
        judged: Sequence[Reading | Verdict] = held or window.readings
        for term, reading, verdict in zip(window.found.terms, window.readings, judged, strict=True):
            if reading.circumstance is not Circumstance.CURRENT:
                continue
            finding, assertion, hedge = term.meaning.finding, verdict.assertion, verdict.hedge
            if finding.label is not None:
                counted = self.policy.counted(finding, assertion, hedge)
                if counted is not None:
                    votes.add((finding.label, BITS[counted]))
            if not against_normal:
                against_normal = self.policy.speaks_against_normal(finding, assertion, hedge)
        words = window.words.words
        return _Said(
            tuple(votes),
            against_normal,
            sum(map(str.isalpha, words)),
            sum(map(self.lexicon.vocabulary.__contains__, words)),
            statements(window, held, self.lexicon) if whole else None,
        )

    def _values(self, page: _Page, read: _Readings) -> LabelValues:
        asserted: dict[str, int] = {}
        against_normal = False
        all_words = all_known = 0
        for sentence in page.sentences:
            votes, against, words, known, _ = read[sentence.text]
            all_words += words
            all_known += known
            against_normal = against_normal or against
            for label, bit in votes:
                asserted[label] = asserted.get(label, 0) | bit
        if is_other_language(all_words, all_known):
            return LabelValues({}, False, (*page.flags, Reason.OTHER_LANGUAGE))
        values = {label: CASES_BY_BITS[bits].value for label, bits in asserted.items()}
        normal = not against_normal and not page.flags
        if page.blank:
            normal = self.policy.no_text_is_normal
        return LabelValues(values, normal, page.flags)

    def _labels(self, report: Report, page: _Page, read: _Readings) -> ReportLabels:
        bare = self._values(page, read)
        mentions = () if bare.flags else tuple(_mentions(page, read))
        labels = dict(self._unmentioned)
        ours: dict[str, list[tuple[Mention, Assertion]]] = {}
        for mention in mentions:
            if mention.label is not None and (counted := self._counts(mention)) is not None:
                ours.setdefault(mention.label, []).append((mention, counted))
        labels.update((name, _label(name, counted)) for name, counted in ours.items())
        return ReportLabels(
            report_id=report.report_id,
            labels=labels,
            normal=bare.normal,
            mentions=mentions,
            flags=bare.flags,
            versions=self.versions,
        )

    def _counts(self, mention: Mention) -> Assertion | None:
        if mention.circumstance is not Circumstance.CURRENT:
            return None
        finding = self.lexicon.findings[mention.concept]
        return self.policy.counted(finding, mention.assertion, mention.hedge)


def _label(name: str, mentions: Sequence[tuple[Mention, Assertion]]) -> StudyLabel:
    case = CASES[frozenset(counted for _, counted in mentions)]
    deciding = next((each for each, counted in mentions if counted is case.speaks), None)
    return StudyLabel(name=name, value=case.value, case=case.words, deciding=deciding)


def _mentions(page: _Page, read: _Readings) -> Iterator[Mention]:
    for sentence in page.sentences:
        for statement in read[sentence.text].statements or ():
            yield _mention(sentence, statement)


def _mention(sentence: _Sentence, statement: Statement) -> Mention:
    decision = statement.decision
    if decision.trigger is not None:
        decision = replace(decision, trigger=decision.trigger.moved(sentence.start))
    return Mention(
        concept=statement.finding.id,
        label=statement.finding.label,
        part=sentence.part,
        section=sentence.section,
        sentence=Span(start=sentence.start, end=sentence.start + len(sentence.text)),
        span=statement.span.moved(sentence.start),
        assertion=statement.assertion,
        hedge=statement.hedge,
        circumstance=statement.circumstance,
        decision=decision,
        attributes=statement.attributes,
    )
