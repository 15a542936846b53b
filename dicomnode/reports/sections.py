"""Sections of a report: what each stretch of text is about."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from dicomnode.domain.reports import Report, ReportPart, Section, SectionKind, Span
from dicomnode.reports.text import Words

# A heading opens a line or follows a sentence, and ends in a colon or stands alone on its line.
_HEADING = re.compile(
    r"(?:^|\n|(?<=[.?!]))[ \t]*([A-Za-z][A-Za-z /&()'-]{1,48}?)[ \t]*(?::|(?=\n))"
)


WITHIN = " / "
"""Between the names of sections, outermost first."""

Stretch = tuple[SectionKind, int, int]
"""Kind, start and end of a section within its part."""


def split_sections(report: Report, headings: Mapping[str, SectionKind]) -> Iterator[Section]:
    """Every section of every part, in order; text before the first heading is named by its part."""
    for number, part in enumerate(report.parts):
        for kind, start, end in stretches(part, headings):
            yield Section(part=number, kind=kind, span=Span(start=start, end=end))


def stretches(part: ReportPart, headings: Mapping[str, SectionKind]) -> list[Stretch]:
    """The sections of one part."""
    kind = _kind_of(part.name, headings)
    text = part.text
    if ":" not in text and "\n" not in text:
        return [(kind, 0, len(text))] if text else []
    found: list[Stretch] = []
    start = 0
    for heading, end, opened in _headings(text, headings):
        if heading > start:
            found.append((kind, start, heading))
        start, kind = end, opened
    if len(text) > start:
        found.append((kind, start, len(text)))
    return found


def _kind_of(name: str, known: Mapping[str, SectionKind]) -> SectionKind:
    """Of a part by its name; of one within others (`history / lungs`) by all of their names.

    What stands below a heading that asserts nothing asserts nothing either.
    """
    if WITHIN not in name:
        return known.get(_key(name), SectionKind.BODY)
    levels = [known.get(_key(each)) for each in name.split(WITHIN)]
    kinds = [kind for kind in levels if kind is not None]
    silent = (kind for kind in reversed(kinds) if not kind.asserts)
    return next(silent, kinds[-1] if kinds else SectionKind.BODY)


def _headings(
    text: str, known: Mapping[str, SectionKind]
) -> Iterator[tuple[int, int, SectionKind]]:
    """Start, end and kind of every heading the lexicon knows."""
    for match in _HEADING.finditer(text):
        kind = known.get(_key(match.group(1)))
        if kind is not None:
            yield match.start(1), match.end(), kind


LONGEST_REGION = 32
"""Code points of a part of the body that stands as a sentence of its own, at most."""


def region_of(sentence: str, headings: Mapping[str, SectionKind]) -> SectionKind | None:
    """What a sentence opens that only names a part of the body, as `Left knee.` or `Chest 1.` do.

    None for any other sentence; a word like `History.` opens a section with a colon only.
    """
    if len(sentence) > LONGEST_REGION:
        return None
    kind = headings.get(sentence.rstrip(" .:0123456789").lower())
    return kind if kind in _REGIONS else None


_REGIONS = frozenset({SectionKind.FINDINGS, SectionKind.ELSEWHERE})


@lru_cache(maxsize=1024)
def _key(heading: str) -> str:
    """A heading as the lexicon spells it."""
    return " ".join(Words(heading.replace("_", " ")).words)
