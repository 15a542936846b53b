"""What a storage commitment report says."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomnode.deliver import CommitmentInbox, commitment_outcome
from dicomnode.domain.delivery import CommitmentReport
from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.identifiers import InstanceUid

_SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def _report(
    committed: list[str], failed: dict[str, int | None], transaction: str = "2.25.7"
) -> Dataset:
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = [_reference(uid) for uid in committed]
    if failed:
        information.FailedSOPSequence = [_reference(uid) for uid in failed]
        for item, reason in zip(information.FailedSOPSequence, failed.values(), strict=True):
            if reason is not None:
                item.FailureReason = reason
    return information


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = _SEG
    item.ReferencedSOPInstanceUID = uid
    return item


def test_a_complete_success_lists_what_is_committed() -> None:
    report = commitment_outcome(1, _report(["1.2.3", "1.2.4"], {}))
    assert report == CommitmentReport(
        transaction_uid="2.25.7",
        committed=(InstanceUid("1.2.3"), InstanceUid("1.2.4")),
        failed={},
    )


def test_a_failure_carries_its_reason_in_words() -> None:
    report = commitment_outcome(2, _report(["1.2.3"], {"1.2.4": 0x0112, "1.2.5": None}))
    assert report.committed == ("1.2.3",)
    assert report.failed == {
        "1.2.4": "no such object instance (0x0112)",
        "1.2.5": "a reason of its own (0x0000)",
    }


def test_an_instance_listed_both_ways_counts_as_failed() -> None:
    report = commitment_outcome(2, _report(["1.2.3"], {"1.2.3": 0x0110}))
    assert report.committed == ()
    assert set(report.failed) == {"1.2.3"}


def test_a_report_that_names_nothing_commits_nothing() -> None:
    information = Dataset()
    information.TransactionUID = "2.25.7"
    report = commitment_outcome(1, information)
    assert (report.committed, dict(report.failed)) == ((), {})


@pytest.mark.parametrize("transaction", ["", "../../etc", "1..2", "9" * 65])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_a_report_without_a_valid_transaction_is_refused(transaction: str) -> None:
    information = _report(["1.2.3"], {}, transaction)
    with pytest.raises(InvalidUid):
        commitment_outcome(1, information)


def test_an_instance_without_a_valid_uid_is_refused() -> None:
    with pytest.raises(InvalidUid):
        commitment_outcome(1, _report([""], {}))


@pytest.mark.parametrize("event_type", [0, 3, -1])
def test_an_event_that_does_not_exist_is_refused(event_type: int) -> None:
    with pytest.raises(ValueError, match="no such storage commitment event"):
        commitment_outcome(event_type, _report(["1.2.3"], {}))


_UIDS = st.lists(st.integers(1, 40).map(lambda n: f"1.2.{n}"), max_size=10)


@given(committed=_UIDS, failed=_UIDS)
def test_committed_and_failed_never_overlap_and_lose_nothing(
    committed: list[str], failed: list[str]
) -> None:
    report = commitment_outcome(2, _report(committed, dict.fromkeys(failed, 0x0110)))
    assert not set(report.committed) & set(report.failed)
    assert set(report.committed) | set(report.failed) == {*committed, *failed}


def test_the_inbox_hands_out_a_report_once_and_to_its_own_transaction_only() -> None:
    inbox = CommitmentInbox()
    report = CommitmentReport(transaction_uid="1.2", committed=(), failed={})
    inbox.put(report)
    assert inbox.wait("1.3", 0) is None
    assert inbox.wait("1.2", 0) is report
    assert inbox.wait("1.2", 0) is None


def test_the_inbox_wakes_a_waiting_thread() -> None:
    inbox = CommitmentInbox()
    report = CommitmentReport(transaction_uid="1.2", committed=(), failed={})
    got: list[CommitmentReport | None] = []
    waiting = threading.Thread(target=lambda: got.append(inbox.wait("1.2", 30)))
    waiting.start()
    inbox.put(report)
    waiting.join(30)
    assert got == [report]
