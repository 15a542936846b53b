"""What came of handing results to a destination, instance by instance.

Three errors join the tree of `domain.errors` below DeliveryError:

ObjectUnread     (retry) our disk does not give our own file for now
ObjectDamaged    our own file is not the one that was checked
ServiceRefused   the destination does not offer what was asked of it
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dicomnode.domain.errors import DeliveryError
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.results import Receipt


class ObjectUnread(DeliveryError):
    """The disk does not give the file to send for now."""

    retryable = True


class ObjectDamaged(DeliveryError):
    """The file to send is missing, or no longer the one that was written and checked."""


class ServiceRefused(DeliveryError):
    """The destination does not offer the service (no context, or refused by status)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOutcome:
    """What became of one object: the peer's answer, or the exact reason why there is none."""

    sop_instance_uid: InstanceUid
    result: Receipt | DeliveryError

    @property
    def receipt(self) -> Receipt | None:
        """The answer, if the peer took the object."""
        return self.result if isinstance(self.result, Receipt) else None

    @property
    def error(self) -> DeliveryError | None:
        """Why the object was not taken; `error.retryable` says whether to try again."""
        return self.result if isinstance(self.result, DeliveryError) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequest:
    """A sender's wish to be told what of it is kept (PS3.4 J.3.2)."""

    transaction_uid: str
    calling_ae: str
    instances: tuple[tuple[str, InstanceUid], ...]
    """(SOP class, SOP instance), in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAnswer:
    """What the node answers for; every instance stands in one of the two."""

    request: CommitmentRequest
    committed: tuple[tuple[str, InstanceUid], ...]
    failed: tuple[tuple[str, InstanceUid, int], ...]
    """With FailureReason (0008,1197)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """The peer's word on one storage commitment transaction (PS3.4 J.3.3).

    An instance in neither list was not answered for and is not committed.
    """

    transaction_uid: str
    committed: tuple[InstanceUid, ...]
    failed: Mapping[InstanceUid, str]
    """Instance -> FailureReason (0008,1197) in words."""
