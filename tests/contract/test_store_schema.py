"""The migrations make exactly the tables of the mapping, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from dicomnode.domain.errors import ConfigError, StoreError, StoreUnavailable
from dicomnode.store.database import Database
from dicomnode.store.schema import current_and_head, upgrade
from dicomnode.store.tables import Base

pytest_plugins = ["tests.contract.postgresql"]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'index.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
    database = Database(url, tmp_path)
    yield database
    database.dispose()


def test_the_migrated_database_is_the_mapping(empty: Database) -> None:
    upgrade(empty)
    options: dict[str, object] = {
        "compare_type": True,
        "compare_server_default": True,
        # The full-text index and the note on views are no tables of the mapping.
        "include_name": lambda name, kind, _: (
            kind != "table" or not name.startswith(("report_search", "view_version"))
        ),
    }
    with empty.reading() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_indexes_and_unique_keys_are_those_of_the_mapping(empty: Database) -> None:
    upgrade(empty)
    with empty.reading() as connection:
        inspector = inspect(connection)
        for table in Base.metadata.sorted_tables:
            found = {str(one["name"]) for one in inspector.get_indexes(table.name)}
            assert {str(index.name) for index in table.indexes} <= found
            keys = inspector.get_foreign_keys(table.name)
            assert {key["constrained_columns"][0] for key in keys} == {
                constraint.column_keys[0] for constraint in table.foreign_key_constraints
            }


def test_upgrading_twice_changes_nothing(empty: Database) -> None:
    assert current_and_head(empty)[0] == ""
    reached = upgrade(empty)
    assert upgrade(empty) == reached
    assert current_and_head(empty) == (reached, reached)


def test_a_database_that_a_newer_version_upgraded_is_left_alone_with_words(empty: Database) -> None:
    reached = upgrade(empty)
    with empty.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for look in (upgrade, current_and_head):
        with pytest.raises(ConfigError, match=rf"at schema 9999, .*schema {reached}.* newer"):
            look(empty)


def test_an_upgrade_that_fails_leaves_no_table(empty: Database) -> None:
    with empty.writing() as connection:
        connection.execute(text("CREATE TABLE job (id INTEGER)"))
    with pytest.raises(StoreError):
        upgrade(empty)
    with empty.reading() as connection:
        assert inspect(connection).get_table_names() == ["job"]


def test_an_unreachable_server_is_worth_another_try(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://nobody@/x?host={tmp_path}", tmp_path)
    with pytest.raises(StoreUnavailable), database.reading():
        pass
    database.dispose()
