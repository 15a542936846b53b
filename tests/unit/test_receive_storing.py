"""One association's C-STORE requests without a network: files, rows and answers."""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from dicomnode.domain.errors import StoreUnavailable
from dicomnode.domain.events import EventName
from dicomnode.domain.instances import Association, Landing, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.receive.command import StoreRequest
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.settling import Unsettled
from dicomnode.receive.spool import DiskReserve, Write
from dicomnode.receive.storing import AcceptedContext, StoreSession, Storing
from dicomnode.receive.sweep import sweep
from dicomnode.testing.receiving import EventList, MemoryInstanceIndex
from dicomnode.testing.studies import Clock

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXT = AcceptedContext(abstract_syntax=CT, transfer_syntax="1.2.840.10008.1.2.1")


class FailingIndex(MemoryInstanceIndex):
    """Fails to keep while `is_down`; the transaction was or was not committed before it failed."""

    is_down = False
    commits_first = False
    cannot_close = False

    def close_association(
        self, association_id: str, how: AssociationOutcome, *, at: datetime
    ) -> None:
        if self.cannot_close:
            raise StoreUnavailable("the connection broke")
        super().close_association(association_id, how, at=at)

    def keep(self, batch: Sequence[ReceivedInstance]) -> Sequence[Landing]:
        if not self.is_down:
            return super().keep(batch)
        if self.commits_first:
            super().keep(batch)
        raise StoreUnavailable("the connection broke")


@dataclass
class Scene:
    """A data folder with one association in it."""

    folder: Path
    write: Write = os.write
    free_bytes: Callable[[Path], int] = lambda _folder: 1 << 40
    events: EventList = field(default_factory=EventList)
    clock: Clock = field(default_factory=Clock)
    unsettled: Unsettled = field(default_factory=Unsettled)

    def __post_init__(self) -> None:
        self.index = FailingIndex(self.folder)
        self.site = LandingSite(self.folder, self.index)
        self.site.prepare()
        self.session = self.new_session("a1")

    def new_session(self, association_id: str) -> StoreSession:
        storing = Storing(
            site=self.site,
            reserve=DiskReserve(self.folder, 1 << 20, self.free_bytes),
            clock=self.clock,
            on_event=self.events,
            write=self.write,
            unsettled=self.unsettled,
        )
        return StoreSession(
            storing,
            Association(
                id=association_id,
                calling_ae="CT1",
                called_ae="NODE",
                address="127.0.0.1",
                opened_at=self.clock(),
            ),
        )

    def store(self, uid: str, data: bytes, *, session: StoreSession | None = None) -> int:
        transfer = (session or self.session).begin(request(uid), CONTEXT)
        transfer.write(memoryview(data))
        return transfer.finish().code

    def files(self) -> list[str]:
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )


def request(uid: str, sop_class: str = CT, *, has_data_set: bool = True) -> StoreRequest:
    return StoreRequest(
        message_id=1, sop_class_uid=sop_class, sop_instance_uid=uid, has_data_set=has_data_set
    )


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_success_means_the_file_is_in_its_place_and_the_row_names_it(scene: Scene) -> None:
    assert scene.store("1.2.3", b"data") == 0x0000
    kept = scene.index.instances["1.2.3"]
    assert kept.path == scene.folder / "instances/20240131/a1/1.dcm"
    assert kept.path.read_bytes().endswith(b"data")
    assert (kept.size_bytes, kept.sha256) == (4, sha256(b"data").hexdigest())
    assert scene.files() == ["instances/20240131/a1/1.dcm"]


def test_the_same_bytes_again_are_a_success_and_no_second_file(scene: Scene) -> None:
    scene.store("1.2.3", b"data")
    assert scene.store("1.2.3", b"data") == 0x0000
    assert scene.files() == ["instances/20240131/a1/1.dcm"]
    assert len(scene.events.named(EventName.INSTANCE_DUPLICATE)) == 1


