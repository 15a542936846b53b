"""The store's tests run on both databases: fixture `database`, migrated, without a row.

Use by `pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]`.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.store.tables import Base
from dicomnode.testing.postgresql import RunningPostgresql


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    file = tmp_path_factory.mktemp("migrated") / "index.sqlite"
    database = Database(f"sqlite:///{file}", file.parent)
    upgrade(database)
    database.dispose()
    return file


@pytest.fixture(scope="session")
def migrated_postgresql(
    postgresql_server: RunningPostgresql, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """URL of a migrated database that tests use one after the other."""
    url = postgresql_server.new_database()
    database = Database(url, tmp_path_factory.mktemp("migrated"))
    upgrade(database)
    database.dispose()
    return url


@pytest.fixture
def postgresql_index(migrated_postgresql: str, tmp_path: Path) -> Iterator[Database]:
    """A migrated index without a row, on PostgreSQL."""
    opened = Database(migrated_postgresql, tmp_path)
    _empty(opened)
    yield opened
    opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated index without a row."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgresql_index")
        return
    file = tmp_path / "index.sqlite"
    shutil.copy(request.getfixturevalue("migrated_sqlite"), file)
    opened = Database(f"sqlite:///{file}", tmp_path)
    yield opened
    opened.dispose()


def _empty(database: Database) -> None:
    """Much quicker than a database for each test."""
    names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with database.writing() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
