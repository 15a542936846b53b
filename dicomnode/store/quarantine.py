"""Objects that are on disk but in no study."""

from datetime import datetime

from sqlalchemy import update

from dicomnode.domain.errors import StudyError
from dicomnode.domain.events import Event, EventName
from dicomnode.store.database import Database
from dicomnode.store.events import write_events
from dicomnode.store.tables import QuarantineRow


def dismiss_quarantine(database: Database, number: int, now: datetime) -> None:
    """Take one off the list of what needs a person; its file stays.

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
