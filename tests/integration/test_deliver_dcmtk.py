"""Delivery to DCMTK's storescp, as it is and with its own misbehaviours."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from dicomnode.deliver import Peer, echo, read_back, send_objects
from dicomnode.domain.delivery import SendOutcome, ServiceRefused
from dicomnode.domain.errors import AssociationRejected, PeerUnavailable
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.settings import Destination
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import StudyIdentity

STORESCP = "/usr/bin/storescp"
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not Path(STORESCP).exists(), reason="DCMTK's storescp is not installed in /usr/bin"
)

StartScp = Callable[..., Destination]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


@pytest.fixture
def start(kept: Path) -> Iterator[StartScp]:
    """Starts storescp with options; ends it after the test."""
    with ExitStack() as stack:

        def start_scp(*options: str, timeout_s: float = 20.0) -> Destination:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            process = subprocess.Popen(
                [STORESCP, "-aet", "DCMTK", "-od", str(kept), *options, str(port)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_for_port(port)
            return Destination(
                name="dcmtk", ae_title="DCMTK", host="127.0.0.1", port=port, timeout_s=timeout_s
            )

        yield start_scp


def _wait_for_port(port: int) -> None:
    """Return once something listens; storescp has no other sign that it is up."""
    between = threading.Event()
    for _ in range(400):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except ConnectionRefusedError:
            between.wait(0.05)
    pytest.fail("storescp did not open its port")


@pytest.fixture
def objects(tmp_path: Path) -> list[EncodedObject]:
    identity = StudyIdentity(seed="storescp")
    kinds = (ResultKind.SEG, ResultKind.SR)
    return [stand_in_result(tmp_path, identity, kind=kind) for kind in kinds]


def send(objects: list[EncodedObject], destination: Destination) -> tuple[SendOutcome, ...]:
    return send_objects(objects, destination, own_ae="DICOMNODE", clock=lambda: NOON)


def kept_by_uid(folder: Path) -> dict[str, Path]:
    return {str(dcmread(path).SOPInstanceUID): path for path in folder.iterdir()}


@pytest.mark.parametrize("option", [(), ("+xi",)], ids=["explicit", "implicit only"])
def test_storescp_holds_every_object_there_is_a_receipt_for(
    start: StartScp, objects: list[EncodedObject], kept: Path, option: tuple[str, ...]
) -> None:
    outcomes = send(objects, start(*option))
    assert [outcome.receipt and outcome.receipt.status for outcome in outcomes] == [0, 0]
    files = kept_by_uid(kept)
    for encoded in objects:
        written = dcmread(files[encoded.sop_instance_uid])
        assert written == dcmread(encoded.path)
        if option:
            assert written.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian


def test_an_abort_before_the_answer_is_no_receipt(
    start: StartScp, objects: list[EncodedObject]
) -> None:
    for outcome in send(objects, start("--abort-after")):
        assert isinstance(outcome.error, PeerUnavailable)


def test_an_abort_in_the_middle_of_an_object_is_no_receipt(start: StartScp, tmp_path: Path) -> None:
    large = stand_in_result(tmp_path, StudyIdentity(seed="large"), pixel_bytes=2_000_128)
    (outcome,) = send([large], start("--abort-during"))
    assert isinstance(outcome.error, PeerUnavailable)


def test_a_refused_association_is_reported_as_rejected(
    start: StartScp, objects: list[EncodedObject]
) -> None:
    """storescp closes the connection behind its refusal, and a reset may overtake that."""
    destination = start("--refuse")
    for _ in range(5):
        errors = [outcome.error for outcome in send(objects, destination)]
        if not all(isinstance(error, PeerUnavailable) for error in errors):
            break
    assert all(isinstance(error, AssociationRejected) for error in errors)


def test_a_peer_slower_than_the_limit_is_no_receipt(
    start: StartScp, objects: list[EncodedObject]
) -> None:
    outcome, _ = send(objects, start("--sleep-during", "3", timeout_s=0.5))
    assert isinstance(outcome.error, PeerUnavailable)


def test_storescp_answers_echo_and_offers_no_query(
    start: StartScp, objects: list[EncodedObject]
) -> None:
    destination = start()
    echo(Peer.of(destination), own_ae="DICOMNODE")
    with pytest.raises(ServiceRefused, match="Study Root Query/Retrieve"):
        read_back(objects, destination, own_ae="DICOMNODE")
