"""Bringing the database to this version's schema. Forward only."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from dicomnode.domain.errors import ConfigError
from dicomnode.shipped import shipped
from dicomnode.store.database import Database
from dicomnode.store.summaries import recount_all
from dicomnode.store.views import refresh_views


def upgrade(database: Database) -> str:
    """Apply what is missing, views included, in one transaction; return the revision reached.

    Raises:
        ConfigError: a newer version of the node has written it.
    """
    config = _config()
    with database.writing() as connection:
        _check_known(_current(connection), config)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        refresh_views(connection)
        if _never_counted(connection):
            recount_all(connection)
        return _current(connection)


def current_and_head(database: Database) -> tuple[str, str]:
    """The revision the database is at (empty: none) and the one this version needs.

    Raises:
        ConfigError: a newer version of the node has written it.
    """
    config = _config()
    head = ScriptDirectory.from_config(config).get_current_head() or ""
    with database.reading() as connection:
        current = _current(connection)
    _check_known(current, config)
    return current, head


def _check_known(current: str, config: Config) -> None:
    """Migrations only go forward, so an older node cannot work on what a newer one left."""
    script = ScriptDirectory.from_config(config)
    if current and current not in {one.revision for one in script.walk_revisions()}:
        fault = (
            f"the database is at schema {current}, which this version (schema "
            f"{script.get_current_head()}) does not know: a newer version has upgraded it; install "
            "that one again, or restore the backup from before the upgrade"
        )
        raise ConfigError([fault])


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
