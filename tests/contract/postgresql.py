"""Tests on a real PostgreSQL; `pytest_plugins = ["tests.contract.postgresql"]` brings it."""

from collections.abc import Iterator

import pytest

from dicomnode.testing.postgresql import RunningPostgresql, postgresql_programs


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[RunningPostgresql]:
    """One private server for the whole session."""
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with RunningPostgresql() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: RunningPostgresql) -> str:
    """URL of an empty database of the test's own."""
    return postgresql_server.new_database()
