"""Documents with parts that are written by the code they describe.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else is by hand.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dicomnode.domain.errors import ConfigError

_PART = re.compile(r"<!-- begin (?P<name>[a-z-]+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def filled(document: str, parts: Mapping[str, str]) -> str:
    """The document with every part written anew.

    Raises:
        ConfigError: a part has no place in the document, or a place has no part.
    """
    places = [found["name"] for found in _PART.finditer(document)]
    faults = [f"the document has no place for {name!r}" for name in parts if name not in places]
    faults += [f"nothing is known of {name!r}" for name in places if name not in parts]
    faults += [f"{name!r} has several places" for name in parts if places.count(name) > 1]
    if faults:
        raise ConfigError(faults)

    def write(found: re.Match[str]) -> str:
        name = found["name"]
        return f"<!-- begin {name} -->\n{parts[name]}\n<!-- end {name} -->"

    return _PART.sub(write, document)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(one) for one in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def rewrite(arguments: Sequence[str], parts: Mapping[str, str]) -> None:
    """Write the parts into the file named, or to standard output if none is."""
    if not arguments:
        for name, part in parts.items():
            sys.stdout.write(f"## {name}\n\n{part}\n\n")
        return
    path = Path(arguments[0])
    path.write_text(filled(path.read_text(encoding="utf-8"), parts), encoding="utf-8")
