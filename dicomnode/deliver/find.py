"""C-FIND as SCU, Study Root, asking for UIDs and counts only: no patient data crosses."""

from collections.abc import Iterator
from enum import Enum

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicomnode.deliver.association import Peer
from dicomnode.deliver.statuses import BUSY_STATUSES, answered
from dicomnode.domain.delivery import ServiceRefused
from dicomnode.domain.errors import PeerBusy, PeerUnavailable
from dicomnode.domain.sop_classes import STUDY_ROOT_FIND

_PENDING = frozenset({0xFF00, 0xFF01})
_MOST_MATCHES = 100_000


class Level(Enum):
    """QueryRetrieveLevel (PS3.4 C.3.2)."""

    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


class LevelRefused(ServiceRefused):
    """The peer answers C-FIND, but not this query (PS3.4 C.4.1.1.4: A900, Cxxx)."""


def find_contexts() -> list[PresentationContext]:
    """The one presentation context a query needs."""
    return [build_context(STUDY_ROOT_FIND)]


def find(assoc: Association, level: Level, keys: dict[str, str], peer: Peer) -> Iterator[Dataset]:
    """Every identifier the peer returns for `keys` (DICOM keyword -> value, empty: return it).

    A peer may ignore a key, so a match proves nothing until its values are compared.

    Raises:
        PeerUnavailable: no answer in time, or the association ended.
        PeerBusy: out of resources; try later.
        LevelRefused: the peer cannot answer this query.
    """
    query = Dataset()
    query.QueryRetrieveLevel = level.value
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    try:
        answers = assoc.send_c_find(query, STUDY_ROOT_FIND)
    except RuntimeError as exc:  # pynetdicom's word for an association that is over
        raise PeerUnavailable(f"{peer}: the peer ended the association") from exc
    for number, (status, identifier) in enumerate(answers):
        if "Status" not in status:
            raise PeerUnavailable(
                f"{peer}: C-FIND was not answered within {peer.timeout_s:g} s, or the peer ended "
                "the association"
            )
        if number > _MOST_MATCHES:
            assoc.abort()
            raise LevelRefused(f"{peer}: returns every object it holds, whatever is asked")
        code = int(status.Status)
        if code in _PENDING:
            if identifier is not None:
                yield identifier
        elif code in BUSY_STATUSES:
            raise answered(PeerBusy(f"{peer}: answered C-FIND with 0x{code:04X}"), code)
        elif code != 0:
            words = f"{peer}: answered C-FIND {level.value} with 0x{code:04X}"
            raise answered(LevelRefused(words), code)


def returned_count(identifier: Dataset, keyword: str) -> int | None:
    """A count as the peer returned it; None if absent, empty or not a number."""
    try:
        count = int(identifier[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None
    return count if count >= 0 else None


def returned_uid(identifier: Dataset, keyword: str) -> str:
    """A UID as the peer returned it, or empty."""
    return str(identifier.get(keyword) or "").strip("\x00 ")
