"""Objects that are on disk but in no study: looked at by a person, kept, or gone by a quota.

As with images, one is marked first, with event and audit entry, then its file is removed, then it
is known to be gone; its row stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, func, select, update

from dicomnode.domain.audit import Deed
from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.instances import QuarantineKind
from dicomnode.store.audit import record_deed
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.quotas import BY_QUOTA
from dicomnode.store.removing import marked, note_removed
from dicomnode.store.tables import InstanceRow, QuarantineRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An object whose file may go: a person has looked at it, and nobody pinned it."""

    number: int
    kind: QuarantineKind
    sop_instance_uid: str
    at: datetime
    """When it was put there."""
    size_bytes: int


def dismiss_quarantine(database: Database, number: int, now: datetime) -> None:
    """Take one off the list of what needs a person; its file stays until a quota asks for it.

    Raises:
        StudyError: there is none of this number, or it was dismissed before.
    """
    with database.writing() as connection:
        dismissed = connection.execute(
            update(QuarantineRow)
            .where(QuarantineRow.id == number, QuarantineRow.dismissed_at.is_(None))
            .values(dismissed_at=now)
        ).rowcount
        if not dismissed:
            raise StudyError(f"there is no object {number} in quarantine that waits for a person")
        told = Event(name=EventName.QUARANTINE_DISMISSED, facts={"number": number})
        write_events(connection, [told], now)


def quarantine_bytes(database: Database) -> int:
    """What all objects in quarantine take."""
    query = select(func.coalesce(func.sum(QuarantineRow.size_bytes), 0)).where(
        QuarantineRow.state == "kept"
    )
    with database.reading() as connection:
        return int(connection.scalar(query) or 0)


def looked_at(database: Database, before: datetime, limit: int) -> tuple[Quarantined, ...]:
    """Objects that may go and came before that moment; those that came first first."""
    query = (
        select(QuarantineRow)
        .where(*_may_go(), QuarantineRow.at < before)
        .order_by(QuarantineRow.at, QuarantineRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(
            Quarantined(
                number=row.id,
                kind=QuarantineKind(row.kind),
                sop_instance_uid=row.sop_instance_uid,
                at=row.at,
                size_bytes=row.size_bytes,
            )
            for row in connection.execute(query)
        )


def _may_go() -> tuple[ColumnElement[bool], ...]:
    return (
        QuarantineRow.state == "kept",
        QuarantineRow.dismissed_at.is_not(None),
        QuarantineRow.pinned_at.is_(None),
    )


def mark_quarantined(database: Database, number: int, because: str, now: datetime) -> bool:
    """Give up the file of an object, with event and audit entry; False: it may not go any more."""
    with database.as_one(), database.writing() as connection:
        row = connection.execute(
            update(QuarantineRow)
            .where(QuarantineRow.id == number, *_may_go())
            .values(state="removing")
            .returning(
                QuarantineRow.kind,
                QuarantineRow.sop_instance_uid,
                QuarantineRow.size_bytes,
            )
        ).one_or_none()
        if row is None:
            return False
        if row.kind != QuarantineKind.CONFLICT.value:
            # Its file is that of an instance: one that is sent again takes its place.
            connection.execute(
                update(InstanceRow)
                .where(
                    InstanceRow.sop_instance_uid == row.sop_instance_uid,
                    InstanceRow.state == "quarantined",
                )
                .values(state="removed")
            )
        facts: dict[str, FactValue] = {
            "number": number,
            "instance": row.sop_instance_uid,
            "because": because,
            "bytes": row.size_bytes,
        }
        write_events(connection, [Event(name=EventName.QUARANTINE_REMOVED, facts=facts)], now)
        what = EventName.QUARANTINE_REMOVED.value
        deed = Deed(who=BY_QUOTA, address="", what=what, on=str(number), facts=facts)
        record_deed(database, deed, now)
        return True


def given_up(database: Database, limit: int) -> list[tuple[int, Path]]:
    """(number, file) of objects that were given up and are not yet gone."""
    return marked(database, QuarantineRow, QuarantineRow.id, limit)


def note_given_up(database: Database, gone: Sequence[tuple[int, Path]]) -> None:
    """Their files are removed."""
    note_removed(database, QuarantineRow, QuarantineRow.id, gone)


def pin_quarantined(database: Database, number: int, now: datetime, *, pinned: bool) -> None:
    """Keep the file of an object whatever the quotas say, or no longer. May be repeated.

    Raises:
        StudyError: there is no such object, or its file is gone.
    """
    with database.writing() as connection:
        state = _state(connection, number)
        if state is None:
            raise StudyError(f"there is no object {number} in quarantine")
        if pinned and state != "kept":
            raise StudyError(f"the file of object {number} is gone; have it sent again first")
        changed = connection.execute(
            update(QuarantineRow)
            .where(
                QuarantineRow.id == number,
                QuarantineRow.pinned_at.is_(None)
                if pinned
                else QuarantineRow.pinned_at.is_not(None),
            )
            .values(pinned_at=now if pinned else None)
        ).rowcount
        if changed:
            name = EventName.QUARANTINE_PINNED if pinned else EventName.QUARANTINE_UNPINNED
            write_events(connection, [Event(name=name, facts={"number": number})], now)


def _state(connection: Connection, number: int) -> str | None:
    query = select(QuarantineRow.state).where(QuarantineRow.id == number)
    return connection.scalar(query)
