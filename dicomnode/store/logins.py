"""Failed logins, counted in the index so that a restart forgets nothing."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select

from dicomnode.store.database import Database
from dicomnode.store.tables import LoginTryRow

WINDOW = timedelta(minutes=15)


def note_try(database: Database, limits: Mapping[str, int], now: datetime) -> bool:
    """Count a try for every key, before it is known how it ends; False: one has had its share.

    A try beyond the share is not counted, so that waiting helps. Counted first, many tries at
    once cannot slip through between looking and counting.
    """
    with database.writing() as connection:
        connection.execute(delete(LoginTryRow).where(LoginTryRow.at < now - WINDOW))
        for key, limit in limits.items():
            tried = connection.scalar(select(func.count()).where(LoginTryRow.key == key)) or 0
            if tried >= limit:
                return False
        connection.execute(insert(LoginTryRow), [{"key": key, "at": now} for key in limits])
        return True


def forgive(database: Database, key: str) -> None:
    """Forget the tries of a key after a login that succeeded."""
    with database.writing() as connection:
        connection.execute(delete(LoginTryRow).where(LoginTryRow.key == key))
