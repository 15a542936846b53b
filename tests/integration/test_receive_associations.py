"""The receiver on real associations: pynetdicom, DCMTK and a raw socket as senders."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from dicomnode.domain.events import EventName
from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.receive.errors import FolderInUse
from dicomnode.receive.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.settings import AllowedPeer, ReceiveSettings
from dicomnode.testing.sender import (
    ABORT,
    ASSOCIATE_RJ,
    RawSender,
    associated,
    encoded,
    p_data,
    store_command,
)
from dicomnode.testing.studies import StudyIdentity, ct_series
from tests.integration.receiver_scenes import Node, running, until

STORESCU, ECHOSCU = Path("/usr/bin/storescu"), Path("/usr/bin/echoscu")
CT = str(CTImageStorage)


@pytest.fixture
def dcmtk() -> None:
    if not STORESCU.exists():
        pytest.skip(f"{STORESCU} (DCMTK) is not installed")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "data") as one:
        yield one


@pytest.fixture(scope="module")
def slices() -> list[Dataset]:
    return ct_series(StudyIdentity(seed="receive"))


def as_sent(ds: Dataset) -> bytes:
    return encoded(ds)


def park(association: Association) -> None:
    """Make sure that the sender's own loop has stopped before a message is sent.

    pynetdicom 3.0.4 believes it stopped when it is only about to, and then its loop takes the
    answer of a fast peer, which is never seen again.
    """
    association._reactor_checkpoint.clear()
    until(lambda: association._reactor_checkpoint._cond._waiters)  # type: ignore[attr-defined]


def test_echo_is_answered(node: Node, dcmtk: None) -> None:
    assert subprocess.run([ECHOSCU, "127.0.0.1", str(node.port)], check=False).returncode == 0


def test_a_series_from_dcmtk_is_kept_byte_for_byte(
    node: Node, dcmtk: None, tmp_path: Path, slices: list[Dataset]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for number, ds in enumerate(slices):
        ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    sent = subprocess.run(
        [STORESCU, "+sd", "127.0.0.1", str(node.port), folder], check=False, capture_output=True
    )
    assert sent.returncode == 0, sent.stderr
    assert set(node.index.instances) == {ds.SOPInstanceUID for ds in slices}
    for ds in slices:
        kept = node.index.instances[ds.SOPInstanceUID]
        assert kept.path.read_bytes().endswith(as_sent(ds))
        assert kept.sha256 == sha256(as_sent(ds)).hexdigest()
    assert node.outcome() == "released"


def test_a_series_from_pynetdicom_is_kept(node: Node, slices: list[Dataset]) -> None:
    ae = AE("MODALITY")
    ae.add_requested_context(CT, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.port)
    for ds in slices:
        park(association)
        assert association.send_c_store(ds).Status == 0
    association.release()
    assert node.outcome() == "released"
    assert node.index.outcomes.popitem()[1] is AssociationOutcome.RELEASED
    assert node.files() == ["instances"] * len(slices)


def test_the_negotiation_names_us_and_our_longest_pdu(tmp_path: Path) -> None:
    with running(tmp_path, ReceiveSettings(max_pdu=65536, reserve_mb=0)) as node:
        ae = AE()
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", node.port)
        assert association.acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID
        assert association.acceptor.implementation_version_name == IMPLEMENTATION_VERSION_NAME
        assert association.acceptor.maximum_length == 65536
        association.release()


def test_fifty_associations_at_once_lose_nothing(node: Node, slices: list[Dataset]) -> None:
    names = [f"1.2.{sender}.{image}" for sender in range(50) for image in range(4)]

    def send(sender: int) -> list[int]:
        with associated(node.port, CT) as raw:
            statuses = [
                raw.store(f"1.2.{sender}.{image}", f"{sender} {image}".encode(), sop_class=CT)
                for image in range(4)
            ]
            assert raw.release()
        return statuses

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(send, range(50))) == [[0] * 4] * 50
    assert set(node.index.instances) == set(names)
    for uid, kept in node.index.instances.items():
        _, _, sender, image = uid.split(".")
        assert kept.path.read_bytes().endswith(f"{sender} {image}".encode())
    node.events.wait_for(EventName.ASSOCIATION_CLOSED, 50)
    assert max(node.index.batch_sizes) <= 50


def test_one_more_than_the_limit_is_told_to_come_again(tmp_path: Path) -> None:
    with running(tmp_path, ReceiveSettings(max_associations=2, reserve_mb=0)) as node:
        with associated(node.port, CT), associated(node.port, CT), RawSender(node.port) as third:
            answer = third.associate([(CT, [ExplicitVRLittleEndian])])
            assert (answer[0], list(answer[7:10])) == (ASSOCIATE_RJ, [2, 3, 2])
        node.events.wait_for(EventName.ASSOCIATION_CLOSED, 2)
        with associated(node.port, CT) as again:
            assert again.release()


def test_a_sender_that_is_not_listed_is_rejected_and_logged(tmp_path: Path) -> None:
    allow = (AllowedPeer(calling_ae="CT1"),)
    with running(tmp_path, ReceiveSettings(allow=allow, reserve_mb=0)) as node:
        with RawSender(node.port) as stranger:
            answer = stranger.associate([(CT, [ExplicitVRLittleEndian])], calling_ae="CT2")
            assert (answer[0], list(answer[7:10])) == (ASSOCIATE_RJ, [1, 1, 3])
        with RawSender(node.port) as wrong:
            answer = wrong.associate(
                [(CT, [ExplicitVRLittleEndian])], calling_ae="CT1", called_ae="OTHER"
            )
            assert (answer[0], list(answer[7:10])) == (ASSOCIATE_RJ, [1, 1, 7])
        with RawSender(node.port) as listed:
            listed.associate([(CT, [ExplicitVRLittleEndian])], calling_ae="CT1")
            assert listed.accepted == {1: 0}
        assert len(node.events.named(EventName.ASSOCIATION_REJECTED)) == 2


def test_refused_contexts_are_logged_by_name(node: Node) -> None:
    print_management, private = "1.2.840.10008.5.1.1.9", "1.2.276.0.7230010.9.9"
    with RawSender(node.port) as sender:
        implicit = ["1.2.840.10008.1.2"]
        sender.associate([(CT, implicit), (print_management, implicit), (private, implicit)])
        assert sender.accepted == {1: 0, 3: 3, 5: 3}
        sender.release()
    (event,) = node.events.wait_for(EventName.CONTEXT_REFUSED)
    names = str(event.facts["abstract_syntaxes"])
    assert names == f"{private}; Basic Grayscale Print Management Meta SOP Class"


def test_a_private_class_of_the_settings_is_taken(tmp_path: Path) -> None:
    private = "1.2.276.0.7230010.9.9"
    with running(tmp_path, ReceiveSettings(private_sop_classes=(private,), reserve_mb=0)) as node:
        with associated(node.port, private) as sender:
            assert sender.store("1.2.3", b"data", sop_class=private) == 0
        assert node.index.instances["1.2.3"].sop_class_uid == private


def test_a_uid_that_climbs_is_refused_and_the_association_goes_on(node: Node) -> None:
    with associated(node.port, CT) as sender:
        assert sender.store("../../etc/cron.d/x", b"data", sop_class=CT) == 0x0117
        assert sender.store("1.2.3", b"data", sop_class=CT) == 0
        assert sender.release()
    assert node.files() == ["instances"]


def test_duplicates_and_conflicts_are_successes(node: Node) -> None:
    with associated(node.port, CT) as sender:
        for data in (b"one!", b"one!", b"two!"):
            assert sender.store("1.2.3", data, sop_class=CT) == 0
        sender.release()
    node.outcome()
    assert node.files() == ["instances", "quarantine"]


def test_another_rooms_service_is_answered_on_the_same_port(tmp_path: Path) -> None:
    heard: list[str] = []

    def answer(event: evt.Event) -> tuple[int, None]:
        heard.append(event.event_information.TransactionUID)
        return 0x0000, None

    context = build_context(StorageCommitmentPushModel)
    context.scu_role, context.scp_role = False, True
    handlers = [(evt.EVT_N_EVENT_REPORT, answer)]
    with running(tmp_path, extra_contexts=[context], extra_handlers=handlers) as node:
        ae = AE("PACS")
        ae.add_requested_context(StorageCommitmentPushModel)
        # The peer, which asks for the association, is the SCP (PS3.4 J.3.3).
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate("127.0.0.1", node.port, ext_neg=[role])
        report = Dataset()
        report.TransactionUID = "1.2.3.4"
        report.ReferencedSOPSequence = []
        park(association)
        status, _ = association.send_n_event_report(
            report, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        association.release()
    assert (status.Status, heard) == (0x0000, ["1.2.3.4"])


def test_a_store_in_a_context_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        with RawSender(node.port) as sender:
            sender.associate([(str(Verification), ["1.2.840.10008.1.2"])])
            assert sender.store("1.2.3", b"data", sop_class=str(Verification)) == 0x0122
        assert node.files() == []


def test_a_store_in_a_context_that_was_not_accepted_is_aborted(node: Node) -> None:
    with associated(node.port, CT) as sender:
        sender.send(p_data(7, 0x03, b""))
        sender.send(p_data(1, 0x02, b"data"))
        assert sender.receive_pdu()[:1] == bytes([ABORT])
    assert node.outcome() == "aborted"


def test_stopping_takes_the_image_in_hand_and_answers_it(tmp_path: Path) -> None:
    with running(tmp_path) as node, associated(node.port, CT) as sender:
        sender.send(p_data(1, 0x03, store_command("1.2.3", CT)))
        sender.send(p_data(1, 0x00, b"first half, "))
        until(lambda: list((tmp_path / "spool").glob("*.part")))
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(node.receiver.stop)
            sender.send(p_data(1, 0x02, b"second half"))
            assert sender.receive_status() == 0
            assert sender.receive_pdu()[:1] == bytes([ABORT])
            stopping.result(20)
        assert node.index.instances["1.2.3"].path.read_bytes().endswith(b"first half, second half")
        assert list(node.index.outcomes.values()) == [AssociationOutcome.ABORTED]


def test_stopping_does_not_wait_for_idle_senders(tmp_path: Path) -> None:
    with running(tmp_path) as node, associated(node.port, CT) as sender:
        node.receiver.stop(drain_s=20)
        assert sender.receive_pdu()[:1] == bytes([ABORT])
        assert node.receiver.open_associations == 0


def test_two_receivers_cannot_share_a_data_folder(node: Node) -> None:
    with pytest.raises(FolderInUse), running(node.folder):
        pass
