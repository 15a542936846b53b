"""SR instances that may hold a report, and what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, update

from dicomnode.domain.identifiers import InstanceUid, StudyUid
from dicomnode.store.database import Database
from dicomnode.store.tables import InstanceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingSr:
    """An indexed SR that has not been read as a report."""

    sop_instance_uid: InstanceUid
    study_uid: StudyUid
    path: Path


def waiting_srs(database: Database, limit: int, *, but: Sequence[str] = ()) -> list[WaitingSr]:
    """The next ones, oldest first, without those in `but`."""
    query = (
        select(InstanceRow.sop_instance_uid, InstanceRow.study_uid, InstanceRow.path)
        .where(InstanceRow.report_state == "waiting", InstanceRow.sop_instance_uid.not_in(but))
        .order_by(InstanceRow.received_at)
        .limit(limit)
    )
    with database.reading() as connection:
        return [
            WaitingSr(
                sop_instance_uid=InstanceUid(row.sop_instance_uid),
                study_uid=StudyUid(row.study_uid or ""),
                path=database.absolute(row.path),
            )
            for row in connection.execute(query)
        ]


def mark_sr(database: Database, sr: WaitingSr, state: str) -> None:
    """`kept`, `no-words` or `unreadable`; the instance itself stays as it is."""
    with database.writing() as connection:
        connection.execute(
            update(InstanceRow)
            .where(InstanceRow.sop_instance_uid == sr.sop_instance_uid)
            .values(report_state=state)
        )
