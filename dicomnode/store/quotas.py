"""Images that may go, and how they do: first marked, then removed, then known to be gone.

A crash at any point leaves files that are marked, which the next turn removes. An image that is
sent again meanwhile gets a file of its own (`store.landing`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select, update

from dicomnode.domain.audit import Deed
from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.jobs import JobState
from dicomnode.domain.results import DeliveryState
from dicomnode.store.audit import record_deed
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.removing import marked, note_removed
from dicomnode.store.tables import DeliveryRow, InstanceRow, JobRow, RevisionRow, StudyRow

BY_QUOTA = "node"
"""Who stands in the audit trail."""

_SETTLED_JOBS = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.DISMISSED)
_SETTLED_DELIVERIES = (DeliveryState.CONFIRMED, DeliveryState.DISMISSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """A study whose images may go."""

    study_uid: StudyUid
    received_at: datetime
    """When the last of its images came."""
    instances: int
    size_bytes: int


def images_bytes(database: Database) -> int:
    """What all received images take."""
    query = select(func.coalesce(func.sum(InstanceRow.size_bytes), 0)).where(
        InstanceRow.state == "indexed"
    )
    with database.reading() as connection:
        return int(connection.scalar(query) or 0)


def studies_through(database: Database, before: datetime, limit: int) -> tuple[Through, ...]:
    """Studies whose images may go, and all came before that moment; those that came first first."""
    last = func.max(InstanceRow.received_at)
    query = (
        select(
            StudyRow.study_uid,
            last.label("received_at"),
            func.count().label("instances"),
            func.sum(InstanceRow.size_bytes).label("size_bytes"),
        )
        .join(InstanceRow, InstanceRow.study_uid == StudyRow.study_uid)
        .where(InstanceRow.state == "indexed", StudyRow.received_at < before, _is_through())
        .group_by(StudyRow.study_uid, StudyRow.received_at)
        .having(last < before)
        .order_by(StudyRow.received_at)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(
            Through(
                study_uid=StudyUid(row.study_uid),
                received_at=row.received_at,
                instances=row.instances,
                size_bytes=int(row.size_bytes),
            )
            for row in connection.execute(query)
        )


def _is_through() -> ColumnElement[bool]:
    """Nothing is left to be done with the images, by the node or by a person."""
    of_study = RevisionRow.study_uid == StudyRow.study_uid
    waits = InstanceRow.study_uid == StudyRow.study_uid
    return and_(
        StudyRow.images_removed_at.is_(None),
        StudyRow.pinned_at.is_(None),
        StudyRow.new_instances == 0,
        StudyRow.revision > 0,
        ~exists().where(of_study, RevisionRow.matched_at.is_(None)),
        ~exists().where(
            JobRow.study_uid == StudyRow.study_uid,
            JobRow.state.not_in([state.value for state in _SETTLED_JOBS]),
        ),
        ~exists().where(
            DeliveryRow.job_id == JobRow.id,
            JobRow.study_uid == StudyRow.study_uid,
            DeliveryRow.state.not_in([state.value for state in _SETTLED_DELIVERIES]),
        ),
        ~exists()
        .where(
            waits,
            (InstanceRow.report_state == "waiting") | (InstanceRow.correction_state == "waiting"),
        )
        .correlate(StudyRow),
    )


def mark_images(database: Database, study: StudyUid, because: str, now: datetime) -> int:
    """Take the images of a study out of use, with event and audit entry; return how many.

    0 if the study is not through any more: looked at again in the same transaction.
    """
    with database.as_one(), database.writing() as connection:
        is_through = (StudyRow.study_uid == study) & _is_through()
        marked = connection.execute(
            update(StudyRow).where(is_through).values(images_removed_at=now)
        ).rowcount
        if not marked:
            return 0
        sizes = list(
            connection.execute(
                update(InstanceRow)
                .where(InstanceRow.study_uid == study, InstanceRow.state == "indexed")
                .values(state="removing")
                .returning(InstanceRow.size_bytes)
            ).scalars()
        )
        facts: dict[str, FactValue] = {
            "because": because,
            "instances": len(sizes),
            "bytes": sum(sizes),
        }
        told = Event(name=EventName.IMAGES_REMOVED, study_uid=study, facts=facts)
        write_events(connection, [told], now)
        deed = Deed(who=BY_QUOTA, address="", what="study.images-removed", on=study, facts=facts)
        record_deed(database, deed, now)
        return len(sizes)


def marked_files(database: Database, limit: int) -> list[tuple[str, Path]]:
    """(SOPInstanceUID, file) of images that were taken out of use and are not yet gone."""
    return marked(database, InstanceRow, InstanceRow.sop_instance_uid, limit)


def note_gone(database: Database, gone: Sequence[tuple[str, Path]]) -> None:
    """Their files are removed."""
    note_removed(database, InstanceRow, InstanceRow.sop_instance_uid, gone)


def pin_study(database: Database, study: str, now: datetime, *, pinned: bool) -> None:
    """Keep the images of a study whatever the quotas say, or no longer. May be repeated.

    Raises:
        StudyError: there is no such study, or its images are gone.
    """
    with database.writing() as connection:
        row = _known(connection, study)
        if pinned and row.images_removed_at is not None:
            raise StudyError(f"the images of {study} are gone; send it again first")
        if (row.pinned_at is not None) == pinned:
            return
        connection.execute(
            update(StudyRow)
            .where(StudyRow.study_uid == study)
            .values(pinned_at=now if pinned else None)
        )
        name = EventName.STUDY_PINNED if pinned else EventName.STUDY_UNPINNED
        write_events(connection, [Event(name=name, study_uid=StudyUid(study))], now)


def _known(connection: Connection, study: str) -> "_Kept":
    query = select(StudyRow.pinned_at, StudyRow.images_removed_at).where(
        StudyRow.study_uid == study
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StudyError(f"there is no study {study}")
    return _Kept(pinned_at=row.pinned_at, images_removed_at=row.images_removed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    pinned_at: datetime | None
    images_removed_at: datetime | None
