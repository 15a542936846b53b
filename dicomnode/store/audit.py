"""The record of who did what, as a chain of hashes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text

from dicomnode.domain.audit import FIRST, AuditEntry, Deed, chain_hash
from dicomnode.store.database import Database
from dicomnode.store.tables import AuditRow

# Any number will do, as long as it is always the same.
_ONE_WRITER = 0x6175646974


def record_deed(database: Database, deed: Deed, now: datetime) -> None:
    """Add a deed to the chain, in the commit of `Database.as_one` where there is one."""
    with database.writing() as connection:
        if not database.is_sqlite:
            # On SQLite a writing transaction is alone by itself.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_WRITER})
        last = select(AuditRow.hash).order_by(AuditRow.id.desc()).limit(1)
        previous = connection.scalar(last) or FIRST
        connection.execute(
            insert(AuditRow).values(
                at=now,
                who=deed.who,
                address=deed.address,
                what=deed.what,
                on=deed.on,
                facts=dict(deed.facts),
                previous_hash=previous,
                hash=chain_hash(previous, deed, now),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSearch:
    """Which entries; empty values ask for nothing."""

    who: str = ""
    what: str = ""
    """The beginning of it."""
    on: str = ""
    before: int | None = None
    """Only entries with a smaller number: the next page."""


def audit_entries(database: Database, search: AuditSearch, limit: int) -> tuple[AuditEntry, ...]:
    """Entries, newest first."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if search.who:
        query = query.where(AuditRow.who == search.who)
    if search.what:
        query = query.where(AuditRow.what.startswith(search.what, autoescape=True))
    if search.on:
        query = query.where(AuditRow.on == search.on)
    if search.before is not None:
        query = query.where(AuditRow.id < search.before)
    with database.reading() as connection:
        return tuple(_entry(row) for row in connection.execute(query))


def entries_after(database: Database, number: int, limit: int) -> tuple[AuditEntry, ...]:
    """Entries with a larger number, oldest first."""
    query = select(AuditRow).where(AuditRow.id > number).order_by(AuditRow.id).limit(limit)
    with database.reading() as connection:
        return tuple(_entry(row) for row in connection.execute(query))


def newest_entry(database: Database) -> int:
    """Number of the last entry; 0: there is none."""
    with database.reading() as connection:
        return connection.scalar(select(func.max(AuditRow.id))) or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCheck:
    """What looking through the whole chain gave."""

    entries: int
    last_hash: str
    """Kept elsewhere, it proves later that no entry was cut off the end."""
    fault: str
    """Empty: none."""


def check_chain(database: Database) -> ChainCheck:
    """Look whether any entry was changed, removed or put in between."""
    previous, count = FIRST, 0
    with database.reading() as connection:
        for entry in _chain(connection):
            if not entry.is_whole:
                fault = f"entry {entry.id} was changed after it was written"
                return ChainCheck(entries=count, last_hash=previous, fault=fault)
            if entry.previous_hash != previous:
                fault = f"before entry {entry.id} something was removed or put in"
                return ChainCheck(entries=count, last_hash=previous, fault=fault)
            previous, count = entry.hash, count + 1
    return ChainCheck(entries=count, last_hash=previous, fault="")


def _chain(connection: Connection) -> Iterator[AuditEntry]:
    streamed = connection.execution_options(yield_per=1000)
    for row in streamed.execute(select(AuditRow).order_by(AuditRow.id)):
        yield _entry(row)


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        deed=Deed(
            who=row.who, address=row.address, what=row.what, on=row.on, facts=dict(row.facts)
        ),
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
