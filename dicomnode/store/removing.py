"""Files on their way out: rows that are marked, and what is noted once a file is gone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from dicomnode.store.database import Database


def marked(database: Database, table: Any, key: Any, limit: int) -> list[tuple[Any, Path]]:
    """(key, file) of rows that were marked and whose files are not yet known to be gone."""
    query = select(key, table.path).where(table.state == "removing").limit(limit)
    with database.reading() as connection:
        return [(one, database.absolute(path)) for one, path in connection.execute(query)]


def note_removed(
    database: Database, table: Any, key: Any, gone: Sequence[tuple[Any, Path]]
) -> None:
    """Their files are removed. One that came again in the meantime has another file."""
    with database.writing() as connection:
        for one, path in gone:
            connection.execute(
                update(table)
                .where(
                    key == one,
                    table.state == "removing",
                    table.path == database.relative(path),
                )
                .values(state="removed")
            )
