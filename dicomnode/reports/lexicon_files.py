"""Read lexicon files, and say what is wrong with them by file, line and suggestion."""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dicomnode.domain.errors import ConfigError
from dicomnode.reports.lexicon import Lexicon, compile_lexicon
from dicomnode.reports.schema import LexiconTable

_ORDER = ("headings", "cues", "words", "attributes", "graph", "chest_radiograph")
"""Files others build on come first; `chest_radiograph` gives the order of labels."""


def shipped_lexicons() -> tuple[Path, ...]:
    """The lexicon files that come with the package, in the order they are read."""
    folder = Path(str(files("dicomnode.reports") / "lexicons"))
    rank = {stem: number for number, stem in enumerate(_ORDER)}
    return tuple(
        sorted(folder.glob("*.toml"), key=lambda path: (rank.get(path.stem, len(rank)), path.stem))
    )


def load_lexicon(more: Iterable[Path] = ()) -> Lexicon:
    """The shipped lexicon and the files `more`.

    Raises:
        ConfigError: listing every fault, each with file, line and, where one is near, a suggestion.
    """
    faults: list[str] = []
    tables: list[LexiconTable] = []
    digest = hashlib.sha256()
    for path in (*shipped_lexicons(), *more):
        try:
            source = path.read_bytes()
            digest.update(source)
            text = source.decode()
            tables.append(LexiconTable.model_validate(tomllib.loads(text)))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as exc:
            faults.append(f"{path}: {exc}")
        except ValidationError as exc:
            faults.extend(_faults(path, text, exc))
    if faults:
        raise ConfigError(faults)
    try:
        return compile_lexicon(tables, digest.hexdigest()[:16])
    except ValueError as exc:
        raise ConfigError([f"{_where(str(exc), (*shipped_lexicons(), *more))}: {exc}"]) from exc


def _faults(path: Path, text: str, error: ValidationError) -> list[str]:
    found = []
    for fault in error.errors():
        place = fault["loc"]
        message = fault["msg"]
        if fault["type"] == "extra_forbidden":
            message = f"unknown key {place[-1]!r}{_suggestion(str(place[-1]), place)}"
        name = ".".join(str(part) for part in place)
        found.append(f"{path}:{line_of(text, place)}: {name}: {message}")
    return found


def _suggestion(key: str, place: Sequence[int | str]) -> str:
    model: type[BaseModel] = LexiconTable
    for part in place[:-1]:
        field = model.model_fields.get(str(part)) if isinstance(part, str) else None
        inner = _table_of(field.annotation) if field is not None else None
        model = inner or model
    near = difflib.get_close_matches(key, model.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _table_of(annotation: object) -> type[BaseModel] | None:
    """The table type in an annotation like `tuple[CueTable, ...]`."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next(
        (kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)),
        None,
    )


def line_of(text: str, place: Sequence[int | str]) -> int:
    """The line of the TOML `text` that `place` (as in `("cue", 3, "terms")`) points to."""
    table = str(place[0]) if place else ""
    number = place[1] if len(place) > 1 and isinstance(place[1], int) else None
    key = next((part for part in place[1:] if isinstance(part, str)), None)
    header = re.compile(rf"\s*\[\[?\s*{re.escape(table)}\s*\]\]?")
    seen, start = -1, 1
    for line_number, line in enumerate(text.splitlines(), start=1):
        if header.match(line):
            seen += 1
            start = line_number if seen == (number or 0) else start
        inside = seen == (number or 0) and seen >= 0
        named = key if inside else table
        if named and re.match(rf"\s*[\"']?{re.escape(named)}[\"']?\s*=", line):
            return line_number
    return start


def _where(message: str, paths: Iterable[Path]) -> str:
    """File and line that hold the term a message quotes first."""
    quoted = re.search(r"'([^']+)'", message)
    needle = quoted.group(1) if quoted else message.rpartition(" ")[2]
    for path in reversed(tuple(paths)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if needle in line:
                return f"{path}:{number}"
    return "lexicon"
