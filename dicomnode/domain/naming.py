"""Templates for what result series are called, e.g. `{title} {kind}[, series {source_number}]`.

A part in square brackets is left out where one of its fields is empty.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter

FIELDS: Mapping[str, str] = {
    "title": "the algorithm's title",
    "kind": "SEG, SR, SC, PR or KO",
    "version": "the algorithm's version",
    "algorithm": "the algorithm's name",
    "source_number": "number of the series that was read",
    "source_description": "description of the series that was read",
    "revision": "of the results; empty for the first",
}
"""What a template may name."""

LONGEST = 64
"""Characters of a series description (VR LO, PS3.5 6.2)."""

_SHORTENED = ("title", "source_description")
"""Free text, cut so that the rest of the description fits; in this order."""
_OPTIONAL_PART = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Template:
    """A series description with fields; checked when it is made.

    Raises:
        ValueError: an unknown field, a stray bracket or brace, or nothing that tells objects apart.
    """

    text: str

    def __post_init__(self) -> None:
        if re.search(r"[\[\]]", _OPTIONAL_PART.sub("", self.text)):
            raise ValueError("square brackets must come in pairs and not inside one another")
        named = list(_fields(self.text))
        unknown = sorted(set(named) - set(FIELDS))
        if unknown:
            raise ValueError(
                f"there is no field {{{unknown[0]}}}; known are {', '.join(sorted(FIELDS))}"
            )
        if "kind" not in named:
            raise ValueError("{kind} is needed, to tell the SEG from the SR")
        if "\\" in self.text or not self.text.isprintable():
            raise ValueError("a series description has no backslash and no control character")

    def filled(self, values: Mapping[str, str]) -> str:
        """The description, 64 characters at most; free text gives way to the rest."""
        known = {name: _plain(value) for name, value in values.items()}
        text = self._filled(known)
        for name in _SHORTENED:
            excess = len(text) - LONGEST
            if excess > 0:
                known[name] = known[name][: max(len(known[name]) - excess, 1)]
                text = self._filled(known)
        return text[:LONGEST].strip()

    def _filled(self, values: Mapping[str, str]) -> str:
        def part(found: re.Match[str]) -> str:
            complete = all(values[name] for name in _fields(found[1]))
            return found[1].format(**values) if complete else ""

        pieces: list[str] = []
        end = 0
        for found in _OPTIONAL_PART.finditer(self.text):
            pieces += [self.text[end : found.start()].format(**values), part(found)]
            end = found.end()
        return "".join(pieces) + self.text[end:].format(**values)


def _fields(text: str) -> Iterator[str]:
    """Names in braces; anything but a plain name counts as unknown."""
    for _, name, spec, conversion in Formatter().parse(text):
        if name is not None:
            yield name if not spec and not conversion else f"{name}:{spec or conversion}"


def _plain(value: str) -> str:
    return "".join(char for char in value if char.isprintable() and char != "\\").strip()
