"""Sentences of a section, as places in its text."""

import re
from collections.abc import Iterator
from functools import lru_cache

# A sentence ends at . ? or ! before white space or before a capital letter that follows a small
# one ("apex.There"), at a blank line, and at a line break before a list mark or a capital letter.
_END = re.compile(
    r"[.?!]+(?=\s|$)"
    r"|(?<=[a-z][a-z])[.](?=[A-Z][a-z])"
    r"|\n\s*\n"
    r"|\n(?=\s*(?:[-*\u2022]|\d+[.)])\s|\s*[A-Z])"
)
# What stands before a dot that ends no sentence; `No.` never does, or the negation would be lost.
_OPEN = re.compile(r"(?:\b(?:no|dr|mr|mrs|ms|vs|e\.g|i\.e|approx|resp|fig|st)|^\s*\d{1,2})$", re.I)
_LIST_MARK = re.compile(r"\s*(?:\d{1,2}[.)](?!\d)|[-*\u2022])?\s*")


_WORD = re.compile(r"[^\W_]")


LONGEST = 2_000
"""Code points of one sentence. Longer ones are cut: time grows with the square."""
_REMEMBERED = 2_000


def split_sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Start and end of every sentence in `text`; blank ones and list marks are left out."""
    return _remembered(text) if len(text) <= _REMEMBERED else tuple(_split(text))


@lru_cache(maxsize=4096)
def _remembered(text: str) -> tuple[tuple[int, int], ...]:
    """The last few thousand short texts: many impressions are word for word the same."""
    return tuple(_split(text))


def _split(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _END.finditer(text):
        stop, end = match.span()
        if text[stop] == "." and _OPEN.search(text[max(start, stop - 8) : stop]):
            continue
        first = _begin(text, start, end)
        if first is not None:
            yield from _cut(text, first, end if text[end - 1] > " " else _close(text, first, end))
        start = end
    first = _begin(text, start, len(text))
    if first is not None:
        yield from _cut(text, first, _close(text, first, len(text)))


def _cut(text: str, first: int, end: int) -> Iterator[tuple[int, int]]:
    while end - first > LONGEST:
        space = text.rfind(" ", first + 1, first + LONGEST)
        last = space if space > first else first + LONGEST
        yield first, last
        first = last
    yield first, end


def _close(text: str, first: int, end: int) -> int:
    return first + len(text[first:end].rstrip())


def _begin(text: str, start: int, end: int) -> int | None:
    """Where the sentence's own words begin, behind white space and a list mark."""
    mark = _LIST_MARK.match(text, start, end)
    first = mark.end() if mark else start
    return first if _WORD.search(text, first, end) else None
