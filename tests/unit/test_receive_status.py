"""Every error that can end a C-STORE has a status a sender understands."""

import pytest

from dicomnode.domain.errors import (
    DicomNodeError,
    InvalidUid,
    NotAdmitted,
    ReceiveError,
    StorageFull,
    StoreError,
    StoreUnavailable,
)
from dicomnode.receive.errors import (
    ConnectionLost,
    FolderInUse,
    OtherStudy,
    PeerSilent,
    ProtocolBroken,
)
from dicomnode.receive.status import STATUSES, SUCCESS, Status, status_of

ENDS_THE_ASSOCIATION = {ConnectionLost, FolderInUse, PeerSilent, ProtocolBroken}
NEVER_BY_C_STORE = {OtherStudy}


def test_no_receive_error_is_without_a_status() -> None:
    answered = {
        kind
        for kind in ReceiveError.__subclasses__()
        if kind not in ENDS_THE_ASSOCIATION | NEVER_BY_C_STORE | {NotAdmitted}
    }
    assert answered <= set(STATUSES)


@pytest.mark.parametrize("kind", list(STATUSES))
def test_retryable_errors_and_no_others_answer_out_of_resources(kind: type[DicomNodeError]) -> None:
    assert (STATUSES[kind].code & 0xFF00 == 0xA700) == kind.retryable


@pytest.mark.parametrize("status", [*STATUSES.values(), SUCCESS])
def test_comments_fit_their_element(status: Status) -> None:
    assert len(status.comment) <= 64
    assert status.comment.isascii()


def test_a_full_disk_is_a700_and_a_bad_uid_0117() -> None:
    assert status_of(StorageFull("")).code == 0xA700
    assert status_of(InvalidUid("")).code == 0x0117


def test_the_most_exact_class_decides() -> None:
    assert status_of(StoreUnavailable("")).code == 0xA701
    assert status_of(StoreError("")).code == 0x0110


def test_an_error_nobody_listed_is_a_processing_failure() -> None:
    assert status_of(DicomNodeError("")).code == 0x0110
