"""Rows of associations and instances as the receiver needs them (`receive.index.InstanceIndex`)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dicomnode.domain.instances import (
    Association,
    Landing,
    QuarantineKind,
    ReceivedInstance,
    Service,
)
from dicomnode.domain.receiving import AssociationOutcome, quarantine_path
from dicomnode.store.database import Database
from dicomnode.store.tables import AssociationRow, InstanceRow, QuarantineRow, StudyRow

_ASSOCIATION: Table = AssociationRow.__table__  # type: ignore[assignment]
_INSTANCE: Table = InstanceRow.__table__  # type: ignore[assignment]
_QUARANTINE: Table = QuarantineRow.__table__  # type: ignore[assignment]
_STUDY: Table = StudyRow.__table__  # type: ignore[assignment]


class SqlInstanceIndex:
    """The index in SQLite or PostgreSQL.

    `receiver` names the receiving process across its restarts (AE title and host will do): its next
    start repairs what it left open, and no other's.
    """

    def __init__(self, database: Database, *, receiver: str) -> None:
        self._database = database
        self._receiver = receiver
        self._insert_instance = _insert_or_leave(database, _INSTANCE, "sop_instance_uid")
        self._insert_association = _insert_or_leave(database, _ASSOCIATION, "id")

    def open_association(self, association: Association) -> None:
        """Write down an association before its first instance is stored."""
        with self._database.writing() as connection:
            connection.execute(
                self._insert_association,
                {
                    "id": association.id,
                    "calling_ae": association.calling_ae,
                    "called_ae": association.called_ae,
                    "address": association.address,
                    "receiver": self._receiver,
                    "opened_at": association.opened_at,
                    "service": association.service.value,
                },
            )

    def close_association(
        self, association_id: str, how: AssociationOutcome, *, at: datetime
    ) -> None:
        """Write down how it ended. The first call counts."""
        with self._database.writing() as connection:
            connection.execute(
                update(_ASSOCIATION)
                .where(_ASSOCIATION.c.id == association_id, _ASSOCIATION.c.closed_at.is_(None))
                .values(closed_at=at, outcome=how.value)
            )

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        """Write down a batch in one transaction; say what each became, in order."""
        rows = [self._row(instance) for instance in batch]
        with self._database.writing() as connection:
            written = connection.execute(
                self._insert_instance, rows, execution_options={"preserve_rowcount": True}
            ).rowcount
            if written == len(batch):
                return [Landing.KEPT] * len(batch)
            return [self._judge(connection, instance) for instance in batch]

    def left_open(self, is_here: Callable[[Association], bool]) -> Sequence[Association]:
        """Associations never closed that this receiver opened, or whose files `is_here` finds."""
        is_open = _ASSOCIATION.c.closed_at.is_(None)
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_ASSOCIATION).where(is_open).order_by(_ASSOCIATION.c.id)
            ).all()
        known = [(row.receiver, _association(row)) for row in rows]
        return [one for receiver, one in known if receiver == self._receiver or is_here(one)]

    def knows(self, association_id: str) -> bool:
        """Whether there is a row of this association."""
        query = select(_ASSOCIATION.c.id).where(_ASSOCIATION.c.id == association_id)
        with self._database.reading() as connection:
            return connection.scalar(query) is not None

    def kept_paths(self, association_id: str) -> frozenset[Path]:
        """Absolute paths of the instances an association brought."""
        with self._database.reading() as connection:
            paths = connection.scalars(
                select(_INSTANCE.c.path).where(_INSTANCE.c.association_id == association_id)
            ).all()
        return frozenset(self._database.absolute(path) for path in paths)

    def _judge(self, connection: Connection, instance: ReceivedInstance) -> Landing:
        """What became of one instance of a batch in which some UIDs were already taken."""
        first = connection.execute(
            select(
                _INSTANCE.c.path, _INSTANCE.c.sha256, _INSTANCE.c.state, _INSTANCE.c.study_uid
            ).where(_INSTANCE.c.sop_instance_uid == instance.sop_instance_uid)
        ).one()
        if first.path == self._database.relative(instance.path):
            return Landing.KEPT
        if first.sha256 != instance.sha256:
            return self._quarantine(connection, instance)
        went_by_quota = first.state in ("removing", "removed")
        if not went_by_quota and self._database.absolute(first.path).exists():
            return Landing.DUPLICATE
        # Its bytes came again just in time. What was never in a study is looked at anew.
        back = "landed" if first.study_uid is None else "indexed"
        connection.execute(
            update(_INSTANCE)
            .where(_INSTANCE.c.sop_instance_uid == instance.sop_instance_uid)
            .values(
                path=self._database.relative(instance.path),
                association_id=instance.association_id,
                state=back if went_by_quota else first.state,
            )
        )
        if went_by_quota:
            self._is_here_again(connection, instance)
        return Landing.KEPT

    def _is_here_again(self, connection: Connection, instance: ReceivedInstance) -> None:
        """A study whose images had gone by a quota has some again, which quotas look at anew."""
        of_it = select(_INSTANCE.c.study_uid).where(
            _INSTANCE.c.sop_instance_uid == instance.sop_instance_uid
        )
        connection.execute(
            update(_STUDY)
            .where(_STUDY.c.study_uid == of_it.scalar_subquery())
            .values(images_removed_at=None)
        )

    def _quarantine(self, connection: Connection, instance: ReceivedInstance) -> Landing:
        mine = quarantine_path(self._database.path_root, instance.path)
        known = connection.execute(
            select(_QUARANTINE.c.id, _QUARANTINE.c.path, _QUARANTINE.c.state).where(
                _QUARANTINE.c.sop_instance_uid == instance.sop_instance_uid,
                _QUARANTINE.c.sha256 == instance.sha256,
                _QUARANTINE.c.kind == QuarantineKind.CONFLICT.value,
            )
        ).one_or_none()
        if known is None:
            connection.execute(insert(_QUARANTINE).values(self._conflict_row(instance, mine)))
            return Landing.CONFLICT
        if known.path == self._database.relative(mine):
            return Landing.CONFLICT
        values: dict[str, Any] = {
            "path": self._database.relative(mine),
            "association_id": instance.association_id,
        }
        if known.state != "kept":
            # It went by a quota: that it came again is news.
            values |= {"state": "kept", "at": instance.received_at, "dismissed_at": None}
        elif self._database.absolute(known.path).exists():
            return Landing.DUPLICATE
        connection.execute(update(_QUARANTINE).where(_QUARANTINE.c.id == known.id).values(values))
        return Landing.CONFLICT

    def _row(self, instance: ReceivedInstance) -> dict[str, Any]:
        return {
            "sop_instance_uid": instance.sop_instance_uid,
            "sop_class_uid": instance.sop_class_uid,
            "transfer_syntax_uid": instance.transfer_syntax_uid,
            "path": self._database.relative(instance.path),
            "size_bytes": instance.size_bytes,
            "sha256": instance.sha256,
            "association_id": instance.association_id,
            "received_at": instance.received_at,
            "state": "landed",
        }

    def _conflict_row(self, instance: ReceivedInstance, lies_at: Path) -> dict[str, Any]:
        row = self._row(instance)
        del row["state"]
        return row | {
            "kind": QuarantineKind.CONFLICT.value,
            "reason": "another instance with this UID, but other bytes, was received before",
            "path": self._database.relative(lies_at),
            "at": row.pop("received_at"),
        }


def _association(row: Row[Any]) -> Association:
    return Association(
        id=row.id,
        calling_ae=row.calling_ae,
        called_ae=row.called_ae,
        address=row.address,
        opened_at=row.opened_at,
        service=Service(row.service),
    )


def _insert_or_leave(database: Database, table: Table, key: str) -> Any:
    """INSERT that leaves a row that is already there as it is."""
    dialect = sqlite if database.is_sqlite else postgresql
    return dialect.insert(table).on_conflict_do_nothing(index_elements=[key])
