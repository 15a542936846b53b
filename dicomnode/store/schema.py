"""Bringing the database to this version's schema. Forward only."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from dicomnode.shipped import shipped
from dicomnode.store.database import Database
from dicomnode.store.summaries import recount_all
from dicomnode.store.views import refresh_views


def upgrade(database: Database) -> str:
    """Apply what is missing, views included, in one transaction; return the revision reached."""
    config = _config()
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        refresh_views(connection)
        if _never_counted(connection):
            recount_all(connection)
        return _current(connection)


def current_and_head(database: Database) -> tuple[str, str]:
    """The revision the database is at (empty: none) and the one this version needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head() or ""
    with database.reading() as connection:
        return _current(connection), head


def _never_counted(connection: Connection) -> bool:
    """True if reports were read by a version that kept no sums."""
    read = "SELECT EXISTS (SELECT 1 FROM report_reading)"
    counted = "SELECT EXISTS (SELECT 1 FROM report_month)"
    return bool(connection.scalar(text(read))) and not connection.scalar(text(counted))


def _current(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(shipped("sql") / "migrations"))
    return config
