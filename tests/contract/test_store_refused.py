"""Messages that cannot be taken are listed until they are taken after all or dismissed."""

from pathlib import Path

import pytest
from sqlalchemy import text

from dicomnode.domain.identifiers import InstanceUid, StudyUid
from dicomnode.domain.incoming_reports import Kept, ReportSource
from dicomnode.steps.refused_reports import list_unreadable, put_aside, retry_refused
from dicomnode.store.database import Database
from dicomnode.store.overview import overview
from dicomnode.store.refused_reports import (
    Ending,
    UnknownRefusal,
    end_refused,
    waiting_refused,
)
from dicomnode.store.report_instances import WaitingSr
from tests.contract.store_scenes import NOON, at
from tests.unit.test_receive_hl7 import message, obx
from tests.unit.test_receive_sr import container
from tests.unit.test_receive_sr import sr as sr_dataset
from tests.unit.test_receive_sr import text as text_item

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

UNREADABLE = message(obx("Secret."), charset="KLINGON")
READABLE = message(obx("Effusion."))


def aside(database: Database, folder: Path, data: bytes, seconds: float = 0) -> None:
    put_aside(database, folder, data, "it is odd", at(seconds))


def retry(database: Database, number: int | None = None) -> list[tuple[str, list[Kept]]]:
    tried = retry_refused(database, ("OBR-18",), lambda: NOON, number)
    return [(one.reason, [each.outcome for each in one.kept]) for one in tried]


def test_a_refused_message_is_listed_once_with_its_reason(
    database: Database, tmp_path: Path
) -> None:
    aside(database, tmp_path, UNREADABLE)
    aside(database, tmp_path, UNREADABLE, 60)
    (one,) = waiting_refused(database, 10)
    assert (one.reason, one.times, one.first_at, one.last_at) == ("it is odd", 2, at(0), at(60))
    assert one.path.read_bytes() == UNREADABLE
    assert one.path.stat().st_mode & 0o077 == 0
    (trouble,) = overview(database, NOON).trouble
    assert (trouble.what, trouble.id) == ("refused report", str(one.id))
    assert "Secret" not in trouble.reason


def test_what_is_tried_again_is_kept_or_stays(database: Database, tmp_path: Path) -> None:
    for data in (UNREADABLE, READABLE):
        aside(database, tmp_path, data)
    kept = [each.path for each in waiting_refused(database, 10)]
    assert retry(database) == [
        ("its character set (MSH-18) is not known", []),
        ("", [Kept.NEW]),
    ]
    (left,) = waiting_refused(database, 10)
    assert [path.exists() for path in kept] == [True, False]
    with pytest.raises(UnknownRefusal):
        retry(database, left.id + 1)
    end_refused(database, left.id, Ending.DISMISSED, NOON)
    assert (waiting_refused(database, 10), left.path.exists()) == ([], True)


def test_a_dismissed_message_that_comes_again_waits_again(
    database: Database, tmp_path: Path
) -> None:
    aside(database, tmp_path, UNREADABLE)
    end_refused(database, waiting_refused(database, 1)[0].id, Ending.DISMISSED, NOON)
    aside(database, tmp_path, UNREADABLE)
    assert len(waiting_refused(database, 10)) == 1


def test_a_message_whose_file_is_gone_says_so(database: Database, tmp_path: Path) -> None:
    aside(database, tmp_path, READABLE)
    waiting_refused(database, 1)[0].path.unlink()
    assert retry(database, 1)[0][0].startswith("its file cannot be read")


def test_a_message_not_read_to_its_end_is_an_event_alone(
    database: Database, tmp_path: Path
) -> None:
    aside(database, tmp_path, b"")
    assert waiting_refused(database, 10) == []
    with database.reading() as connection:
        names = connection.execute(text("SELECT name FROM event")).scalars().all()
    assert names == ["report.unreadable"]


def test_an_sr_that_cannot_be_read_is_listed_and_stays_where_it_is(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"no DICOM")
    sr = WaitingSr(sop_instance_uid=InstanceUid("1.2.3.4"), study_uid=StudyUid("1.2.3"), path=path)
    list_unreadable(database, sr, "it is odd", NOON)
    (one,) = waiting_refused(database, 10)
    assert (one.source, one.reason, one.path) == (ReportSource.SR, "it is odd", path)
    assert retry(database)[0][1] == []
    words = container("Findings", [text_item("Finding", "Small effusion.")])
    sr_dataset([words]).save_as(path, enforce_file_format=True)
    assert retry(database) == [("", [Kept.NEW])]
    assert (waiting_refused(database, 10), path.exists()) == ([], True)