def test_other_bytes_under_a_uid_go_to_quarantine_and_the_first_stays(scene: Scene) -> None:
    scene.store("1.2.3", b"first")
    assert scene.store("1.2.3", b"second") == 0x0000
    assert scene.index.instances["1.2.3"].path.read_bytes().endswith(b"first")
    (quarantined,) = scene.index.quarantine.values()
    assert quarantined.read_bytes().endswith(b"second")
    assert scene.files() == ["instances/20240131/a1/1.dcm", "quarantine/a1-2.dcm"]
    assert len(scene.events.named(EventName.INSTANCE_QUARANTINED)) == 1


def test_the_same_conflict_again_is_kept_once(scene: Scene) -> None:
    for data in (b"first", b"second", b"second"):
        assert scene.store("1.2.3", data) == 0x0000
    assert scene.files() == ["instances/20240131/a1/1.dcm", "quarantine/a1-2.dcm"]


def test_the_same_bytes_replace_a_file_that_was_lost(scene: Scene) -> None:
    scene.store("1.2.3", b"data")
    scene.index.instances["1.2.3"].path.unlink()
    assert scene.store("1.2.3", b"data") == 0x0000
    assert scene.index.instances["1.2.3"].path.read_bytes().endswith(b"data")


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "", "1.2.3/4", "1." * 40, "1.2.3\n", "..", "1.2.\ufffd"]
)
def test_a_uid_that_is_none_is_refused_and_nothing_written(scene: Scene, uid: str) -> None:
    assert scene.store(uid, b"data") == 0x0117
    assert scene.files() == []
    assert scene.index.instances == {}
    (event,) = scene.events.named(EventName.INSTANCE_REFUSED)
    assert event.facts["reason"] == "InvalidUid"
    assert not uid or uid not in str(event)


def test_another_sop_class_than_the_context_is_refused(scene: Scene) -> None:
    transfer = scene.session.begin(request("1.2.3", "1.2.840.10008.5.1.4.1.1.4"), CONTEXT)
    transfer.write(memoryview(b"data"))
    assert transfer.finish().code == 0x0122
    assert scene.files() == []


def test_a_request_without_a_data_set_is_not_understood(scene: Scene) -> None:
    transfer = scene.session.begin(request("1.2.3", has_data_set=False), CONTEXT)
    assert transfer.finish().code == 0xC000


def test_below_the_reserve_the_answer_is_a700_and_nothing_is_written(tmp_path: Path) -> None:
    scene = Scene(tmp_path, free_bytes=lambda _folder: 1000)
    assert scene.store("1.2.3", b"data") == 0xA700
    assert scene.files() == []


def test_a_disk_full_in_the_middle_is_a700_and_leaves_no_part(tmp_path: Path) -> None:
    written = 0

    def write(fd: int, chunk: bytes | memoryview) -> int:
        nonlocal written
        if written > 1000:
            raise OSError(errno.ENOSPC, "full")
        written += len(chunk)
        return os.write(fd, chunk)

    scene = Scene(tmp_path, write=write)
    transfer = scene.session.begin(request("1.2.3"), CONTEXT)
    for _ in range(5):
        transfer.write(memoryview(bytes(500)))
    assert transfer.finish().code == 0xA700
    assert scene.files() == []
    assert scene.index.instances == {}


def test_a_full_disk_is_one_event_however_many_images_are_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path, free_bytes=lambda _folder: 0)
    for number in range(20):
        scene.store(f"1.2.{number}", b"data")
    assert len(scene.events.named(EventName.INSTANCE_REFUSED)) == 1
    scene.session.close(AssociationOutcome.RELEASED)
    (closed,) = scene.events.named(EventName.ASSOCIATION_CLOSED)
    assert closed.facts["refused"] == 20


def test_an_unfinished_data_set_leaves_nothing(scene: Scene) -> None:
    transfer = scene.session.begin(request("1.2.3"), CONTEXT)
    transfer.write(memoryview(b"half"))
    assert scene.files() == ["spool/a1-1.part"]
    transfer.discard()
    assert scene.files() == []


