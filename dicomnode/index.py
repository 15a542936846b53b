"""Opening the index; apart from `dicomnode.app`, so that commands which only ask start at once."""

from dicomnode.domain.errors import ConfigError
from dicomnode.settings import Settings
from dicomnode.store.database import Database
from dicomnode.store.schema import current_and_head, upgrade


def open_database(settings: Settings) -> Database:
    """The index, with the schema of this version.

    Raises:
        ConfigError: it has to be upgraded first (SQLite is, by itself).
        StoreError: it cannot be reached.
    """
    database = Database(settings.index_url, settings.data_dir)
    if database.is_sqlite:
        upgrade(database)
        return database
    current, head = current_and_head(database)
    if current != head:
        at = current or "none"
        fault = f"the database is at schema {at}, not {head}: run `dicomnode db upgrade`"
        raise ConfigError([fault])
    return database
