"""Delivery over real associations to the embedded PACS, well-behaved and not."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    SegmentationStorage,
)

from dicomnode.deliver import (
    CommitmentInbox,
    CommitmentListener,
    Peer,
    count_instances,
    echo,
    read_back,
    request_commitment,
    send_objects,
)
from dicomnode.domain.delivery import ObjectDamaged, SendOutcome, ServiceRefused
from dicomnode.domain.errors import (
    AssociationRejected,
    DeliveryError,
    InstanceRefused,
    PeerBusy,
    PeerUnavailable,
)
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH, STUDY_ROOT_FIND, VERIFICATION
from dicomnode.settings import CountQuery, Destination
from dicomnode.testing.misbehaviour import Misbehaviour, Rejection
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.testing.results import stand_in_result
from dicomnode.testing.studies import StudyIdentity

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
IDENTITY = StudyIdentity(seed="delivery", patient_name="Secret^Name", patient_id="ID-77")
OWN_AE = "DICOMNODE"


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[EmbeddedPacs]:
    with EmbeddedPacs(tmp_path / "pacs") as running:
        yield running


@pytest.fixture
def objects(tmp_path: Path) -> list[EncodedObject]:
    """A SEG and an SR."""
    kinds = (ResultKind.SEG, ResultKind.SR)
    return [stand_in_result(tmp_path, IDENTITY, kind=kind) for kind in kinds]


def destination(pacs: EmbeddedPacs, *, timeout_s: float = 20.0) -> Destination:
    return Destination(
        name="archive",
        ae_title=pacs.ae_title,
        host=pacs.host,
        port=pacs.port,
        timeout_s=timeout_s,
    )


def send(
    objects: list[EncodedObject], pacs: EmbeddedPacs, *, timeout_s: float = 20.0
) -> tuple[SendOutcome, ...]:
    return send_objects(
        objects, destination(pacs, timeout_s=timeout_s), own_ae=OWN_AE, clock=lambda: NOON
    )


def kinds_of(outcomes: tuple[SendOutcome, ...]) -> list[type[DeliveryError] | int]:
    """The status of each receipt, the type of each error."""
    return [
        outcome.receipt.status if outcome.receipt else type(outcome.result)  # type: ignore[misc]
        for outcome in outcomes
    ]


def test_each_object_gets_its_own_receipt_and_arrives_byte_for_byte(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    outcomes = send(objects, pacs)
    for encoded, outcome, kept in zip(objects, outcomes, pacs.stored, strict=True):
        assert outcome.receipt is not None
        assert outcome.sop_instance_uid == outcome.receipt.sop_instance_uid
        assert outcome.sop_instance_uid == encoded.sop_instance_uid
        assert (outcome.receipt.status, outcome.receipt.at) == (0, NOON)
        assert outcome.receipt.destination == "archive"
        assert not outcome.receipt.is_warning
        assert kept.path.read_bytes().endswith(_data_set(encoded.path))


def _data_set(path: Path) -> bytes:
    written = path.read_bytes()
    (length,) = (int.from_bytes(written[140:144], "little"),)
    return written[144 + length :]


def test_a_peer_that_knows_only_implicit_vr_gets_the_same_values(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(only_transfer_syntax=ImplicitVRLittleEndian)
    assert kinds_of(send(objects, pacs)) == [0, 0]
    for encoded, kept in zip(objects, pacs.stored, strict=True):
        assert kept.transfer_syntax_uid == ImplicitVRLittleEndian
        assert dcmread(kept.path) == dcmread(encoded.path)


def test_an_object_no_accepted_syntax_can_carry_is_refused(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(only_transfer_syntax=JPEG2000Lossless)
    assert kinds_of(send(objects, pacs)) == [InstanceRefused, InstanceRefused]


def test_a_refused_sop_class_does_not_hold_up_the_others(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(refuse_sop_classes=frozenset({SegmentationStorage}))
    outcomes = send(objects, pacs)
    assert kinds_of(outcomes) == [InstanceRefused, 0]
    assert SegmentationStorage in str(outcomes[0].error)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0xB000, 0xB000),
        (0xB006, 0xB006),
        (0xB007, 0xB007),
        (0xA700, PeerBusy),
        (0x0110, PeerBusy),
        (0xA900, InstanceRefused),
        (0xC000, InstanceRefused),
        (0x0122, InstanceRefused),
    ],
)
def test_an_answer_for_one_object_is_told_apart_from_the_next_ones(
    pacs: EmbeddedPacs,
    objects: list[EncodedObject],
    status: int,
    expected: type[DeliveryError] | int,
) -> None:
    pacs.misbehaviour = Misbehaviour(store_status=status, only_first=1)
    outcomes = send(objects, pacs)
    assert kinds_of(outcomes) == [expected, 0]
    if outcomes[0].error is not None:
        assert outcomes[0].error.status == status
        assert f"0x{status:04X}" in str(outcomes[0].error)


def test_what_the_peer_says_is_kept_but_never_the_patient(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(
        store_status=0xC000, store_comment="bad study of SECRET NAME, id ID-77"
    )
    error = str(send(objects, pacs)[0].error)
    assert "bad study of [...] [...], [...] [...]-[...]" in error


def test_a_refusal_for_good_is_not_retryable_and_a_busy_peer_is(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(store_status=0xC000, only_sop_class=SegmentationStorage)
    refused, _ = send(objects, pacs)
    pacs.misbehaviour = Misbehaviour(store_status=0xA700)
    busy, _ = send(objects, pacs)
    assert refused.error is not None
    assert busy.error is not None
    assert (refused.error.retryable, busy.error.retryable) == (False, True)


def test_an_abort_in_the_middle_claims_nothing_for_the_rest(
    pacs: EmbeddedPacs, tmp_path: Path
) -> None:
    objects = [stand_in_result(tmp_path, IDENTITY, number=n) for n in range(1, 5)]
    pacs.misbehaviour = Misbehaviour(abort_after=2)
    outcomes = send(objects, pacs)
    assert kinds_of(outcomes) == [0, 0, PeerUnavailable, PeerUnavailable]
    assert [kept.sop_instance_uid for kept in pacs.stored] == [
        outcome.sop_instance_uid for outcome in outcomes if outcome.receipt
    ]


def test_a_peer_that_never_answers_c_store_ends_in_time(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(never_answer=True)
    outcomes = send(objects, pacs, timeout_s=0.5)
    assert kinds_of(outcomes) == [PeerUnavailable, PeerUnavailable]
    assert "no answer to C-STORE" in str(outcomes[0].error)


def test_a_peer_that_stops_reading_ends_in_time(pacs: EmbeddedPacs, tmp_path: Path) -> None:
    large = stand_in_result(tmp_path, IDENTITY, pixel_bytes=16_000_000)
    pacs.misbehaviour = Misbehaviour(stop_reading=True)
    assert kinds_of(send([large], pacs, timeout_s=0.5)) == [PeerUnavailable]
    assert pacs.stored == ()


def test_a_slow_peer_is_waited_for(pacs: EmbeddedPacs, objects: list[EncodedObject]) -> None:
    pacs.misbehaviour = Misbehaviour(answer_after_s=0.3)
    assert kinds_of(send(objects, pacs)) == [0, 0]


def test_an_answer_to_another_message_is_no_receipt(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.misbehaviour = Misbehaviour(answer_wrong_message=True)
    assert kinds_of(send(objects, pacs)) == [PeerUnavailable, PeerUnavailable]


@pytest.mark.parametrize(
    ("rejection", "words"),
    [
        (Rejection.NOT_KNOWN, "Called AE title not recognised"),
        (Rejection.LIMIT_EXCEEDED, "Local limit exceeded"),
    ],
)
def test_a_rejected_association_says_why_and_may_be_tried_again(
    pacs: EmbeddedPacs, objects: list[EncodedObject], rejection: Rejection, words: str
) -> None:
    pacs.misbehaviour = Misbehaviour(reject=rejection)
    outcomes = send(objects, pacs)
    assert kinds_of(outcomes) == [AssociationRejected, AssociationRejected]
    assert words in str(outcomes[0].error)
    assert outcomes[0].error is not None
    assert outcomes[0].error.retryable


def test_a_peer_that_is_down_and_comes_up_again_takes_the_same_objects(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    pacs.stop()
    assert kinds_of(send(objects, pacs)) == [PeerUnavailable, PeerUnavailable]
    pacs.start()
    assert kinds_of(send(objects, pacs)) == [0, 0]


def test_sending_twice_leaves_one_instance_each(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    assert kinds_of(send(objects, pacs) + send(objects, pacs)) == [0, 0, 0, 0]
    assert len(pacs.stored) == 2
    assert len(pacs.answers) == 4


def test_a_changed_or_missing_file_is_not_sent_and_the_others_are(
    pacs: EmbeddedPacs, tmp_path: Path
) -> None:
    changed, missing, sound = (
        stand_in_result(tmp_path, IDENTITY, number=number) for number in (1, 2, 3)
    )
    changed.path.write_bytes(changed.path.read_bytes() + b"\x00\x00")
    missing.path.unlink()
    outcomes = send([changed, missing, sound], pacs)
    assert kinds_of(outcomes) == [ObjectDamaged, ObjectDamaged, 0]
    assert [kept.sop_instance_uid for kept in pacs.stored] == [sound.sop_instance_uid]


def test_nothing_to_send_opens_no_association(pacs: EmbeddedPacs) -> None:
    pacs.stop()
    assert send([], pacs) == ()


def test_read_back_shows_what_the_peer_holds_and_what_it_lost(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    send(objects[:1], pacs)
    pacs.misbehaviour = Misbehaviour(forget=True)
    assert kinds_of(send(objects[1:], pacs)) == [0]
    shown = read_back(objects, destination(pacs), own_ae=OWN_AE)
    assert shown == {objects[0].sop_instance_uid: True, objects[1].sop_instance_uid: False}


def test_a_peer_that_ignores_keys_proves_nothing_by_answering(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    send(objects[:1], pacs)
    pacs.misbehaviour = Misbehaviour(ignore_find_keys=True)
    shown = read_back(objects, destination(pacs), own_ae=OWN_AE)
    assert list(shown.values()) == [True, False]


def test_read_back_falls_back_to_counts_of_the_series(
    pacs: EmbeddedPacs, objects: list[EncodedObject], tmp_path: Path
) -> None:
    second = stand_in_result(tmp_path, IDENTITY, number=2)
    send(objects[:1], pacs)
    pacs.misbehaviour = Misbehaviour(refuse_find_levels=frozenset({"IMAGE"}))
    shown = read_back(objects, destination(pacs), own_ae=OWN_AE)
    assert list(shown.values()) == [True, False]
    shown = read_back([objects[0], second], destination(pacs), own_ae=OWN_AE)
    assert set(shown.values()) == {False}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (Misbehaviour(find_status=0xA700), PeerBusy),
        (Misbehaviour(find_status=0x0110), PeerBusy),
        (Misbehaviour(find_status=0xC001), ServiceRefused),
        (Misbehaviour(refuse_sop_classes=frozenset({STUDY_ROOT_FIND})), ServiceRefused),
        (Misbehaviour(refuse_find_levels=frozenset({"IMAGE", "SERIES"})), ServiceRefused),
        (
            Misbehaviour(refuse_find_levels=frozenset({"IMAGE"}), omit_counts=True),
            ServiceRefused,
        ),
        (Misbehaviour(reject=Rejection.LIMIT_EXCEEDED), AssociationRejected),
    ],
)
def test_a_peer_that_cannot_be_asked_is_not_taken_for_one_that_denies(
    pacs: EmbeddedPacs,
    objects: list[EncodedObject],
    wrong: Misbehaviour,
    expected: type[DeliveryError],
) -> None:
    send(objects, pacs)
    pacs.misbehaviour = wrong
    with pytest.raises(expected):
        read_back(objects, destination(pacs), own_ae=OWN_AE)


def test_a_study_is_counted_where_the_peer_counts(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    query = CountQuery(calling_ae="CT1", ae_title="ARCHIVE", host=pacs.host, port=pacs.port)
    assert count_instances(IDENTITY.study_uid, query, own_ae=OWN_AE) is None
    send(objects, pacs)
    assert count_instances(IDENTITY.study_uid, query, own_ae=OWN_AE) == 2
    pacs.misbehaviour = Misbehaviour(omit_counts=True)
    assert count_instances(IDENTITY.study_uid, query, own_ae=OWN_AE) is None
    pacs.misbehaviour = Misbehaviour(ignore_find_keys=True)
    assert count_instances("1.2.3", query, own_ae=OWN_AE) is None


def test_commitment_is_reported_on_the_association_that_asked(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    send(objects, pacs)
    pacs.misbehaviour = Misbehaviour(commitment_fails_for=frozenset({objects[1].sop_instance_uid}))
    report = request_commitment(objects, destination(pacs), "2.25.1", own_ae=OWN_AE, stay_s=20)
    assert report is not None
    assert report.transaction_uid == "2.25.1"
    assert report.committed == (objects[0].sop_instance_uid,)
    assert report.failed == {objects[1].sop_instance_uid: "processing failure (0x0110)"}


def test_an_instance_the_peer_does_not_hold_is_not_committed(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    send(objects[:1], pacs)
    report = request_commitment(objects, destination(pacs), "2.25.1", own_ae=OWN_AE, stay_s=20)
    assert report is not None
    assert report.committed == (objects[0].sop_instance_uid,)
    assert list(report.failed.values()) == ["no such object instance (0x0112)"]


def test_commitment_is_reported_on_a_new_association_to_us(
    tmp_path: Path, objects: list[EncodedObject]
) -> None:
    with CommitmentListener(own_ae=OWN_AE, host="127.0.0.1", port=0) as listener:
        back = ReportTo(ae_title=OWN_AE, host="127.0.0.1", port=listener.port)
        with EmbeddedPacs(tmp_path / "pacs", report_to=back) as pacs:
            send(objects, pacs)
            report = request_commitment(
                objects,
                destination(pacs),
                "2.25.2",
                own_ae=OWN_AE,
                stay_s=20,
                inbox=listener.inbox,
            )
    assert report is not None
    assert set(report.committed) == {encoded.sop_instance_uid for encoded in objects}


def test_a_report_that_does_not_come_is_not_waited_for_beyond_the_limit(
    pacs: EmbeddedPacs, objects: list[EncodedObject]
) -> None:
    send(objects, pacs)
    pacs.misbehaviour = Misbehaviour(commitment_silent=True)
    inbox = CommitmentInbox()
    asked = request_commitment(
        objects, destination(pacs), "2.25.3", own_ae=OWN_AE, stay_s=0.2, inbox=inbox
    )
    assert asked is None
    assert inbox.wait("2.25.3", 0) is None


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (Misbehaviour(commitment_status=0x0213), PeerBusy),
        (Misbehaviour(commitment_status=0x0122), ServiceRefused),
        (Misbehaviour(refuse_sop_classes=frozenset({STORAGE_COMMITMENT_PUSH})), ServiceRefused),
    ],
)
def test_a_refused_request_for_commitment_is_an_error(
    pacs: EmbeddedPacs,
    objects: list[EncodedObject],
    wrong: Misbehaviour,
    expected: type[DeliveryError],
) -> None:
    pacs.misbehaviour = wrong
    with pytest.raises(expected):
        request_commitment(objects, destination(pacs), "2.25.4", own_ae=OWN_AE)


def test_echo_is_answered(pacs: EmbeddedPacs) -> None:
    echo(Peer.of(destination(pacs)), own_ae=OWN_AE)


def test_echo_tells_a_peer_without_verification_from_one_that_is_down(pacs: EmbeddedPacs) -> None:
    pacs.misbehaviour = Misbehaviour(refuse_sop_classes=frozenset({VERIFICATION}))
    with pytest.raises(ServiceRefused, match="Verification SOP Class"):
        echo(Peer.of(destination(pacs)), own_ae=OWN_AE)


def test_a_compressed_object_goes_out_in_its_own_syntax_only(
    pacs: EmbeddedPacs, tmp_path: Path
) -> None:
    implicit = stand_in_result(tmp_path, IDENTITY, syntax=ImplicitVRLittleEndian)
    assert kinds_of(send([implicit], pacs)) == [0]
    assert pacs.stored[0].transfer_syntax_uid == ImplicitVRLittleEndian
    pacs.misbehaviour = Misbehaviour(only_transfer_syntax=ExplicitVRLittleEndian)
    assert kinds_of(send([implicit], pacs)) == [InstanceRefused]
