"""What a sender is told: every error that can end a C-STORE, as a DIMSE status."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dicomnode.domain.errors import (
    DicomNodeError,
    DiskFault,
    InstanceUnreadable,
    InvalidUid,
    StorageFull,
    StoreError,
    StoreUnavailable,
)
from dicomnode.receive.errors import SopClassMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A DIMSE status with its reason for a person at the sender."""

    code: int
    comment: str
    """ErrorComment (0000,0902): at most 64 characters (VR LO), nothing of the patient."""
    clause: str
    """Where the standard defines the code."""
    may_repeat_uids: bool = True
    """False where the request's UIDs are no UIDs."""


SUCCESS = Status(code=0x0000, comment="", clause="PS3.4 B.2.3")

PROCESSING_FAILURE = Status(
    code=0x0110, comment="Not kept: internal error of the receiver", clause="PS3.7 Annex C"
)

# A7xx is what senders retry by themselves, so it is used for everything that passes.
STATUSES: Mapping[type[DicomNodeError], Status] = MappingProxyType(
    {
        InvalidUid: Status(
            code=0x0117,
            comment="Affected SOP Class or Instance UID is not a UID (PS3.5 9.1)",
            clause="PS3.7 9.1.1.1.9",
            may_repeat_uids=False,
        ),
        SopClassMismatch: Status(
            code=0x0122,
            comment="SOP Class is not that of the presentation context",
            clause="PS3.7 9.1.1.1.9",
        ),
        InstanceUnreadable: Status(
            code=0xC000, comment="C-STORE request without a data set", clause="PS3.4 B.2.3"
        ),
        StorageFull: Status(
            code=0xA700, comment="Storage is full; send again later", clause="PS3.4 B.2.3"
        ),
        StoreUnavailable: Status(
            code=0xA701, comment="Index is not available; send again later", clause="PS3.4 B.2.3"
        ),
        DiskFault: Status(
            code=0xA702, comment="Storage fault; send again later", clause="PS3.4 B.2.3"
        ),
        StoreError: PROCESSING_FAILURE,
    }
)


def status_of(error: DicomNodeError) -> Status:
    """The status for `error`: that of its nearest class in the table, else processing failure."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return PROCESSING_FAILURE
