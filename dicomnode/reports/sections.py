"""Sections of a report: what each stretch of text is about."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from dicomnode.domain.reports import Report, Section, SectionKind, Span
from dicomnode.reports.text import Words

# A heading opens a line or follows a sentence, and ends in a colon or stands alone on its line.
_HEADING = re.compile(
    r"(?:^|\n|(?<=[.?!]))[ \t]*([A-Za-z][A-Za-z /&()'-]{1,48}?)[ \t]*(?::|(?=\n))"
)


def split_sections(report: Report, headings: Mapping[str, SectionKind]) -> Iterator[Section]:
    """Every section of every part, in order; text before the first heading is named by its part."""
    for number, part in enumerate(report.parts):
        kind = headings.get(_key(part.name.replace("_", " ")), SectionKind.BODY)
        start = 0
        for heading, end, opened in _headings(part.text, headings):
            if heading > start:
                yield Section(part=number, kind=kind, span=Span(start=start, end=heading))
            start, kind = end, opened
        if len(part.text) > start:
            yield Section(part=number, kind=kind, span=Span(start=start, end=len(part.text)))


def _headings(
    text: str, known: Mapping[str, SectionKind]
) -> Iterator[tuple[int, int, SectionKind]]:
    """Start, end and kind of every heading the lexicon knows."""
    if ":" not in text and "\n" not in text:
        return
    for match in _HEADING.finditer(text):
        kind = known.get(_key(match.group(1)))
        if kind is not None:
            yield match.start(1), match.end(), kind


@lru_cache(maxsize=1024)
def _key(heading: str) -> str:
    """A heading as the lexicon spells it."""
    return " ".join(Words(heading).words)
