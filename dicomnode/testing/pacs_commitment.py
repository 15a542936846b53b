"""Storage commitment as SCP (PS3.4 Annex J), for the embedded PACS."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from dicomnode.deliver.line import prepare
from dicomnode.domain.sop_classes import STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2
_PROCESSING_FAILURE, _NO_SUCH_INSTANCE = 0x0110, 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTo:
    """Who gets commitment reports on a new association."""

    ae_title: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentResult:
    """What the N-EVENT-REPORT will say."""

    event_type: int
    information: Dataset


def commitment_result(
    asked: Dataset, held: Mapping[str, str], fails_for: frozenset[str]
) -> CommitmentResult:
    """The answer to an N-ACTION, given what is held (SOP instance -> SOP class)."""
    information = Dataset()
    information.TransactionUID = asked.get("TransactionUID")
    information.ReferencedSOPSequence = []
    failed: list[Dataset] = []
    for item in asked.get("ReferencedSOPSequence") or []:
        sop_class, instance = str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)
        copy = Dataset()
        copy.ReferencedSOPClassUID = sop_class
        copy.ReferencedSOPInstanceUID = instance
        if held.get(instance) != sop_class:
            copy.FailureReason = _NO_SUCH_INSTANCE
        elif fails_for & {sop_class, instance}:
            copy.FailureReason = _PROCESSING_FAILURE
        (failed if "FailureReason" in copy else information.ReferencedSOPSequence).append(copy)
    if failed:
        information.FailedSOPSequence = failed
    return CommitmentResult(
        event_type=_FAILURES_EXIST if failed else _ALL_COMMITTED, information=information
    )


def report_on(assoc: Association, result: CommitmentResult) -> None:
    """Send the report on an open association; silently nothing if it just ended."""
    try:
        assoc.send_n_event_report(
            result.information,
            result.event_type,
            UID(STORAGE_COMMITMENT_PUSH),
            UID(STORAGE_COMMITMENT_PUSH_INSTANCE),
        )
    except RuntimeError:  # the peer was not willing to wait
        return


def report_on_new(to: ReportTo, own_ae: str, result: CommitmentResult) -> None:
    """Send the report on an association of our own, as SCP by role selection (PS3.7 D.3.3.4)."""
    ae = AE(ae_title=own_ae)
    ae.add_requested_context(STORAGE_COMMITMENT_PUSH)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 10.0
    role = build_role(UID(STORAGE_COMMITMENT_PUSH), scu_role=False, scp_role=True)
    assoc = ae.associate(
        to.host,
        to.port,
        ae_title=to.ae_title,
        ext_neg=[role],
        evt_handlers=[(evt.EVT_CONN_OPEN, prepare, [ae.dimse_timeout])],
    )
    if assoc.is_established:
        report_on(assoc, result)
        assoc.release()
