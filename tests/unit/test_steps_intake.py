"""From bytes on disk to closed revisions: indexed, or quarantined, and closed on evidence."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Association, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.domain.studies import ClosingReason
from dicomnode.steps.intake import BATCH, ask_counts, close_ready, index_landed
from dicomnode.steps.matching import match_revision
from dicomnode.steps.node import Node
from dicomnode.steps.patience import Patience
from dicomnode.store.closing import open_studies, snapshot
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.acceptance.running_node import free_port
from tests.contract.store_scenes import at
from tests.unit.steps_node import RULES, column, event_names, open_test_node, tick

ASSEMBLY = {"quiet_s": 30.0, "released_s": 3.0, "hard_limit_s": 600.0}


def images(seed: str = "a", *, slices: int = 3, series: str = "1") -> list[Dataset]:
    geometry = SeriesGeometry(rows=8, columns=8, slices=slices)
    return ct_series(StudyIdentity(seed=seed), geometry, series=series)


def land(
    node: Node,
    datasets: Sequence[Dataset],
    *,
    association: str = "a1",
    release: bool = True,
    seconds: float = 0.0,
) -> list[Path]:
    """Files and rows as the receiver leaves them."""
    index = SqlInstanceIndex(node.database, receiver="DICOMNODE@test")
    made = Association(
        id=association,
        calling_ae="CT1",
        called_ae="DICOMNODE",
        address="127.0.0.1",
        opened_at=at(seconds),
    )
    index.open_association(made)
    folder = association_folder(node.settings.data_dir, made)
    folder.mkdir(parents=True, exist_ok=True)
    batch = []
    for number, ds in enumerate(datasets):
        path = folder / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        batch.append(
            ReceivedInstance(
                sop_instance_uid=InstanceUid(str(ds.SOPInstanceUID)),
                sop_class_uid=str(ds.SOPClassUID),
                transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
                path=path,
                size_bytes=path.stat().st_size,
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                association_id=association,
                received_at=at(seconds),
            )
        )
    index.keep(batch)
    if release:
        index.close_association(association, AssociationOutcome.RELEASED, at=at(seconds))
    return [one.path for one in batch]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    opened = open_test_node(tmp_path, {"assembly": ASSEMBLY}, seconds=1.0)
    yield opened
    opened.database.dispose()


class TestIndexing:
    def test_landed_instances_find_their_study(self, node: Node) -> None:
        land(node, images())
        assert index_landed(node) == 3
        assert index_landed(node) == 0
        (study,) = open_studies(node.database)
        assert study.study_uid == StudyIdentity(seed="a").study_uid
        assert study.evidence.new_instances == 3
        assert study.calling_aes == {"CT1"}

    def test_a_large_study_is_indexed_batch_by_batch(self, node: Node) -> None:
        land(node, images(slices=BATCH + 5))
        assert index_landed(node) == BATCH
        assert index_landed(node) == 5
        (study,) = open_studies(node.database)
        assert study.evidence.received_instances == BATCH + 5

    def test_an_unreadable_file_is_quarantined_and_the_rest_goes_on(self, node: Node) -> None:
        paths = land(node, images())
        paths[1].write_bytes(paths[1].read_bytes()[:400])
        assert index_landed(node) == 3
        assert column(node.database, "quarantine", "kind") == ["unreadable"]
        assert column(node.database, "instance", "state").count("indexed") == 2
        assert event_names(node.database) == ["instance.quarantined"]
        assert paths[1].exists()

    def test_a_file_that_vanished_is_quarantined_and_holds_up_nobody(self, node: Node) -> None:
        paths = land(node, images())
        paths[1].unlink()
        assert index_landed(node) == 3
        assert column(node.database, "quarantine", "kind") == ["unreadable"]

    def test_what_the_disk_does_not_give_waits_and_holds_up_nobody(self, node: Node) -> None:
        first, *others = land(node, images())
        patience = Patience()
        first.rename(first.with_suffix(".kept"))
        # A loop of links, which no root can read: the system's errno is neither of the two above.
        loop = first.with_suffix(".loop")
        loop.mkdir()
        first.symlink_to("/proc/self/mem")
        assert index_landed(node, patience) == 3
        assert column(node.database, "instance", "state") == ["landed", "indexed", "indexed"]
        assert event_names(node.database) == ["disk.fault"]
        assert index_landed(node, patience) == 0
        tick(node, 10)
        assert index_landed(node, patience) == 1
        assert event_names(node.database) == ["disk.fault"], "told once"
        first.unlink()
        first.with_suffix(".kept").rename(first)
        tick(node, 30)
        assert index_landed(node, patience) == 1
        assert column(node.database, "instance", "state") == ["indexed"] * 3
        assert len(others) == 2

    def test_an_instance_announced_under_another_uid_is_quarantined(self, node: Node) -> None:
        paths = land(node, images())
        ds = dcmread(paths[0])
        ds.SOPInstanceUID = UID("1.2.3.4")
        ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
        ds.save_as(paths[0], enforce_file_format=True)
        index_landed(node)
        (reason,) = column(node.database, "quarantine", "reason")
        assert reason == "the data set's SOPInstanceUID is not the one it was announced under"


class TestClosing:
    def test_a_study_with_all_a_rule_requires_closes_soon_after_its_release(
        self, node: Node
    ) -> None:
        land(node, images())
        index_landed(node)
        tick(node, 2.9)
        assert close_ready(node) == ()
        tick(node, 3.1)
        (revision,) = close_ready(node)
        closed = snapshot(node.database, revision)
        assert closed.reason is ClosingReason.COMPLETE
        assert closed.evidence.required_series_present is True
        assert close_ready(node) == ()

    def test_a_study_no_rule_speaks_of_waits_for_quiet(self, tmp_path: Path) -> None:
        rules = RULES.replace('"CT"', '"MR"')
        node = open_test_node(tmp_path, {"assembly": ASSEMBLY}, rules=rules)
        land(node, images())
        index_landed(node)
        tick(node, 29)
        assert close_ready(node) == ()
        tick(node, 31)
        (revision,) = close_ready(node)
        assert snapshot(node.database, revision).reason is ClosingReason.QUIET

    def test_an_open_association_keeps_a_study_open_until_the_hard_limit(self, node: Node) -> None:
        land(node, images(), release=False)
        index_landed(node)
        tick(node, 599)
        assert close_ready(node) == ()
        tick(node, 601)
        (revision,) = close_ready(node)
        assert snapshot(node.database, revision).reason is ClosingReason.HARD_LIMIT

    def test_a_late_image_opens_the_next_revision(self, node: Node) -> None:
        *first, late = images()
        land(node, first)
        index_landed(node)
        tick(node, 5)
        (before,) = close_ready(node)
        land(node, [late], association="a2", seconds=100.0)
        index_landed(node)
        tick(node, 105)
        (after,) = close_ready(node)
        assert snapshot(node.database, before).revision == 1
        assert snapshot(node.database, after).revision == 2
        assert snapshot(node.database, after).evidence.received_instances == 3

    def test_rules_of_scope_series_close_each_series_alone(self, tmp_path: Path) -> None:
        rules = RULES.replace("[rule.series", 'scope = "series"\n[rule.series')
        node = open_test_node(tmp_path, {"assembly": ASSEMBLY}, rules=rules, seconds=1.0)
        land(node, images(series="1"), seconds=0.0)
        land(node, images(series="2"), association="a2", release=False, seconds=2.0)
        index_landed(node)
        SqlInstanceIndex(node.database, receiver="DICOMNODE@test").close_association(
            "a2", AssociationOutcome.RELEASED, at=at(3)
        )
        tick(node, 3.5)
        closed = [snapshot(node.database, revision) for revision in close_ready(node)]
        assert [len(one.series) for one in closed] == [1]
        assert closed[0].series_uid is not None


class TestMatching:
    def test_matching_twice_makes_one_job_for_every_destination(self, tmp_path: Path) -> None:
        known = {"name": "pacs", "ae_title": "A", "host": "127.0.0.1", "port": 104}
        settings = {"assembly": ASSEMBLY, "destinations": [known]}
        node = open_test_node(tmp_path, settings, seconds=1.0)
        land(node, images())
        index_landed(node)
        tick(node, 5)
        (revision,) = close_ready(node)
        first = match_revision(node, revision)
        assert match_revision(node, revision) == first
        assert len(first) == 1
        assert column(node.database, "job", "destinations") == ['["pacs"]']
        assert event_names(node.database).count("job.queued") == 1

    def test_a_study_no_rule_matches_makes_no_job_and_says_why(self, tmp_path: Path) -> None:
        node = open_test_node(tmp_path, {"assembly": ASSEMBLY}, rules=RULES.replace('"CT"', '"MR"'))
        land(node, images())
        index_landed(node)
        tick(node, 31)
        (revision,) = close_ready(node)
        assert match_revision(node, revision) == ()
        (verdicts,) = column(node.database, "revision", "verdicts")
        assert "lungs on chest CT" in verdicts


class TestCounts:
    @pytest.fixture
    def sender(self, tmp_path: Path) -> Iterator[EmbeddedPacs]:
        """The archive that routes studies to the node."""
        with EmbeddedPacs(tmp_path / "sender", ae_title="PACS") as pacs:
            yield pacs

    def asking(self, folder: Path, port: int, *, calling_ae: str = "CT1") -> Node:
        query = {"calling_ae": calling_ae, "ae_title": "PACS", "host": "127.0.0.1", "port": port}
        settings = {"assembly": {**ASSEMBLY, "count_queries": [query]}}
        return open_test_node(folder, settings, seconds=1.0)

    def hold(self, sender: EmbeddedPacs, datasets: Sequence[Dataset], folder: Path) -> None:
        """Have the archive keep these images itself."""
        paths = []
        for number, ds in enumerate(datasets):
            paths.append(folder / f"held-{number}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        sender.send_study(paths, host="127.0.0.1", port=sender.port, called_ae="PACS")

    def test_a_count_that_agrees_closes_the_study(
        self, sender: EmbeddedPacs, tmp_path: Path
    ) -> None:
        self.hold(sender, images(), tmp_path)
        node = self.asking(tmp_path, sender.port)
        land(node, images())
        index_landed(node)
        tick(node, 3.1)
        assert ask_counts(node) == 1
        (revision,) = close_ready(node)
        closed = snapshot(node.database, revision)
        assert closed.reason is ClosingReason.COUNT_AGREED
        assert closed.evidence.expected_instances == 3

    def test_a_higher_count_keeps_the_study_open_beyond_quiet(
        self, sender: EmbeddedPacs, tmp_path: Path
    ) -> None:
        self.hold(sender, images(), tmp_path)
        node = self.asking(tmp_path, sender.port)
        land(node, images()[:2])
        index_landed(node)
        tick(node, 31)
        ask_counts(node)
        assert close_ready(node) == ()

    def test_a_sender_is_asked_after_each_lull_and_then_once_a_minute(
        self, sender: EmbeddedPacs, tmp_path: Path
    ) -> None:
        self.hold(sender, images(), tmp_path)
        node = self.asking(tmp_path, sender.port)
        land(node, images()[:1])
        index_landed(node)
        asked = []
        for seconds in (2.0, 3.5, 10.0, 63.0, 64.0):
            tick(node, seconds)
            asked.append(ask_counts(node))
        assert asked == [0, 1, 0, 0, 1]
        land(node, images()[1:2], association="a2", seconds=70.0)
        index_landed(node)
        tick(node, 74)
        assert ask_counts(node) == 1

    @pytest.mark.parametrize("fault", ["down", "refuses", "does not count"])
    def test_a_sender_that_does_not_say_holds_up_nothing(
        self, fault: str, sender: EmbeddedPacs, tmp_path: Path
    ) -> None:
        self.hold(sender, images(), tmp_path)
        sender.misbehaviour = Misbehaviour(
            find_status=0xA900 if fault == "refuses" else None,
            omit_counts=fault == "does not count",
        )
        port = free_port() if fault == "down" else sender.port
        node = self.asking(tmp_path, port)
        land(node, images())
        index_landed(node)
        tick(node, 3.1)
        assert ask_counts(node) == 1
        (revision,) = close_ready(node)
        assert snapshot(node.database, revision).reason is ClosingReason.COMPLETE

    def test_only_senders_that_are_named_are_asked(
        self, sender: EmbeddedPacs, tmp_path: Path
    ) -> None:
        node = self.asking(tmp_path, sender.port, calling_ae="OTHER")
        land(node, images())
        index_landed(node)
        tick(node, 10)
        assert ask_counts(node) == 0
