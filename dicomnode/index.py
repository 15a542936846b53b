"""Opening the index; apart from `dicomnode.app`, so that commands which only ask start at once."""

from dicomnode.domain.errors import ConfigError
from dicomnode.settings import INDEX_FILE, Settings
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


def existing_database(settings: Settings) -> Database:
    """The index of a node that is there, for commands that look at one or change one.

    An empty index, made on the way, would say that nothing needs a person, and be backed up.

    Raises:
        ConfigError: there is none, so these are not the node's settings; or as `open_database`.
        StoreError: it cannot be reached.
    """
    file = settings.data_dir / INDEX_FILE
    if not settings.database_url and not file.is_file():
        fault = (
            f"there is no index at {file.absolute()}: name the node's settings by --settings or "
            "DICOMNODE_SETTINGS, and its PostgreSQL, if it has one, by DICOMNODE_DATABASE_URL "
            "(`dicomnode db upgrade` makes a new index)"
        )
        raise ConfigError([fault])
    return open_database(settings)
