"""What the receiver is promised by its index: in memory, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Association, Landing, ReceivedInstance, Service
from dicomnode.domain.receiving import (
    STOW_SPOOL,
    AssociationOutcome,
    association_folder,
    quarantine_path,
)
from dicomnode.receive.index import InstanceIndex
from dicomnode.receive.landing import LandingSite
from dicomnode.receive.sweep import sweep
from dicomnode.store.database import Database
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.testing.receiving import MemoryInstanceIndex

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def sql_index(database: Database) -> InstanceIndex:
    return SqlInstanceIndex(database, receiver="NODE@here")


@pytest.fixture
def memory_index(tmp_path: Path) -> InstanceIndex:
    return MemoryInstanceIndex(tmp_path)


def association(id_: str = "a1") -> Association:
    return Association(
        id=id_, calling_ae="CT1", called_ae="NODE", address="10.0.0.1", opened_at=NOON
    )


def instance(
    folder: Path, number: int, uid: str = "1.2.3", digest: str = "a", *, by: str = "a1"
) -> ReceivedInstance:
    """An instance whose file is in its place."""
    path = association_folder(folder, association(by)) / f"{number}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(digest.encode())
    return ReceivedInstance(
        sop_instance_uid=InstanceUid(uid),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path=path,
        size_bytes=1,
        sha256=digest * 64,
        association_id=by,
        received_at=NOON,
    )


def nowhere(_association: Association) -> bool:
    """Whether its files are here: no."""
    return False


class IndexContract:
    """The promises. `index` comes from a subclass."""

    @pytest.fixture(autouse=True)
    def _open(self, index: InstanceIndex, tmp_path: Path) -> None:
        self.rows, self.folder = index, tmp_path
        index.open_association(association())

    def test_a_new_instance_is_kept(self) -> None:
        first = instance(self.folder, 1)
        assert list(self.rows.keep([first])) == [Landing.KEPT]
        assert self.rows.kept_paths("a1") == {first.path}

    def test_asked_again_for_the_same_file_the_answer_is_the_same(self) -> None:
        first = instance(self.folder, 1)
        assert [list(self.rows.keep([first])) for _ in range(2)] == [[Landing.KEPT]] * 2

    def test_the_same_bytes_are_a_duplicate(self) -> None:
        self.rows.keep([instance(self.folder, 1)])
        assert list(self.rows.keep([instance(self.folder, 2)])) == [Landing.DUPLICATE]
        assert len(self.rows.kept_paths("a1")) == 1

    def test_other_bytes_are_a_conflict_also_when_asked_again(self) -> None:
        self.rows.keep([instance(self.folder, 1)])
        second = instance(self.folder, 2, digest="b")
        assert list(self.rows.keep([second])) == [Landing.CONFLICT]
        assert list(self.rows.keep([second])) == [Landing.CONFLICT]

    def test_a_conflict_that_lies_in_quarantine_is_a_duplicate_the_next_time(self) -> None:
        self.rows.keep([instance(self.folder, 1)])
        second = instance(self.folder, 2, digest="b")
        self.rows.keep([second])
        target = quarantine_path(self.folder, second.path)
        target.parent.mkdir()
        second.path.rename(target)
        third = instance(self.folder, 3, digest="b")
        assert list(self.rows.keep([third])) == [Landing.DUPLICATE]

    def test_a_conflict_whose_file_is_gone_is_taken_again(self) -> None:
        self.rows.keep([instance(self.folder, 1)])
        second = instance(self.folder, 2, digest="b")
        self.rows.keep([second])
        third = instance(self.folder, 3, digest="b")
        assert list(self.rows.keep([third])) == [Landing.CONFLICT]
        assert list(self.rows.keep([third])) == [Landing.CONFLICT]

    def test_uids_reused_within_a_batch_are_judged_in_order(self) -> None:
        batch = [
            instance(self.folder, 1),
            instance(self.folder, 2),
            instance(self.folder, 3, digest="b"),
            instance(self.folder, 4, uid="1.2.4"),
        ]
        assert list(self.rows.keep(batch)) == [
            Landing.KEPT,
            Landing.DUPLICATE,
            Landing.CONFLICT,
            Landing.KEPT,
        ]

    def test_the_same_bytes_replace_a_file_that_is_gone(self) -> None:
        first = instance(self.folder, 1)
        self.rows.keep([first])
        first.path.unlink()
        again = instance(self.folder, 2)
        assert list(self.rows.keep([again])) == [Landing.KEPT]
        assert self.rows.kept_paths("a1") == {again.path}

    def test_an_association_is_left_open_until_it_is_closed(self) -> None:
        self.rows.open_association(association("b2"))
        assert sorted(known.id for known in self.rows.left_open(nowhere)) == ["a1", "b2"]
        self.rows.close_association("a1", AssociationOutcome.RELEASED, at=NOON)
        assert list(self.rows.left_open(nowhere)) == [association("b2")]

    def test_opening_and_closing_twice_does_no_harm(self) -> None:
        self.rows.open_association(association())
        for how in (AssociationOutcome.RELEASED, AssociationOutcome.LOST):
            self.rows.close_association("a1", how, at=NOON)
        assert list(self.rows.left_open(nowhere)) == []

    def test_of_many_at_once_under_one_uid_exactly_one_is_kept(self) -> None:
        for number in range(8):
            self.rows.open_association(association(f"p{number}"))
        rivals = [
            replace(instance(self.folder, 1, by=f"p{number}"), sha256=f"{number}" * 64)
            for number in range(8)
        ]
        with ThreadPoolExecutor(8) as pool:
            landings = [
                landing for (landing,) in pool.map(lambda one: self.rows.keep([one]), rivals)
            ]
        assert sorted(landing.value for landing in landings) == ["conflict"] * 7 + ["kept"]


class TestMemory(IndexContract):
    @pytest.fixture
    def index(self, memory_index: InstanceIndex) -> InstanceIndex:
        return memory_index


class TestSql(IndexContract):
    @pytest.fixture
    def index(self, sql_index: InstanceIndex) -> InstanceIndex:
        return sql_index

    def test_another_receivers_associations_are_not_ours_to_repair(
        self, database: Database
    ) -> None:
        other = SqlInstanceIndex(database, receiver="NODE@elsewhere")
        assert list(other.left_open(nowhere)) == []

    def test_under_another_name_a_receiver_finds_what_it_left_open_by_its_files(
        self, database: Database, tmp_path: Path
    ) -> None:
        stow = replace(association("s1"), service=Service.STOW)
        for known in (association("b2"), association("c3"), stow):
            self.rows.open_association(known)
        # What it left: b2 and, by STOW, s1. Another receiver of this database has a1 and c3.
        for known in (association("b2"), stow):
            association_folder(tmp_path, known).mkdir(parents=True)
        renamed = SqlInstanceIndex(database, receiver="RENAMED@here")
        site = LandingSite(tmp_path, renamed)
        site.prepare()

        assert sweep(site, lambda: NOON).associations_closed == 1
        assert [known.id for known in self.rows.left_open(nowhere)] == ["a1", "c3", "s1"]

        desk = LandingSite(tmp_path, renamed, spool=STOW_SPOOL, service=Service.STOW)
        desk.prepare()
        assert sweep(desk, lambda: NOON).associations_closed == 1
        assert [known.id for known in self.rows.left_open(nowhere)] == ["a1", "c3"]
