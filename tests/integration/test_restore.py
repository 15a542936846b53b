"""A backup put back: what came before, between index and files, and after is all there."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from pydicom.uid import CTImageStorage

from dicomnode.receive.adoption import Adopted, adopt_folders
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.receiver import start_receiver
from dicomnode.settings import ReceiveSettings
from dicomnode.store.copying import backup_sqlite
from dicomnode.store.database import Database
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.store.schema import upgrade
from dicomnode.testing.sender import associated
from tests.integration.test_receive_kill import assert_all_closed, assert_whole, rows

CT = str(CTImageStorage)


def now() -> datetime:
    return datetime.now(UTC)


def receive(folder: Path, database: Database, *uids: str) -> None:
    """One association brings these."""
    with (
        start_receiver(
            ReceiveSettings(reserve_mb=0),
            ae_title="DICOMNODE",
            data_dir=folder,
            index=SqlInstanceIndex(database, receiver="NODE@here"),
            clock=now,
            on_event=lambda _event: None,
            port=0,
        ) as receiver,
        associated(receiver.port, CT) as sender,
    ):
        for uid in uids:
            assert sender.store(uid, uid.encode() * 100, sop_class=CT) == 0
        assert sender.release()


def test_images_that_came_after_the_index_was_copied_are_known_again(tmp_path: Path) -> None:
    old, restored = tmp_path / "old", tmp_path / "restored"
    old.mkdir()
    database = Database(f"sqlite:///{old}/index.sqlite", old)
    upgrade(database)
    receive(old, database, "1.2.1", "1.2.2")
    backup_sqlite(database, tmp_path / "index.sqlite")
    receive(old, database, "1.2.3")
    receive(old, database, "1.2.4", "1.2.1")
    database.dispose()
    # As docs/operations.md says: first the index, then the files.
    shutil.copytree(old, restored, ignore=shutil.ignore_patterns("*.sqlite*"))
    shutil.copy(tmp_path / "index.sqlite", restored / "index.sqlite")

    again = Database(f"sqlite:///{restored}/index.sqlite", restored)
    index = SqlInstanceIndex(again, receiver="NODE@adoption")
    assert set(rows(restored)) == {"1.2.1", "1.2.2"}
    site = LandingSite(restored, index)
    assert adopt_folders(site, index.knows, now) == Adopted(associations=2, instances=2)
    assert set(rows(restored)) == {"1.2.1", "1.2.2", "1.2.3", "1.2.4"}
    assert_whole(restored)
    assert_all_closed(restored)
    assert adopt_folders(site, index.knows, now) == Adopted(), "once is enough"
    with again.reading() as connection:
        senders = connection.exec_driver_sql("SELECT DISTINCT calling_ae FROM association")
        assert senders.scalars().all() == ["RAW"], "the files say who sent them"
        states = connection.exec_driver_sql("SELECT DISTINCT state FROM instance").scalars()
        assert states.all() == ["landed"], "the node goes on with them as ever"
    again.dispose()
