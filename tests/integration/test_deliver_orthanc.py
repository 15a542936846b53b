"""Delivery to a real Orthanc: C-STORE, C-FIND, storage commitment on a new association."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.deliver import (
    CommitmentListener,
    Peer,
    count_instances,
    echo,
    read_back,
    request_commitment,
    send_objects,
)
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.settings import CountQuery, Destination
from dicomnode.testing.orthanc import RunningOrthanc, orthanc_program
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import StudyIdentity

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
OWN_AE = "DICOMNODE"

pytestmark = pytest.mark.skipif(orthanc_program() is None, reason="Orthanc is not installed")


@pytest.fixture(scope="module")
def listener() -> Iterator[CommitmentListener]:
    with CommitmentListener(own_ae=OWN_AE, host="127.0.0.1", port=0) as listening:
        yield listening


@pytest.fixture(scope="module")
def orthanc(
    tmp_path_factory: pytest.TempPathFactory, listener: CommitmentListener
) -> Iterator[RunningOrthanc]:
    node = ReportTo(ae_title=OWN_AE, host="127.0.0.1", port=listener.port)
    with RunningOrthanc(tmp_path_factory.mktemp("orthanc"), modality=node) as running:
        yield running


@pytest.fixture
def destination(orthanc: RunningOrthanc) -> Destination:
    return Destination(
        name="orthanc", ae_title=orthanc.ae_title, host=orthanc.host, port=orthanc.dicom_port
    )


def results_of(tmp_path: Path, seed: str) -> list[EncodedObject]:
    identity = StudyIdentity(seed=seed)
    return [stand_in_result(tmp_path, identity, kind=k) for k in (ResultKind.SEG, ResultKind.SR)]


def send(objects: list[EncodedObject], destination: Destination) -> list[int | None]:
    outcomes = send_objects(objects, destination, own_ae=OWN_AE, clock=lambda: NOON)
    return [outcome.receipt.status if outcome.receipt else None for outcome in outcomes]


def test_orthanc_answers_echo(destination: Destination) -> None:
    echo(Peer.of(destination), own_ae=OWN_AE)


def test_orthanc_holds_every_object_there_is_a_receipt_for(
    orthanc: RunningOrthanc, destination: Destination, tmp_path: Path
) -> None:
    objects = results_of(tmp_path, "sent")
    assert send(objects, destination) == [0, 0]
    assert {encoded.sop_instance_uid for encoded in objects} <= orthanc.instance_uids()


def test_orthanc_shows_what_was_sent_and_not_what_was_not(
    destination: Destination, tmp_path: Path
) -> None:
    objects = results_of(tmp_path, "half sent")
    send(objects[:1], destination)
    shown = read_back(objects, destination, own_ae=OWN_AE)
    assert list(shown.values()) == [True, False]


def test_orthanc_counts_the_instances_of_a_study(
    orthanc: RunningOrthanc, destination: Destination, tmp_path: Path
) -> None:
    objects = results_of(tmp_path, "counted")
    send(objects, destination)
    query = CountQuery(
        calling_ae="CT1", ae_title="ORTHANC", host=orthanc.host, port=orthanc.dicom_port
    )
    assert count_instances(objects[0].study_uid, query, own_ae=OWN_AE) == 2
    assert count_instances("1.2.3", query, own_ae=OWN_AE) is None


def test_orthanc_commits_to_what_it_holds_and_to_nothing_else(
    listener: CommitmentListener, destination: Destination, tmp_path: Path
) -> None:
    objects = results_of(tmp_path, "committed")
    send(objects[:1], destination)
    report = request_commitment(
        objects, destination, "2.25.11", own_ae=OWN_AE, stay_s=0.1, inbox=listener.inbox
    ) or listener.inbox.wait("2.25.11", 30)
    assert report is not None
    assert report.committed == (objects[0].sop_instance_uid,)
    assert report.failed == {objects[1].sop_instance_uid: "no such object instance (0x0112)"}
