"""Messages that were refused: noted, listed, and ended by a person."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from sqlalchemy import insert, select, update

from dicomnode.domain.errors import StudyError
from dicomnode.domain.incoming_reports import ReportSource
from dicomnode.store.database import Database
from dicomnode.store.tables import RefusedReportRow


class UnknownRefusal(StudyError):
    """No refused message of that number waits for a person."""


class Ending(Enum):
    """What became of a refused message."""

    TAKEN = "taken"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that was refused, and why."""

    id: int
    source: ReportSource
    path: Path
    size_bytes: int
    reason: str
    times: int
    first_at: datetime
    last_at: datetime


def note_refused(
    database: Database,
    *,
    source: ReportSource,
    sha256: str,
    path: Path,
    size_bytes: int,
    reason: str,
    now: datetime,
) -> int:
    """Note that a message was refused, once more or for the first time; return its number.

    One that was ended and comes again waits again.
    """
    with database.writing() as connection:
        query = select(RefusedReportRow.id).where(RefusedReportRow.sha256 == sha256)
        known = connection.scalar(query)
        if known is None:
            values = {
                "source": source.value,
                "sha256": sha256,
                "path": database.relative(path),
                "size_bytes": size_bytes,
                "reason": reason,
                "times": 1,
                "first_at": now,
                "last_at": now,
            }
            made = insert(RefusedReportRow).values(values).returning(RefusedReportRow.id)
            return connection.execute(made).scalar_one()
        connection.execute(
            update(RefusedReportRow)
            .where(RefusedReportRow.id == known)
            .values(
                reason=reason,
                times=RefusedReportRow.times + 1,
                last_at=now,
                ended_at=None,
                ended_by=None,
            )
        )
        return known


def waiting_refused(database: Database, limit: int, *, after: int = 0) -> list[Refused]:
    """Those that nobody has ended, oldest first; `after`: beginning behind that number."""
    query = (
        select(RefusedReportRow)
        .where(RefusedReportRow.ended_at.is_(None), RefusedReportRow.id > after)
        .order_by(RefusedReportRow.id)
        .limit(limit)
    )
    with database.reading() as connection:
        return [
            Refused(
                id=row.id,
                source=ReportSource(row.source),
                path=database.absolute(row.path),
                size_bytes=row.size_bytes,
                reason=row.reason,
                times=row.times,
                first_at=row.first_at,
                last_at=row.last_at,
            )
            for row in connection.execute(query)
        ]


def refused(database: Database, number: int) -> Refused:
    """One that waits.

    Raises:
        UnknownRefusal: there is none of that number.
    """
    for each in waiting_refused(database, 1, after=number - 1):
        if each.id == number:
            return each
    raise UnknownRefusal(f"no refused message {number} waits: see dicomnode reports refused")


def end_refused(database: Database, number: int, ending: Ending, now: datetime) -> None:
    """Record that it needs nobody any more."""
    with database.writing() as connection:
        connection.execute(
            update(RefusedReportRow)
            .where(RefusedReportRow.id == number)
            .values(ended_at=now, ended_by=ending.value)
        )
