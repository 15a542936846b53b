"""The event log."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert

from dicomnode.domain.events import Event
from dicomnode.store.database import Database
from dicomnode.store.tables import EventRow


def write_events(connection: Connection, events: Sequence[Event], now: datetime) -> None:
    """Add events inside a transaction that does what they tell of."""
    if events:
        connection.execute(insert(EventRow), [_row(event, now) for event in events])


def log_event(database: Database, event: Event, now: datetime) -> None:
    """Add one event in a transaction of its own."""
    with database.writing() as connection:
        write_events(connection, [event], now)


def log_events(database: Database, events: Sequence[tuple[Event, datetime]]) -> None:
    """Add a batch, each with its moment, in one transaction."""
    if events:
        with database.writing() as connection:
            connection.execute(insert(EventRow), [_row(event, at) for event, at in events])


def _row(event: Event, now: datetime) -> dict[str, object]:
    return {
        "at": now,
        "name": event.name.value,
        "study_uid": event.study_uid,
        "job_id": event.job_id,
        "association_id": event.association_id,
        "facts": dict(event.facts),
    }
