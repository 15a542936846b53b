"""Sentences of a section, as places in its text."""

import re
from collections.abc import Iterator

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


def split_sentences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every sentence in `text`; blank ones and list marks are left out."""
    start = 0
    for end in _END.finditer(text):
        if text[end.start()] == "." and _OPEN.search(
            text[max(start, end.start() - 8) : end.start()]
        ):
            continue
        yield from _trimmed(text, start, end.end())
        start = end.end()
    yield from _trimmed(text, start, len(text))


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    mark = _LIST_MARK.match(text, start, end)
    first = mark.end() if mark else start
    body = text[first:end].rstrip()
    if any(char.isalnum() for char in body):
        yield first, first + len(body)
