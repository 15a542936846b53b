"""The notation terms are written in, and a search for many of them at once.

pleural (effusion|effusions)     one of several
[small] effusion                 may be left out
@heart size                      any word of the group `heart`
@heart ... @enlarged             both, in this order, one clause, other words between
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Generic, TypeVar

from dicomnode.reports.text import words_of

# Brackets do not nest: a term that needs it is two terms.
_PIECE = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]|@([a-z_]+)|([^\s()\[\]@]+)|(\s+)")
GAP = "..."

Phrase = tuple[str, ...]


def expand(term: str, groups: Mapping[str, Sequence[str]]) -> tuple[Phrase, ...]:
    """Every phrase the notation `term` stands for, as words.

    Raises:
        ValueError: a bracket does not close, a group is unknown, or nothing is left.
    """
    choices: list[Sequence[str]] = []
    position = 0
    while position < len(term):
        piece = _PIECE.match(term, position)
        if piece is None:
            raise ValueError(f"cannot read {term!r} from {term[position:]!r} on")
        either, optional, group, word, _ = piece.groups()
        if either is not None:
            choices.append(either.split("|"))
        elif optional is not None:
            choices.append(["", *optional.split("|")])
        elif group is not None:
            if group not in groups:
                raise ValueError(f"no group @{group}")
            choices.append(groups[group])
        elif word is not None:
            choices.append([word])
        position = piece.end()
    phrases = {words_of(" ".join(words)).words for words in product(*choices)}
    if not phrases or () in phrases:
        raise ValueError(f"{term!r} may stand for nothing")
    return tuple(sorted(phrases))


def expand_group(terms: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All phrases of a group, each as text."""
    return tuple(" ".join(phrase) for term in terms for phrase in expand(term, groups))


Entry = TypeVar("Entry")


@dataclass(slots=True)
class _Node(Generic[Entry]):
    children: dict[str, "_Node[Entry]"] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit(Generic[Entry]):
    """Words `first` up to, not including, `last`, and all that they may mean."""

    first: int
    last: int
    entries: tuple[Entry, ...]


class TermIndex(Generic[Entry]):
    """Finds the longest known phrase at each word; filled once, then only read."""

    def __init__(self) -> None:
        self._root: _Node[Entry] = _Node()

    def add(self, phrase: Phrase, entry: Entry) -> None:
        """Let `phrase` mean `entry` besides what it means already."""
        node = self._root
        for word in phrase:
            node = node.children.setdefault(word, _Node())
        if entry not in node.entries:
            node.entries = (*node.entries, entry)

    def begins(self, word: str) -> bool:
        """True if some phrase begins with `word`."""
        return word in self._root.children

    def search(self, words: Sequence[str]) -> Iterator[Hit[Entry]]:
        """Longest phrases from the left, none overlapping another."""
        first, count = 0, len(words)
        while first < count:
            node = self._root.children.get(words[first])
            found: tuple[Entry, ...] = ()
            last, ahead = first, first + 1
            while node is not None:
                if node.entries:
                    last, found = ahead, node.entries
                node = node.children.get(words[ahead]) if ahead < count else None
                ahead += 1
            if found:
                yield Hit(first, last, found)
                first = last
            else:
                first += 1
