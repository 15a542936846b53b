"""Lines to a database on another machine."""

from pathlib import Path

import pytest
from sqlalchemy import event

from dicomnode.store.database import Database


class Asked(Exception):
    """Instead of a connection."""


def words_of(url: str, tmp_path: Path) -> dict[str, object]:
    """What the driver is told for a connection to `url`."""
    database = Database(url, tmp_path)
    told: dict[str, object] = {}

    @event.listens_for(database.engine, "do_connect")
    def _note(_dialect: object, _record: object, _args: object, words: dict[str, object]) -> None:
        told.update(words)
        raise Asked

    with pytest.raises(Asked), database.engine.connect():
        pass
    return told


def test_a_database_that_vanished_is_given_up_within_half_a_minute(tmp_path: Path) -> None:
    told = words_of("postgresql+psycopg://node@db/dicomnode", tmp_path)
    assert told["tcp_user_timeout"] == 30_000
    assert told["connect_timeout"] == 10
    assert told["keepalives_idle"] == 15


def test_what_a_url_says_of_its_line_goes_before(tmp_path: Path) -> None:
    told = words_of("postgresql+psycopg://node@db/dicomnode?tcp_user_timeout=90000", tmp_path)
    assert str(told["tcp_user_timeout"]) == "90000"
    assert told["connect_timeout"] == 10
