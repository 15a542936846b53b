"""Saved questions: SQL files with a head that says what they ask for."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.questions import Parameter, Question
from dicomnode.shipped import shipped
from dicomnode.store.views import bodies

KINDS = ("text", "integer", "number", "date")
_HEAD = re.compile(r"^-- (title|description): (\S.*)$")
_PARAMETER = re.compile(
    r"^-- parameter (?P<name>[a-z_]+): (?P<kind>\w+)(?: = (?P<default>[^;]*))?; (?P<words>[^;]+)"
    r"(?:; one of (?P<choices>.+))?$"
)
_LIKE_A_HEAD = re.compile(r"^-- (\w+)( \w+)?:")
_DIALECTS = frozenset({"sqlite", "postgresql"})
_BOUND = re.compile(r"(?<![:\w]):([a-z_]+)\b")


def load_questions(folders: Sequence[Path] = ()) -> Mapping[str, Question]:
    """The shipped questions and those in `folders`, by name; a later one replaces an earlier.

    Raises:
        ConfigError: naming every file that is no question, and why.
    """
    found: dict[str, Question] = dict(_shipped_questions())
    faults: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            faults.append(f"{folder}: there is no such folder of questions")
        for path in sorted(folder.glob("*.sql")):
            try:
                found[path.stem] = read_question(path.stem, path.read_text("utf-8"))
            except (ValueError, OSError) as exc:
                faults.append(f"{path}: {exc}")
    if faults:
        raise ConfigError(faults)
    return dict(sorted(found.items()))


@cache
def _shipped_questions() -> Mapping[str, Question]:
    folder = shipped("sql") / "questions"
    return {
        path.stem: read_question(path.stem, path.read_text("utf-8"))
        for path in sorted(folder.glob("*.sql"))
    }


def read_question(name: str, source: str) -> Question:
    """A question from its file.

    Raises:
        ValueError: it is none; the message says why.
    """
    head: dict[str, str] = {}
    parameters: list[Parameter] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if match := _HEAD.match(line):
            head[match.group(1)] = match.group(2)
        elif match := _PARAMETER.match(line):
            parameters.append(_parameter(match, number))
        elif (like := _LIKE_A_HEAD.match(line)) and like.group(1) not in _DIALECTS:
            raise ValueError(f"line {number}: not a title, description or parameter as expected")
    sqlite, postgresql = bodies(source)
    missing = [each for each in ("title", "description") if each not in head]
    if missing:
        raise ValueError(f"has no {' and no '.join(missing)}")
    if not sqlite or not postgresql:
        raise ValueError("has no query for both databases")
    _check_names(parameters, sqlite, postgresql)
    return Question(
        name=name,
        title=head["title"],
        words=head["description"],
        parameters=tuple(parameters),
        sqlite=sqlite,
        postgresql=postgresql,
    )


def _parameter(match: re.Match[str], line: int) -> Parameter:
    if match["kind"] not in KINDS:
        raise ValueError(f"line {line}: a parameter is one of {', '.join(KINDS)}")
    choices = (match["choices"] or "").split(", ") if match["choices"] else []
    default = match["default"]
    if choices and default is not None and default not in choices:
        raise ValueError(f"line {line}: the default is none of the choices")
    return Parameter(
        name=match["name"],
        kind=match["kind"],
        default=default,
        words=match["words"],
        choices=tuple(choices),
    )


def _check_names(parameters: Sequence[Parameter], *queries: str) -> None:
    declared = {parameter.name for parameter in parameters}
    for query in queries:
        used = set(_BOUND.findall(query))
        if used != declared:
            odd = ", ".join(sorted(used ^ declared))
            raise ValueError(f"parameters declared and used differ: {odd}")