@pytest.mark.parametrize("commits_first", [False, True])
def test_a_failed_commit_is_no_success_and_the_bytes_are_settled_at_the_end(
    scene: Scene, commits_first: bool
) -> None:
    scene.index.is_down, scene.index.commits_first = True, commits_first
    assert scene.store("1.2.3", b"data") == 0xA701
    scene.index.is_down = False
    scene.session.close(AssociationOutcome.RELEASED)
    kept = scene.index.instances["1.2.3"]
    assert kept.path.read_bytes().endswith(b"data")
    assert scene.index.outcomes == {"a1": AssociationOutcome.RELEASED}


def test_a_full_disk_is_told_before_the_index_is_asked(tmp_path: Path) -> None:
    """It may be the index's as well, which would then answer that it is away."""
    scene = Scene(tmp_path, free_bytes=lambda _folder: 0)
    assert scene.store("1.2.3", b"data") == 0xA700
    assert scene.index.associations == {}
    assert scene.files() == []


def test_sent_again_after_a_failed_commit_it_is_kept_once(scene: Scene) -> None:
    scene.index.is_down = True
    scene.store("1.2.3", b"data")
    scene.index.is_down = False
    assert scene.store("1.2.3", b"data") == 0x0000
    scene.session.close(AssociationOutcome.RELEASED)
    assert scene.files() == ["instances/20240131/a1/2.dcm"]
    assert scene.index.instances["1.2.3"].path.exists()


def test_while_the_index_is_down_the_association_stays_open_for_the_next_start(
    scene: Scene,
) -> None:
    scene.store("1.2.1", b"kept")
    scene.index.is_down = True
    scene.store("1.2.3", b"data")
    scene.session.close(AssociationOutcome.RELEASED)
    assert [known.id for known in scene.index.left_open(scene.site.holds)] == ["a1"]
    (closed,) = scene.events.named(EventName.ASSOCIATION_CLOSED)
    assert closed.facts["settled"] is False
    scene.index.is_down = False
    assert sweep(scene.site, scene.clock).rows_rebuilt == 1
    assert scene.index.instances["1.2.3"].sha256 == sha256(b"data").hexdigest()


def test_once_the_index_is_back_what_was_left_open_is_settled_without_a_restart(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, unsettled=Unsettled(again_after_s=0.01))
    scene.index.is_down = True
    scene.store("1.2.3", b"data")
    scene.session.close(AssociationOutcome.RELEASED)
    assert scene.index.outcomes == {}
    scene.index.is_down = False
    assert scene.unsettled.wait_until_none(20)
    assert scene.index.instances["1.2.3"].path.read_bytes().endswith(b"data")
    assert scene.index.outcomes == {"a1": AssociationOutcome.RELEASED}
    assert list(scene.index.left_open(scene.site.holds)) == []


def test_an_end_that_could_not_be_written_down_is_written_later_and_no_other_waits_for_it(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, unsettled=Unsettled(again_after_s=0.01))
    scene.store("1.2.3", b"data")
    # What can never be settled, such as a file on a bad sector.
    scene.unsettled.add(lambda: False)
    tried = threading.Event()

    def note() -> bool:
        tried.set()
        return True

    scene.index.cannot_close = True
    scene.session.close(AssociationOutcome.ABORTED)
    scene.index.cannot_close = False
    scene.unsettled.add(note)
    assert tried.wait(20)
    assert scene.index.outcomes == {"a1": AssociationOutcome.ABORTED}


def test_an_association_that_stores_nothing_has_no_row_and_no_folder(scene: Scene) -> None:
    scene.session.close(AssociationOutcome.RELEASED)
    assert scene.index.associations == {}
    assert list((scene.folder / "instances").iterdir()) == []


def test_sessions_of_many_associations_share_one_folder_tree(scene: Scene) -> None:
    other = scene.new_session("b2")
    scene.store("1.2.3", b"data")
    scene.store("1.2.4", b"data", session=other)
    assert scene.files() == ["instances/20240131/a1/1.dcm", "instances/20240131/b2/1.dcm"]
