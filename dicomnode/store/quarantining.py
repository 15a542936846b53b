"""What landed on disk and cannot be put into a study: its row goes to the quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select, update

from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import QuarantineKind
from dicomnode.store.events import write_events
from dicomnode.store.tables import InstanceRow, QuarantineRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedInstance:
    """An instance on disk whose header has not been read yet."""

    sop_instance_uid: InstanceUid
    path: Path
    association_id: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A landed instance that cannot be put into a study, and why."""

    landed: LandedInstance
    reason: str
    kind: QuarantineKind = QuarantineKind.UNREADABLE


def put_in_quarantine(connection: Connection, items: Sequence[Unreadable], now: datetime) -> None:
    """The file stays where it is; only the row says that it belongs to no study."""
    for item in items:
        uid = item.landed.sop_instance_uid
        row = connection.execute(
            select(InstanceRow).where(InstanceRow.sop_instance_uid == uid)
        ).one()
        connection.execute(
            update(InstanceRow)
            .where(InstanceRow.sop_instance_uid == uid)
            .values(state="quarantined")
        )
        values: dict[str, object] = {
            "reason": item.reason,
            "sop_class_uid": row.sop_class_uid,
            "transfer_syntax_uid": row.transfer_syntax_uid,
            "path": row.path,
            "size_bytes": row.size_bytes,
            "association_id": row.association_id,
            "at": now,
            "state": "kept",
            "dismissed_at": None,
        }
        # Known from before: its file went by a quota, or was lost, and it came again.
        known = connection.execute(
            update(QuarantineRow)
            .where(
                QuarantineRow.sop_instance_uid == uid,
                QuarantineRow.sha256 == row.sha256,
                QuarantineRow.kind == item.kind.value,
            )
            .values(values)
        ).rowcount
        if not known:
            key = {"sop_instance_uid": uid, "sha256": row.sha256, "kind": item.kind.value}
            connection.execute(insert(QuarantineRow).values(values | key))
    write_events(
        connection,
        [
            Event(
                name=EventName.INSTANCE_QUARANTINED,
                association_id=item.landed.association_id,
                facts={
                    "kind": item.kind.value,
                    "reason": item.reason,
                    "sop_instance_uid": item.landed.sop_instance_uid,
                },
            )
            for item in items
        ],
        now,
    )
