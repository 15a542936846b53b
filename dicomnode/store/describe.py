"""What every table and column is, from the mapping and its docstrings."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from dicomnode.store.tables import Base

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnTold:
    """One column."""

    name: str
    type: str
    """As PostgreSQL names it; SQLite keeps the nearest of its own."""
    nullable: bool
    key: str
    """`primary`, `table.column` it refers to, or empty."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTold:
    """One table."""

    name: str
    words: str
    columns: tuple[ColumnTold, ...]


def described_tables() -> tuple[TableTold, ...]:
    """Every table of the index, parents before children."""
    documented = {name: (words, columns) for name, words, columns in _documented()}
    return tuple(
        TableTold(
            name=table.name,
            words=documented[table.name][0],
            columns=tuple(
                _column(column, documented[table.name][1].get(column.name, ""))
                for column in table.columns
            ),
        )
        for table in _ordered()
    )


def _ordered() -> list[Table]:
    return list(Base.metadata.sorted_tables)


def _column(column: Column[object], words: str) -> ColumnTold:
    references = [key.target_fullname for key in column.foreign_keys]
    key = "primary" if column.primary_key else ""
    if references:
        key = ", ".join(filter(None, (key, f"→ {references[0]}")))
    return ColumnTold(
        name=column.name,
        type=column.type.compile(dialect=_DIALECT).lower(),
        nullable=bool(column.nullable),
        key=key,
        words=words,
    )


def _documented() -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Table name, first line on it, and column name -> the string below the column."""
    modules = {inspect.getmodule(mapper.class_) for mapper in Base.registry.mappers}
    mapped = [ast.parse(inspect.getsource(module)) for module in modules if module is not None]
    for node in (node for module in mapped for node in module.body):
        if not isinstance(node, ast.ClassDef):
            continue
        name = _table_name(node)
        if name is not None:
            words = " ".join((ast.get_docstring(node) or "").split())
            yield name, words, dict(_columns(node))


def _table_name(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        match statement:
            case ast.Assign(
                targets=[ast.Name(id="__tablename__")], value=ast.Constant(value=str() as name)
            ):
                return name
    return None


def _columns(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, below in zip(node.body, node.body[1:], strict=False):
        match statement, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as words)),
            ):
                yield name, " ".join(words.split())
