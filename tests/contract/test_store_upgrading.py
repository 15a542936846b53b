"""An index of an earlier schema is brought to this one: no row of it is lost or changed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from sqlalchemy import JSON, Boolean, Column, DateTime, Float, Integer, MetaData, select

from dicomnode.store import schema
from dicomnode.store.database import Database
from dicomnode.store.schema import current_and_head, upgrade
from tests.contract.test_store_schema import empty

__all__ = ["empty"]  # fixture

ROWS = 3
WATCHED = (
    *("association", "instance", "study", "series", "rule_set", "revision", "job", "finding"),
    *("measurement", "result", "delivery", "mining_version", "report", "report_part", "event"),
)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def value(column: Column[Any], number: int) -> object:
    """Something that fits; foreign keys lead to the row of the same number."""
    for key in column.foreign_keys:
        return value(key.column, number)
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, Integer):
        return number
    if isinstance(column.type, Float):
        return float(number)
    if isinstance(column.type, DateTime):
        return MOMENT
    if isinstance(column.type, JSON):
        return {}
    length = getattr(column.type, "length", None) or 64
    return f"{number}.{column.name}"[:length]


Rows = list[dict[str, Any]]


def filled(database: Database) -> dict[str, Rows]:
    """Rows of every watched table there is, put in as they are told."""
    known = MetaData()
    told: dict[str, Rows] = {}
    with database.writing() as connection:
        known.reflect(connection)
        for table in known.sorted_tables:
            if table.name in WATCHED:
                told[table.name] = [
                    {one.name: value(one, number) for one in table.columns}
                    for number in range(1, ROWS + 1)
                ]
                connection.execute(table.insert(), told[table.name])
    return told


def first_column(row: dict[str, Any]) -> str:
    return str(next(iter(row.values())))


@pytest.mark.parametrize("revision", ["0001", "0017"])
def test_nothing_is_lost_or_changed_by_an_upgrade(empty: Database, revision: str) -> None:
    config = schema._config()
    with empty.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    before = filled(empty)
    assert {"instance", "study", "series", "job"} <= set(before)
    assert upgrade(empty) == current_and_head(empty)[1] != revision
    known = MetaData()
    with empty.reading() as connection:
        known.reflect(connection)
        for name, rows in before.items():
            table = known.tables[name]
            # A column may go; what is still there says what it said.
            shared = [one for one in rows[0] if one in table.columns]
            found = connection.execute(select(*(table.columns[one] for one in shared))).mappings()
            kept = sorted(({**row} for row in found), key=first_column)
            wanted = sorted(({one: row[one] for one in shared} for row in rows), key=first_column)
            assert [plain(row) for row in kept] == [plain(row) for row in wanted], name


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """SQLite forgets the zone of a moment."""
    return {
        name: one.replace(tzinfo=None) if isinstance(one, datetime) else one
        for name, one in row.items()
    }
