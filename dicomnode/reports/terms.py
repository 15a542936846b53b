"""The notation terms are written in, and a search for many of them at once.

pleural (effusion|effusions)     one of several
[small] effusion                 may be left out
@heart size                      any word of the group `heart`
@heart ... @enlarged             both, in this order, one clause, other words between
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Generic, NamedTuple, TypeVar

from dicomnode.reports.text import Words

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
            choices.append(_members(either.split("|"), groups))
        elif optional is not None:
            choices.append(["", *_members(optional.split("|"), groups)])
        elif group is not None:
            choices.append(_members([f"@{group}"], groups))
        elif word is not None:
            choices.append([word])
        position = piece.end()
    phrases = {tuple(Words(" ".join(words)).words) for words in product(*choices)}
    if not phrases or () in phrases:
        raise ValueError(f"{term!r} may stand for nothing")
    return tuple(sorted(phrases))


def _members(items: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The items, with every `@name` among them replaced by the words of that group."""
    members: list[str] = []
    for item in items:
        if not item.startswith("@"):
            members.append(item)
        elif item[1:] in groups:
            members.extend(groups[item[1:]])
        else:
            raise ValueError(f"no group {item}")
    return members


def expand_group(terms: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All phrases of a group, each as text."""
    return tuple(" ".join(phrase) for term in terms for phrase in expand(term, groups))


Value = TypeVar("Value")


class Hit(NamedTuple, Generic[Value]):
    """Words `first` up to, not including, `last`, and all that they may mean."""

    first: int
    last: int
    value: Value


class _Node(Generic[Value]):
    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.value: Value | None = None


class TermIndex(Generic[Value]):
    """Finds the longest known phrase at each word; filled once, then only read.

    `merge` makes one value of two that the same phrase was given.
    """

    def __init__(self, merge: Callable[[Value, Value], Value]) -> None:
        self._root: _Node[Value] = _Node()
        self._merge = merge

    def add(self, phrase: Phrase, value: Value) -> None:
        """Let `phrase` mean `value` besides what it means already."""
        node = self._root
        for word in phrase:
            node = node.children.setdefault(word, _Node())
        node.value = value if node.value is None else self._merge(node.value, value)

    def first_words(self) -> frozenset[str]:
        """The words that phrases begin with."""
        return frozenset(self._root.children)

    def search(self, words: Sequence[str]) -> list[Hit[Value]]:
        """Longest phrases from the left, none overlapping another."""
        hits: list[Hit[Value]] = []
        first, count, root = 0, len(words), self._root.children
        while first < count:
            node = root.get(words[first])
            first += 1
            if node is None:
                continue
            found, last, ahead = node.value, first, first
            while ahead < count and (node := node.children.get(words[ahead])) is not None:
                ahead += 1
                if node.value is not None:
                    found, last = node.value, ahead
            if found is not None:
                hits.append(Hit(first - 1, last, found))
                first = last
        return hits
