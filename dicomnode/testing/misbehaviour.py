"""How the embedded PACS misbehaves, as a value: what a test asks for, it can read there."""

from dataclasses import dataclass
from enum import Enum
from threading import Event


class Rejection(Enum):
    """Ways to reject an association: (result, source, diagnostic), PS3.8 Table 9-21."""

    NOT_KNOWN = (1, 1, 7)
    """Permanent: called AE title not recognised."""
    LIMIT_EXCEEDED = (2, 3, 2)
    """Transient: local limit exceeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Everything off by default: a PACS that behaves. Counts start when the value is set."""

    store_status: int = 0x0000
    """Answered to C-STORE; the instance is kept on success and warning (0xBxxx) only."""
    store_comment: str = ""
    """ErrorComment that goes with `store_status`."""
    only_first: int | None = None
    """`store_status` for the first so many instances, then success. None: for all."""
    only_sop_class: str | None = None
    """`store_status` for this SOP class only."""
    abort_after: int | None = None
    """Abort the association instead of answering, once so many were answered."""
    never_answer: bool = False
    """Take C-STORE requests and stay silent."""
    stop_reading: bool = False
    """Read the first message of an association and then nothing more."""
    answer_after_s: float = 0.0
    """Wait before each C-STORE answer."""
    answer_when: Event | None = None
    """Answer no C-STORE before this is set."""
    answer_wrong_message: bool = False
    """Answer success to a message that was not sent."""
    reject: Rejection | None = None
    refuse_sop_classes: frozenset[str] = frozenset()
    """Presentation contexts of these abstract syntaxes (services too) are refused."""
    only_transfer_syntax: str | None = None
    """Accept storage contexts in this transfer syntax only."""
    forget: bool = False
    """Answer success and keep nothing, so that C-FIND and commitment deny it."""
    refuse_find_levels: frozenset[str] = frozenset()
    """Answer 0xA900 to C-FIND at STUDY, SERIES or IMAGE level."""
    find_status: int | None = None
    """Answer every C-FIND with this status."""
    ignore_find_keys: bool = False
    """Return everything of the level, whatever is asked for."""
    omit_counts: bool = False
    """Leave NumberOf...RelatedInstances out."""
    commitment_status: int = 0x0000
    """Answered to N-ACTION; anything but success means that no report comes."""
    commitment_silent: bool = False
    """Accept N-ACTION and never report."""
    commitment_fails_for: frozenset[str] = frozenset()
    """Report failure for these SOP classes or instances."""

    def answer_to(self, number: int, sop_class_uid: str) -> int:
        """Status for the C-STORE request number `number` (1, 2, ...)."""
        if self.only_first is not None and number > self.only_first:
            return 0x0000
        if self.only_sop_class not in (None, sop_class_uid):
            return 0x0000
        return self.store_status


def keeps(status: int) -> bool:
    """True for success and warning (PS3.4 B.2.3)."""
    return status == 0x0000 or 0xB000 <= status <= 0xBFFF
