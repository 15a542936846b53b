"""The index in another database, every row the same; and a copy of a SQLite index while it is used.

From one process on SQLite to many machines on PostgreSQL: everything the node knows moves, the
files stay where they are. The engine's own records need not move (`Flow.reconcile` starts again
what is unfinished).
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    String,
    Table,
    func,
    insert,
    select,
)

from dicomnode.domain.errors import ConfigError, StoreError
from dicomnode.store.database import Database
from dicomnode.store.schema import current_and_head, upgrade
from dicomnode.store.tables import Base

CHUNK = 2000
"""Rows that are held in memory at once."""


def copy_index(
    source: Database, target: Database, progress: Callable[[str, int], None] = lambda *_: None
) -> dict[str, int]:
    """Copy every row of `source` into the empty `target`, then compare them one by one.

    All in one transaction of the target: a fault leaves it as empty as it was. `progress` is told
    the table and the rows done. Returns table -> rows. The node must not be running.

    Raises:
        ConfigError: the target is not empty, or the source's schema is not this version's.
        StoreError: a row did not arrive as it was.
    """
    current, head = current_and_head(source)
    if current != head:
        raise ConfigError([f"the index is at schema {current or 'none'}, not {head}: upgrade it"])
    upgrade(target)
    counts: dict[str, int] = {}
    with source.reading() as reading, target.writing() as writing:
        for table in Base.metadata.sorted_tables:
            if writing.scalar(select(func.count()).select_from(table)):
                raise ConfigError([f"the target is not empty: {table.name} holds rows"])
        for table in Base.metadata.sorted_tables:
            for done in _copy_table(reading, writing, table):
                counts[table.name] = done
                progress(table.name, done)
            _go_on_counting(writing, table, target)
        for table in Base.metadata.sorted_tables:
            _compare(reading, writing, table)
    return counts


def backup_sqlite(database: Database, out: Path) -> None:
    """A consistent copy of a SQLite index, while the node goes on (SQLite's online backup).

    Raises:
        ConfigError: the index is in PostgreSQL (use pg_dump), or `out` is there already.
        StoreError: the copy is not sound.
    """
    if not database.is_sqlite or database.url.database is None:
        raise ConfigError(["the index is in PostgreSQL: back it up by pg_dump"])
    if out.exists():
        raise ConfigError([f"{out} is there already"])
    part = out.with_name(f".{out.name}.part")
    with (
        closing(sqlite3.connect(f"file:{database.url.database}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(part)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
        (verdict,) = target.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise StoreError(f"the copy is not sound: {verdict}")
    part.replace(out)


def _copy_table(reading: Connection, writing: Connection, table: Table) -> Iterator[int]:
    """Copy in order of the key; after each chunk, the rows done."""
    done = 0
    yield done
    for rows in _ordered(reading, table).partitions(CHUNK):
        writing.execute(insert(table), [dict(row._mapping) for row in rows])
        done += len(rows)
        yield done


def _ordered(connection: Connection, table: Table) -> CursorResult[tuple[object, ...]]:
    query = select(table).order_by(*(_in_bytes(connection, each) for each in table.primary_key))
    streamed: dict[str, object] = {"stream_results": True, "yield_per": CHUNK}
    return connection.execute(query, execution_options=streamed)


def _in_bytes(connection: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """An order both databases agree on; PostgreSQL's own follows a language."""
    if isinstance(column.type, String) and connection.dialect.name == "postgresql":
        return column.collate("C")
    return column


def _compare(reading: Connection, writing: Connection, table: Table) -> None:
    pairs = zip_longest(_ordered(reading, table), _ordered(writing, table))
    for before, after in pairs:
        if before is None or after is None or tuple(before) != tuple(after):
            # Values may name a patient, so only the table is named.
            raise StoreError(f"a row of {table.name} did not arrive as it was")


def _go_on_counting(writing: Connection, table: Table, target: Database) -> None:
    """New rows get numbers behind those that came with the copy."""
    column = table.autoincrement_column
    if target.is_sqlite or column is None:
        return
    behind = func.coalesce(select(func.max(column)).scalar_subquery(), 0) + 1
    sequence = func.pg_get_serial_sequence(table.name, column.name)
    writing.execute(select(func.setval(sequence, behind, False)))
