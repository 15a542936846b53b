"""Words of a sentence, with their places in the untouched text."""

import re
from dataclasses import dataclass

from dicomnode.domain.reports import Span

# Hyphens and apostrophes part words like spaces do: `mass-like` is spelt like `mass like`.
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[.,;:()/?&+]")
_LOOKALIKES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u2010": "-", "\u2011": "-"})


def folded(text: str) -> str:
    """`text` in lower case, code point for code point.

    Some letters grow when lowered (U+0130); they stay as they are, so that places do not move.
    """
    lower = text.translate(_LOOKALIKES).lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one sentence in lower case; `starts` and `ends` are code points in it."""

    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def span(self, first: int, last: int) -> Span:
        """The place of words `first` up to, not including, `last`."""
        return Span(start=self.starts[first], end=self.ends[last - 1])


def words_of(sentence: str) -> Words:
    """Split one sentence into words and punctuation."""
    matches = list(_TOKEN.finditer(folded(sentence)))
    return Words(
        tuple([match.group() for match in matches]),
        tuple([match.start() for match in matches]),
        tuple([match.end() for match in matches]),
    )
