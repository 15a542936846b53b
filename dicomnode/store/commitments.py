"""Senders' requests for storage commitment, and what the index knows of the instances they name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Update, or_, select, update

from dicomnode.domain.delivery import CommitmentAnswer, CommitmentRequest
from dicomnode.domain.events import Event, EventName, FactValue
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import CommitmentRequestRow, InstanceRow, QuarantineRow
from dicomnode.store.upsert import insert_new

# Below SQLite's limit of parameters.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request whose sender is to be told."""

    id: int
    request: CommitmentRequest
    asked_at: datetime
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the index says of one instance."""

    sop_class_uid: str
    path: Path
    size_bytes: int
    sha256: str
    """Of the data set."""
    in_dispute: bool
    """Other bytes came under the same UID, and no person has looked at them."""


def keep_request(database: Database, request: CommitmentRequest, now: datetime) -> None:
    """Write down that a sender asked. If it asks again under the same UID, it is told again."""
    values = {
        "instances": [list(one) for one in request.instances],
        "asked_at": now,
        "state": "waiting",
        "attempt": 0,
        "next_try_at": now,
        "reason": "",
    }
    key = {"transaction_uid": request.transaction_uid, "calling_ae": request.calling_ae}
    with database.writing() as connection:
        insert_new(connection, CommitmentRequestRow, [{**key, **values}])
        connection.execute(update(CommitmentRequestRow).filter_by(**key).values(**values))
        facts: dict[str, FactValue] = {
            "calling_ae": request.calling_ae,
            "instances": len(request.instances),
        }
        write_events(connection, [Event(name=EventName.COMMITMENT_ASKED, facts=facts)], now)


def due_requests(database: Database, now: datetime, limit: int) -> tuple[Asked, ...]:
    """Those whose sender is to be told now."""
    query = (
        select(CommitmentRequestRow)
        .where(
            CommitmentRequestRow.state == "waiting",
            or_(
                CommitmentRequestRow.next_try_at <= now,
                CommitmentRequestRow.next_try_at.is_(None),
            ),
        )
        .order_by(CommitmentRequestRow.next_try_at)
        .limit(limit)
    )
    with database.reading() as connection:
        return tuple(
            Asked(
                id=row.id,
                request=CommitmentRequest(
                    transaction_uid=row.transaction_uid,
                    calling_ae=row.calling_ae,
                    instances=tuple((one, InstanceUid(uid)) for one, uid in row.instances),
                ),
                asked_at=row.asked_at,
                attempt=row.attempt,
            )
            for row in connection.execute(query)
        )


def kept_instances(database: Database, uids: Sequence[InstanceUid]) -> Mapping[InstanceUid, Kept]:
    """Those of the instances that have a row and, by it, a file."""
    found: dict[InstanceUid, Kept] = {}
    with database.reading() as connection:
        for start in range(0, len(uids), _AT_ONCE):
            some = uids[start : start + _AT_ONCE]
            disputed = set(
                connection.scalars(
                    select(QuarantineRow.sop_instance_uid).where(
                        QuarantineRow.sop_instance_uid.in_(some),
                        QuarantineRow.dismissed_at.is_(None),
                    )
                )
            )
            rows = connection.execute(
                select(InstanceRow).where(
                    InstanceRow.sop_instance_uid.in_(some),
                    InstanceRow.state.not_in(["removing", "removed"]),
                )
            )
            for row in rows:
                found[InstanceUid(row.sop_instance_uid)] = Kept(
                    sop_class_uid=row.sop_class_uid,
                    path=database.absolute(row.path),
                    size_bytes=row.size_bytes,
                    sha256=row.sha256,
                    in_dispute=row.sop_instance_uid in disputed,
                )
    return found


def _still(asked: Asked) -> Update:
    """To change a request, unless it was asked anew meanwhile."""
    return update(CommitmentRequestRow).where(
        CommitmentRequestRow.id == asked.id, CommitmentRequestRow.asked_at == asked.asked_at
    )


def record_reported(
    database: Database, asked: Asked, answer: CommitmentAnswer, now: datetime
) -> None:
    """The sender took the report."""
    with database.writing() as connection:
        connection.execute(
            _still(asked).values(
                state="reported",
                attempt=asked.attempt + 1,
                next_try_at=None,
                reason="",
                committed=len(answer.committed),
                failed=len(answer.failed),
                reported_at=now,
            )
        )
        facts: dict[str, FactValue] = {
            "calling_ae": asked.request.calling_ae,
            "committed": len(answer.committed),
            "failed": len(answer.failed),
        }
        write_events(connection, [Event(name=EventName.COMMITMENT_REPORTED, facts=facts)], now)


def record_not_told(
    database: Database, asked: Asked, reason: str, next_try_at: datetime | None, now: datetime
) -> None:
    """The sender could not be told; without a next try it is given up."""
    with database.writing() as connection:
        connection.execute(
            _still(asked).values(
                state="given-up" if next_try_at is None else "waiting",
                attempt=asked.attempt + 1,
                next_try_at=next_try_at,
                reason=reason,
            )
        )
        facts: dict[str, FactValue] = {"calling_ae": asked.request.calling_ae, "reason": reason}
        name = (
            EventName.COMMITMENT_GIVEN_UP if next_try_at is None else EventName.COMMITMENT_RETRYING
        )
        write_events(connection, [Event(name=name, facts=facts)], now)
