"""Events of the receiver while the index is away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, select

from dicomnode.domain.events import Event, EventName
from dicomnode.receiving import EventWriter
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.store.tables import EventRow


class Watched(Database):
    """Tells when it was asked to write."""

    def __init__(self, url: str, path_root: Path) -> None:
        super().__init__(url, path_root)
        self.was_tried = threading.Event()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.was_tried.set()
        with super().writing() as connection:
            yield connection


def refused(number: int) -> Event:
    return Event(name=EventName.INSTANCE_REFUSED, facts={"number": number})


def written(database: Database) -> list[int]:
    with database.reading() as connection:
        return [
            facts["number"]
            for facts in connection.scalars(select(EventRow.facts).order_by(EventRow.id))
        ]


def test_what_happens_while_the_index_is_away_is_written_once_it_is_back(tmp_path: Path) -> None:
    # No database can be opened where a folder stands.
    in_the_way = tmp_path / "index.sqlite"
    in_the_way.mkdir()
    database = Watched(f"sqlite:///{in_the_way}", tmp_path)
    events = EventWriter(database, again_after_s=0.01)
    events.put(refused(1))
    assert database.was_tried.wait(20)
    in_the_way.rmdir()
    upgrade(database)
    events.put(refused(2))
    events.close()
    assert written(database) == [1, 2]
    database.dispose()
