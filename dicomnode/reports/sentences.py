"""Sentences of a section, as places in its text."""

import re
from collections.abc import Iterator
from functools import lru_cache

# A sentence ends at . ? or ! before white space or before a capital letter that follows a small
# one ("apex.There"), at a blank line, and at a line break before a list mark or a capital letter.
# Every way begins with the same few characters, so that the search skips all others quickly.
_END = re.compile(
    r"[.?!\n](?:"
    r"(?<!\n)[.?!]*(?=\s|$)"
    r"|(?<=[a-z][a-z][.])(?=[A-Z][a-z])"
    r"|(?<=\n)\s*\n"
    r"|(?<=\n)(?=\s*(?:[-*\u2022]|\d+[.)])\s|\s*[A-Z])"
    r")"
)
# What stands before a dot that ends no sentence; `No.` never does, or the negation would be lost.
_OPENERS = ("no", "dr", "mr", "mrs", "ms", "vs", "e.g", "i.e", "approx", "resp", "fig", "st")
_OPEN = re.compile(rf"(?:\b(?:{'|'.join(map(re.escape, _OPENERS))})|^\s*\d{{1,2}})$", re.I)
_MAY_BE_OPEN = frozenset(word[-2:] for word in _OPENERS)
_LIST_MARK = re.compile(r"\s*(?:\d{1,2}[.)](?!\d)|[-*\u2022])?\s*")
_WORD = re.compile(r"[^\W_]")
# `It has resolved.` takes back what stands before it: both are read as one sentence.
_TAKES_BACK = re.compile(
    r"(?:It|This|These|They|That|Which)\s+(?:has|have|is|are|was|were)\s+(?:\w+\s+){0,2}?"
    r"(?:resolved|cleared|gone|disappeared|removed|not|no\s+longer)\b"
)

LONGEST = 2_000
"""Code points of one sentence. Longer ones are cut: time grows with the square."""
_REMEMBERED = 2_000


Places = tuple[tuple[int, int], ...]


def split_sentences(text: str) -> Places:
    """Start and end of every sentence in `text`; blank ones and list marks are left out."""
    return split_short(text) if len(text) <= _REMEMBERED else _split(text)


@lru_cache(maxsize=4096)
def split_short(text: str) -> Places:
    """The same, remembered: many impressions are word for word alike."""
    return _split(text)


def _split(text: str) -> Places:
    found: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        stop, end = match.span()
        tail = text[max(start, stop - 2) : stop]
        if tail.lower() in _MAY_BE_OPEN or tail[-1:].isdigit():
            before = text[max(start, stop - 8) : stop]
            if text[stop] == "." and _OPEN.search(before):
                continue
        _add(found, text, start, end)
        start = end
    _add(found, text, start, len(text))
    return tuple(found)


def _add(found: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """The sentence's own words, behind white space and a list mark; nothing if it has none."""
    if text[start : start + 1] == " " and text[start + 1 : start + 2].isalpha():
        first = start + 1
    else:
        mark = _LIST_MARK.match(text, start, end)
        first = mark.end() if mark else start
        if _WORD.search(text, first, end) is None:
            return
    if text[end - 1].isspace():
        end = first + len(text[first:end].rstrip())
    if found and text[first] in "ITW" and _TAKES_BACK.match(text, first, end):
        first = found.pop()[0]
    if end - first > LONGEST:
        found.extend(_cut(text, first, end))
    else:
        found.append((first, end))


def _cut(text: str, first: int, end: int) -> Iterator[tuple[int, int]]:
    while end - first > LONGEST:
        space = text.rfind(" ", first + 1, first + LONGEST)
        last = space if space > first else first + LONGEST
        yield first, last
        first = last
    yield first, end
