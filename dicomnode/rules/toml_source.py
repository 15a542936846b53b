"""A TOML text that knows on which line each of its keys stands, and gathers faults."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping

from dicomnode.domain.errors import RuleError

Path = tuple[str | int, ...]
"""Keys and list positions from the top, e.g. `("rule", 0, "study", "Modality")`."""

_KEY_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_KEY = rf"{_KEY_PART}(?:[ \t]*\.[ \t]*{_KEY_PART})*"
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_HEADER = re.compile(rf"(\[\[?)[ \t]*({_KEY})[ \t]*\]\]?")
_ASSIGNMENT = re.compile(rf"({_KEY})[ \t]*=")
_VALUE_PIECE = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|'''
    r"""\#[^\n]*|[\[\]{}]|\n|[^"'#\[\]{}\n]+""",
    re.DOTALL,
)
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class TomlSource:
    """A rule file while it is read: its table, the line of each key, the faults found so far."""

    def __init__(self, text: str, *, file: str) -> None:
        """Parse `text`; `file` is only named in faults.

        Raises:
            RuleError: the text is not TOML.
        """
        self._file = file
        self._faults: list[tuple[int, str]] = []
        try:
            self.table: Mapping[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            at = _AT_LINE.search(str(exc))
            line = int(at[1]) if at else text.count("\n") + 1
            raise RuleError([f"{file}:{line}: not valid TOML: {exc}"]) from exc
        except RecursionError:
            raise RuleError([f"{file}:1: nested too deeply to be read"]) from None
        self._lines = line_index(text)

    def line_of(self, path: Path) -> int:
        """The line (from 1) of `path`, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 1

    def fault(self, path: Path, message: str) -> None:
        """Note that what stands at `path` cannot be used."""
        self._faults.append((self.line_of(path), message))

    def raise_faults(self) -> None:
        """Raise `RuleError` with every fault noted, in the order of lines; else do nothing."""
        if self._faults:
            raise RuleError([f"{self._file}:{line}: {text}" for line, text in sorted(self._faults)])


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'X'?` for the known word nearest to `word`, or nothing."""
    by_lower = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return f"; did you mean '{by_lower[near[0]]}'?" if near else ""


def refuse_unknown_keys(
    source: TomlSource, path: Path, table: Mapping[str, object], known: Collection[str]
) -> None:
    """Note a fault for each key of `table` that is not `known`."""
    for key in table:
        if key not in known:
            hint = suggestion(key, known) or f"; known are {', '.join(sorted(known))}"
            source.fault((*path, key), f"unknown key '{key}'{hint}")


def line_index(text: str) -> dict[Path, int]:
    """The line (from 1) of every table header and every key before a `=` in a valid TOML text.

    Keys inside inline tables are not listed; they stand where their table starts.
    """
    lines: dict[Path, int] = {}
    tables: dict[Path, int] = {}
    """How many elements each array of tables has so far."""
    here: Path = ()
    position = 0
    while (position := _end(_BLANK, text, position)) < len(text):
        line = text.count("\n", 0, position) + 1
        if header := _HEADER.match(text, position):
            here = _table_path(_key_parts(header[2]), header[1] == "[[", tables)
            position = header.end()
            _note(lines, here, line)
        elif assignment := _ASSIGNMENT.match(text, position):
            _note(lines, (*here, *_key_parts(assignment[1])), line)
            position = _end_of_value(text, assignment.end())
        else:
            break
    return lines


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _key_parts(key: str) -> tuple[str, ...]:
    parts: list[str] = []
    inner: object = tomllib.loads(f"{key} = 0")
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)


def _table_path(parts: tuple[str, ...], is_array: bool, tables: dict[Path, int]) -> Path:
    path: Path = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in tables:
            path = (*path, tables[path] - 1)
    path = (*path, parts[-1])
    if is_array:
        tables[path] = tables.get(path, 0) + 1
        path = (*path, tables[path] - 1)
    return path


def _note(lines: dict[Path, int], path: Path, line: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _end_of_value(text: str, position: int) -> int:
    depth = 0
    while piece := _VALUE_PIECE.match(text, position):
        if piece[0] == "\n" and depth == 0:
            break
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[0], 0)
        position = piece.end()
    return position
