"""Many rows at once, past what SQLAlchemy does for each of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from dicomnode.domain.errors import StoreError, StoreUnavailable
from dicomnode.store.tables import Base


def insert_many(
    connection: Connection, table: type[Base], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows with the same columns in the same order, in the connection's transaction.

    Values go to the driver as they are: only plain ones, and JSON by `as_json`. On PostgreSQL by
    COPY.

    Raises:
        StoreError: a row cannot be; nothing of them is there.
    """
    if not rows:
        return
    columns = list(rows[0])
    values = [tuple(row.values()) for row in rows]
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        # Names of our own tables and columns alone.
        connection.exec_driver_sql(
            f"INSERT INTO {table.__tablename__} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
            values,
        )
        return
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.__tablename__), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in values:
                copy.write_row(row)
    except psycopg.OperationalError as exc:
        raise StoreUnavailable(f"database: {type(exc).__name__}") from None
    except psycopg.Error as exc:
        # Not its text: it may quote a row.
        raise StoreError(f"database: {type(exc).__name__} in {table.__tablename__}") from None


def as_json(value: object) -> str | None:
    """What a JSON column takes; None is NULL, not JSON's own null."""
    return None if value is None else json.dumps(value)
