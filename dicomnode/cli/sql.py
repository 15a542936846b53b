"""`sql`: questions to the index, saved ones and one's own; nothing can be changed."""

import csv
import json
import sys
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from dicomnode.cli.common import SettingsPath, console, pairs_from, settings_from
from dicomnode.domain.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.domain.questions import Answer, Question


class Format(Enum):
    """How an answer is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sql)


def sql(
    question: Annotated[
        str | None, typer.Argument(help="Name of a saved question, or a SELECT.")
    ] = None,
    settings: SettingsPath = None,
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, for each parameter.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 1000,
    timeout: Annotated[float | None, typer.Option(help="Seconds at most.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the saved questions.")] = False,
    describe: Annotated[str | None, typer.Option(help="Describe a saved question.")] = None,
) -> None:
    """Ask the index. It can only be read: views and tables are described in docs/sql.md.

    Examples: dicomnode sql label_counts; dicomnode sql positives --param label=effusion
    --format csv; dicomnode sql "SELECT label, count(*) FROM mentioned_label GROUP BY label"
    """
    from dicomnode.domain.questions import Bounds
    from dicomnode.index import existing_database
    from dicomnode.store.asking import asked
    from dicomnode.store.questions import load_questions

    known = settings_from(settings)
    questions = load_questions(known.sql.questions)
    if describe is not None:
        _describe(_named(questions, describe))
        return
    if list_ or question is None:
        _list(questions)
        return
    database = existing_database(known)
    query, values = question, pairs_from("--param", "NAME=VALUE", param)
    bounds = Bounds(seconds=timeout or known.sql.time_limit_s, rows=limit)
    if " " not in question.strip():
        saved = _named(questions, question)
        query = saved.sqlite if database.is_sqlite else saved.postgresql
        parameters = saved.values(values)
    else:
        parameters = dict(values)
    with asked(
        database, query, parameters, bounds=bounds, reader_url=known.sql.reader_url
    ) as answer:
        _print(answer, form)
    if answer.truncated:
        print(f"only the first {limit} rows; see --limit", file=sys.stderr)  # noqa: T201


def _named(questions: Mapping[str, "Question"], name: str) -> "Question":
    from difflib import get_close_matches

    if name in questions:
        return questions[name]
    near = get_close_matches(name, questions, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; see dicomnode sql --list"
    raise ConfigError([f"there is no saved question {name!r}{hint}"])


def _list(questions: Mapping[str, "Question"]) -> None:
    table = Table(box=None)
    for head in ("question", "what it answers", "parameters"):
        table.add_column(head, overflow="fold")
    for one in questions.values():
        table.add_row(one.name, one.title, ", ".join(each.name for each in one.parameters))
    console.print(table)


def _describe(question: "Question") -> None:
    console.print(f"{question.name}: {question.title}", style="bold")
    console.print(question.words)
    for each in question.parameters:
        default = "needed" if each.default is None else f"default {each.default}"
        console.print(f"  {each.name} ({each.kind}, {default}): {each.words}")
    console.print()
    console.print(question.sqlite)
    if question.postgresql != question.sqlite:
        console.print("\nOn PostgreSQL:")
        console.print(question.postgresql)


def _print(answer: "Answer", form: Format) -> None:
    """Row by row for a pipe; a table has to know its widths first."""
    match form:
        case Format.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(answer.columns)
            writer.writerows(answer.rows)
        case Format.JSON:
            for row in answer.rows:
                line = json.dumps(dict(zip(answer.columns, row, strict=True)), ensure_ascii=False)
                sys.stdout.write(line + "\n")
        case Format.TABLE:
            table = Table(box=None)
            for name in answer.columns:
                table.add_column(name, overflow="fold")
            for row in answer.rows:
                table.add_row(*("" if cell is None else str(cell) for cell in row))
            console.print(table)
