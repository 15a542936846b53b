"""A modality asks what is kept of what it sent, and is told after every byte was looked at.

The modality is pynetdicom's own: it asks on one association and is told on another.
"""

import queue
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, MRImageStorage, generate_uid
from pynetdicom import AE, evt

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
)
from dicomnode.receiving import EventWriter, open_receiver
from dicomnode.steps.commitments import GIVE_UP_AFTER, answer_commitments
from dicomnode.steps.node import Node
from dicomnode.store.quotas import mark_images
from dicomnode.testing.sender import associated, encoded
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.acceptance.running_node import eventually, free_port
from tests.contract.store_scenes import NOON
from tests.unit.steps_node import column, event_names, open_test_node, real_time, tick

pytestmark = pytest.mark.timeout(120)

CT, MR = str(CTImageStorage), str(MRImageStorage)
IMAGES = ct_series(StudyIdentity(seed="commitment"), SeriesGeometry(rows=8, columns=8, slices=3))
UIDS = [str(ds.SOPInstanceUID) for ds in IMAGES]


class Modality:
    """Asks by N-ACTION, and is told by N-EVENT-REPORT on a port of its own."""

    def __init__(self, node_port: int, port: int) -> None:
        self._node_port = node_port
        self._port = port
        self.told: queue.Queue[tuple[int, Dataset]] = queue.Queue()
        self.answers = 0x0000

    @contextmanager
    def listening(self) -> Iterator[None]:
        ae = AE(ae_title="MODALITY")
        ae.add_supported_context(STORAGE_COMMITMENT_PUSH, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._take)]
        ae.start_server(("127.0.0.1", self._port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            ae.shutdown()

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.told.put((int(event.event_type or 0), event.event_information))
        return self.answers, None

    def ask(
        self,
        instances: Sequence[tuple[str, str]],
        *,
        ae_title: str = "MODALITY",
        transaction_uid: str = "",
        action: int = 1,
    ) -> int:
        """The status of the answer to N-ACTION."""
        information = Dataset()
        information.TransactionUID = transaction_uid or generate_uid()
        information.ReferencedSOPSequence = []
        for sop_class, uid in instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            information.ReferencedSOPSequence.append(item)
        ae = AE(ae_title=ae_title)
        ae.add_requested_context(STORAGE_COMMITMENT_PUSH)
        assoc = ae.associate("127.0.0.1", self._node_port, ae_title="DICOMNODE")
        assert assoc.is_established
        status, _ = assoc.send_n_action(
            information,
            action,
            UID(STORAGE_COMMITMENT_PUSH),
            UID(STORAGE_COMMITMENT_PUSH_INSTANCE),
        )
        assoc.release()
        return int(status.Status)

    def report(self) -> tuple[int, list[str], dict[str, int]]:
        """(event type, committed, failed with reason) of the only report."""
        event_type, information = self.told.get(timeout=20)
        assert self.told.empty()
        committed = information.get("ReferencedSOPSequence") or []
        failed = information.get("FailedSOPSequence") or []
        return (
            event_type,
            [str(item.ReferencedSOPInstanceUID) for item in committed],
            {str(item.ReferencedSOPInstanceUID): int(item.FailureReason) for item in failed},
        )


@contextmanager
def receiving(folder: Path) -> Iterator[tuple[Node, Modality]]:
    port, told_at = free_port(), free_port()
    asker = {"ae_title": "MODALITY", "host": "127.0.0.1", "port": told_at}
    node = open_test_node(
        folder, {"receive": {"port": port, "reserve_mb": 1, "commitment": [asker]}}
    )
    real_time(node)
    events = EventWriter(node.database)
    with open_receiver(node.settings, node.database, events):
        with associated(port, CT) as sender:
            for ds in IMAGES:
                answer = sender.store(str(ds.SOPInstanceUID), encoded(ds), sop_class=CT)
                assert answer == 0
            assert sender.release()
        real_time(node)
        yield node, Modality(port, told_at)
    events.close()
    node.database.dispose()


def asked(modality: Modality, *uids: str, sop_class: str = CT, **options: Any) -> int:
    return modality.ask([(sop_class, uid) for uid in uids], **options)


def answer_now(node: Node) -> None:
    real_time(node)
    assert not answer_commitments(node)


def file_of(node: Node, uid: str) -> Path:
    paths = dict(
        zip(
            column(node.database, "instance", "sop_instance_uid"),
            column(node.database, "instance", "path"),
            strict=True,
        )
    )
    return node.database.absolute(paths[uid])


def test_what_is_kept_whole_is_committed(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality), modality.listening():
        assert asked(modality, *UIDS) == 0x0000
        answer_now(node)
        assert modality.report() == (1, UIDS, {})
        assert column(node.database, "commitment_request", "state") == ["reported"]
        answer_now(node)
        assert modality.told.empty(), "it is told once"
        assert {"commitment.asked", "commitment.reported"} <= set(event_names(node.database))


def test_each_fault_has_its_reason_and_the_rest_is_committed(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality), modality.listening():
        changed = file_of(node, UIDS[1])
        whole = changed.read_bytes()
        changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        file_of(node, UIDS[2]).unlink()
        assert asked(modality, UIDS[0], UIDS[1], UIDS[2], "1.2.3.4") == 0x0000
        answer_now(node)
        expected = {UIDS[1]: 0x0110, UIDS[2]: 0x0110, "1.2.3.4": 0x0112}
        assert modality.report() == (2, [UIDS[0]], expected)
        assert asked(modality, UIDS[0], sop_class=MR) == 0x0000
        answer_now(node)
        assert modality.report() == (2, [], {UIDS[0]: 0x0119})


def test_other_bytes_under_the_same_uid_are_not_answered_for(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality), modality.listening():
        other = IMAGES[0].copy()
        other.InstanceNumber = 99
        with associated(node.settings.receive.port, CT) as sender:
            assert sender.store(UIDS[0], encoded(other), sop_class=CT) == 0
            assert sender.release()
        assert asked(modality, *UIDS) == 0x0000
        answer_now(node)
        assert modality.report() == (2, UIDS[1:], {UIDS[0]: 0x0110})


def test_images_that_went_by_a_quota_are_no_longer_answered_for(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality), modality.listening():
        with node.database.writing() as connection:
            connection.exec_driver_sql("UPDATE instance SET state = 'removed'")
        assert mark_images(node.database, IMAGES[0].StudyInstanceUID, "x", node.clock()) == 0
        assert asked(modality, UIDS[0]) == 0x0000
        answer_now(node)
        assert modality.report() == (2, [], {UIDS[0]: 0x0112})


def test_a_modality_that_is_not_there_is_told_later_and_given_up_in_the_end(
    tmp_path: Path,
) -> None:
    with receiving(tmp_path) as (node, modality):
        assert asked(modality, *UIDS) == 0x0000
        answer_now(node)
        assert column(node.database, "commitment_request", "attempt") == [1]
        assert "refused" in column(node.database, "commitment_request", "reason")[0]
        answer_now(node)
        assert column(node.database, "commitment_request", "attempt") == [1], "not before its time"
        with modality.listening():
            modality.answers = 0x0110
            later(node, 10)
            assert modality.report() == (1, UIDS, {})
            assert column(node.database, "commitment_request", "state") == ["waiting"]
            modality.answers = 0x0000
            later(node, 60)
            assert modality.report() == (1, UIDS, {})
        assert column(node.database, "commitment_request", "state") == ["reported"]
        assert asked(modality, UIDS[0]) == 0x0000
        later(node, GIVE_UP_AFTER.total_seconds() + 100)
        assert column(node.database, "commitment_request", "state")[1] == "given-up"
        assert "commitment.given-up" in event_names(node.database)


def later(node: Node, seconds: float) -> None:
    """Let the clock stand that much later, and tell whoever is due."""
    real_time(node)
    moment = node.clock().timestamp() + seconds
    tick(node, moment - NOON.timestamp())
    answer_commitments(node)


def test_asking_again_under_the_same_transaction_is_answered_again(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality), modality.listening():
        for _ in range(2):
            assert asked(modality, *UIDS, transaction_uid="1.2.840.1") == 0x0000
            answer_now(node)
            assert modality.report() == (1, UIDS, {})
        assert column(node.database, "commitment_request", "state") == ["reported"]


def test_who_has_no_address_and_what_is_no_request_is_refused(tmp_path: Path) -> None:
    with receiving(tmp_path) as (node, modality):
        assert asked(modality, *UIDS, ae_title="STRANGER") == 0x0124
        assert asked(modality, *UIDS, action=2) == 0x0123
        assert asked(modality) == 0x0115
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert asked(modality, "1.2..3") == 0x0115
            assert asked(modality, *UIDS, transaction_uid="../x") == 0x0115
        assert column(node.database, "commitment_request", "state") == []
        eventually(lambda: asked(modality, InstanceUid(UIDS[0])) == 0x0000, what="it still works")
