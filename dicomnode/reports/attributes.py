"""What a sentence says about each finding besides that it is there.

Words between two findings belong to the first up to the last comma, `and` or `or`, and to the
second from there on. Findings with nothing but those between them are one list, and share a side
and a place that only one of them names: `left effusion and atelectasis`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from dicomnode.domain.reports import Attributes, ImageReference
from dicomnode.reports.lexicon import Lexicon
from dicomnode.reports.mentions import FoundTerm
from dicomnode.reports.schema import AttributeTable
from dicomnode.reports.text import Words

_SIZE = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*(?:x|by|\u00d7)\s*(\d+(?:\.\d+)?))?(?:\s*(?:x|by|\u00d7)\s*(\d+(?:\.\d+)?))?"
    r"\s*(mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b(?:\s*(?:x|by|\u00d7)\s*(\d+(?:\.\d+)?)\s*(mm|cm)\b)?",
    re.IGNORECASE,
)
_SERIES_IMAGE = re.compile(
    r"\b(?:series|se\.?)\s*#?\s*(\d+)\s*[,;:/-]?\s*(?:on\s+)?(?:images?|im\.?|slices?)\s*#?\s*(\d+)",
    re.I,
)
_IMAGE_SERIES = re.compile(
    r"\b(?:images?|im\.?|slices?)\s*#?\s*(\d+)\s*,?\s*(?:of|on|in)?\s*series\s*#?\s*(\d+)", re.I
)
_IMAGE = re.compile(r"\b(?:images?|im\.)\s*#?\s*(\d+)", re.I)
_SEPARATORS = frozenset({",", ";", "and", "or"})


def attributes_of(
    sentence: str, words: Words, terms: Sequence[FoundTerm], lexicon: Lexicon
) -> tuple[Attributes, ...]:
    """One value per term, in the same order."""
    images = tuple(_images(sentence))
    described: list[Attributes] = []
    for term in terms:
        first, last = _territory(words, terms, term)
        hits = lexicon.attributes.search(words.words[first:last])
        tables = [table for hit in hits for table in hit.value]
        sizes = tuple(_sizes(words.span(first, last).of(sentence)))
        described.append(_described(tables, sizes, images))
    return tuple(_shared(words, terms, described))


def _shared(
    words: Words, terms: Sequence[FoundTerm], described: list[Attributes]
) -> list[Attributes]:
    """The same, with side and place handed on within a list: forwards, then backwards."""
    order = sorted(range(len(terms)), key=lambda place: terms[place].first)
    pairs = [
        (one, other)
        for one, other in pairwise(order)
        if terms[one].last < terms[other].first
        and _SEPARATORS.issuperset(words.words[terms[one].last : terms[other].first])
    ]
    for one, other in (*pairs, *((b, a) for a, b in reversed(pairs))):
        giver, taker = described[one], described[other]
        if taker.side is None and not taker.locations and (giver.side or giver.locations):
            described[other] = replace(taker, side=giver.side, locations=giver.locations)
    return described


def _territory(words: Words, terms: Sequence[FoundTerm], term: FoundTerm) -> tuple[int, int]:
    """The words that may describe `term`."""
    before = [other.last for other in terms if other.last <= term.first]
    after = [other.first for other in terms if other.first >= term.last]
    first, last = 0, len(words.words)
    if before:
        first = max(before)
        first = max((at + 1 for at in _separators(words, first, term.first)), default=first)
    if after:
        last = min(after)
        last = max(_separators(words, term.last, last), default=last)
    return first, last


def _separators(words: Words, first: int, last: int) -> Iterator[int]:
    return (place for place in range(first, last) if words.words[place] in _SEPARATORS)


def _described(
    tables: Sequence[AttributeTable],
    sizes_mm: tuple[float, ...],
    images: tuple[ImageReference, ...],
) -> Attributes:
    locations = [table.location for table in tables if table.location is not None]
    return Attributes(
        side=next((table.side for table in tables if table.side is not None), None),
        locations=tuple(dict.fromkeys(locations)),
        severity=next((table.severity for table in tables if table.severity is not None), None),
        change=next((table.change for table in tables if table.change is not None), None),
        sizes_mm=sizes_mm,
        count=next((table.count for table in tables if table.count is not None), None),
        images=images,
    )


def _sizes(text: str) -> Iterator[float]:
    """Diameters of the first measurement, in millimetres."""
    match = _SIZE.search(text)
    if match is None:
        return
    *numbers, unit, last, last_unit = match.groups()
    # In `3 mm x 2 cm` each number has its own unit.
    yield from (_in_mm(number, unit) for number in numbers if number)
    if last:
        yield _in_mm(last, last_unit)


def _in_mm(number: str, unit: str) -> float:
    return round(float(number) * (10 if unit.lower().startswith("c") else 1), 3)


def _images(sentence: str) -> Iterator[ImageReference]:
    """Images the sentence points to."""
    seen = False
    for match in _SERIES_IMAGE.finditer(sentence):
        seen = True
        yield ImageReference(series=int(match.group(1)), image=int(match.group(2)))
    for match in _IMAGE_SERIES.finditer(sentence):
        seen = True
        yield ImageReference(series=int(match.group(2)), image=int(match.group(1)))
    if not seen:
        for match in _IMAGE.finditer(sentence):
            yield ImageReference(series=None, image=int(match.group(1)))
