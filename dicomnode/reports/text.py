"""Words of a sentence, with their places in the untouched text."""

import re
from functools import cached_property

from dicomnode.domain.reports import Span

# Hyphens and apostrophes part words like spaces do: `mass-like` is spelt like `mass like`.
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[.,;:()/?&+]")
_LOOKALIKES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u2010": "-", "\u2011": "-"})


def folded(text: str) -> str:
    """`text` in lower case, code point for code point.

    Some letters grow when lowered (U+0130); they stay as they are, so that places do not move.
    """
    if text.isascii():
        return text.lower()
    lower = text.translate(_LOOKALIKES).lower()
    if len(lower) == len(text):
        return lower
    return "".join(
        low if len(low := char.lower()) == 1 else char for char in text.translate(_LOOKALIKES)
    )


class Words:
    """The words of one sentence in lower case, and where they stand in it."""

    def __init__(self, sentence: str) -> None:
        self._folded = sentence.lower() if sentence.isascii() else folded(sentence)
        self.words: list[str] = _TOKEN.findall(self._folded)

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Most sentences are only read, never pointed into: places are worked out when asked."""
        return [match.span() for match in _TOKEN.finditer(self._folded)]

    def span(self, first: int, last: int) -> Span:
        """The place of words `first` up to, not including, `last`, in code points."""
        return Span(start=self._places[first][0], end=self._places[last - 1][1])
