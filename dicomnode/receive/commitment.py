"""Storage commitment as SCP (PS3.4 J.3.2): a sender asks what is kept; the answer comes later."""

from collections.abc import Callable, Collection

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicomnode.domain.delivery import CommitmentRequest
from dicomnode.domain.errors import InvalidUid, StoreError
from dicomnode.domain.identifiers import InstanceUid, checked_uid

_REQUEST_COMMITMENT = 1
_SUCCESS, _PROCESSING_FAILURE, _INVALID_ARGUMENT = 0x0000, 0x0110, 0x0115
_NO_SUCH_ACTION, _NOT_AUTHORIZED = 0x0123, 0x0124
MOST_INSTANCES = 100_000
"""In one request; a study has fewer."""

log = structlog.get_logger()


def commitment_request(calling_ae: str, information: Dataset | None) -> CommitmentRequest:
    """What an N-ACTION asks for (PS3.4 Table J.3-1).

    Raises:
        InvalidUid: the transaction, a class or an instance has no valid UID.
        ValueError: it names no instance, or too many.
    """
    if information is None:
        raise ValueError("no action information")
    items = information.get("ReferencedSOPSequence") or ()
    if not 0 < len(items) <= MOST_INSTANCES:
        raise ValueError(f"{len(items)} instances")
    return CommitmentRequest(
        transaction_uid=checked_uid(str(information.get("TransactionUID") or "")),
        calling_ae=calling_ae,
        instances=tuple(
            (
                checked_uid(str(item.get("ReferencedSOPClassUID") or "")),
                InstanceUid(checked_uid(str(item.get("ReferencedSOPInstanceUID") or ""))),
            )
            for item in items
        ),
    )


def take_requests(
    keep: Callable[[CommitmentRequest], None], known: Collection[str]
) -> Callable[[evt.Event], tuple[int, None]]:
    """A handler for EVT_N_ACTION that answers success only after `keep` returned.

    `known` are the AE titles whose answers have an address. It never raises for what a peer sent.
    """

    def answer(event: evt.Event) -> tuple[int, None]:
        calling_ae = str(event.assoc.requestor.ae_title).strip()
        if calling_ae not in known:
            log.warning("commitment.no-address", calling_ae=calling_ae)
            return _NOT_AUTHORIZED, None
        if event.action_type != _REQUEST_COMMITMENT:
            return _NO_SUCH_ACTION, None
        try:
            request = commitment_request(calling_ae, event.action_information)
        except Exception as exc:  # noqa: BLE001 (pydicom raises whatever a malformed data set leads it to)
            known_fault = isinstance(exc, InvalidUid | ValueError)
            log.warning("commitment.malformed", error=type(exc).__name__, known=known_fault)
            return _INVALID_ARGUMENT, None
        try:
            keep(request)
        except StoreError as exc:
            log.warning("commitment.not-kept", error=str(exc))
            return _PROCESSING_FAILURE, None
        return _SUCCESS, None

    return answer
