"""The store's tests run on both databases: fixture `database`, migrated and empty.

Use by `pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]`.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
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
    """The name of a migrated database to copy."""
    url = postgresql_server.new_database()
    database = Database(url, tmp_path_factory.mktemp("migrated"))
    upgrade(database)
    database.dispose()
    return str(make_url(url).database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated index of the test's own."""
    if request.param == "postgresql":
        server: RunningPostgresql = request.getfixturevalue("postgresql_server")
        url = server.new_database(like=request.getfixturevalue("migrated_postgresql"))
    else:
        file = tmp_path / "index.sqlite"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), file)
        url = f"sqlite:///{file}"
    opened = Database(url, tmp_path)
    yield opened
    opened.dispose()
