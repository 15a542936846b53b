"""DIMSE statuses a destination may answer, as data: what each means and whether to try again."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from dicomnode.domain.errors import DeliveryError

E = TypeVar("E", bound=DeliveryError)


class Verdict(Enum):
    """What an answer means for the object."""

    KEPT = "kept"
    KEPT_WITH_WARNING = "kept, with a warning"
    BUSY = "not kept, try later"
    REFUSED = "not kept, trying again would not help"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRange:
    """Statuses from `first` to `last`, both included."""

    first: int
    last: int
    verdict: Verdict
    meaning: str
    clause: str
    """Where the standard defines it."""


def _one(status: int, verdict: Verdict, meaning: str, clause: str) -> StatusRange:
    return StatusRange(first=status, last=status, verdict=verdict, meaning=meaning, clause=clause)


def _many(first: int, last: int, verdict: Verdict, meaning: str, clause: str) -> StatusRange:
    return StatusRange(first=first, last=last, verdict=verdict, meaning=meaning, clause=clause)


_B2 = "PS3.4 B.2.3"
_C = "PS3.7 Annex C"

STORE_STATUSES: tuple[StatusRange, ...] = (
    _one(0x0000, Verdict.KEPT, "success", _B2),
    _one(0xB000, Verdict.KEPT_WITH_WARNING, "data elements were coerced", _B2),
    _one(0xB006, Verdict.KEPT_WITH_WARNING, "data elements were discarded", _B2),
    _one(0xB007, Verdict.KEPT_WITH_WARNING, "data set does not match its SOP class", _B2),
    _many(0xA700, 0xA7FF, Verdict.BUSY, "out of resources", _B2),
    _many(0xA900, 0xA9FF, Verdict.REFUSED, "data set does not match its SOP class", _B2),
    _many(0xC000, 0xCFFF, Verdict.REFUSED, "cannot understand the data set", _B2),
    _one(0x0110, Verdict.BUSY, "processing failure", _C),
    _one(0x0111, Verdict.REFUSED, "already holds an instance with this UID", _C),
    _one(0x0117, Verdict.REFUSED, "SOP Instance UID is not valid to it", _C),
    _one(0x0122, Verdict.REFUSED, "SOP class not supported", _C),
    _one(0x0124, Verdict.REFUSED, "not authorised", _C),
    _one(0x0210, Verdict.REFUSED, "duplicate message", _C),
    _one(0x0211, Verdict.REFUSED, "operation not recognised", _C),
    _one(0x0212, Verdict.REFUSED, "argument mistyped", _C),
    _one(0x0213, Verdict.BUSY, "resource limitation", _C),
    # Any other status is judged by its class alone.
    _one(0x0001, Verdict.KEPT_WITH_WARNING, "warning", _C),
    _one(0x0107, Verdict.KEPT_WITH_WARNING, "attribute list error", _C),
    _one(0x0116, Verdict.KEPT_WITH_WARNING, "attribute value out of range", _C),
    _many(0xB000, 0xBFFF, Verdict.KEPT_WITH_WARNING, "warning of its own", _C),
    _many(0x0000, 0xFFFF, Verdict.REFUSED, "failure", _C),
)
"""Answers to C-STORE; the first range that holds a status counts."""

FAILURE_REASONS: dict[int, str] = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class and instance do not fit",
    0x0122: "SOP class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
}
"""FailureReason (0008,1197) of a storage commitment report, PS3.3 C.14.1.1."""

BUSY_STATUSES = frozenset({0xA700, 0x0110, 0x0213})
"""Answers to C-FIND, N-ACTION and C-ECHO that may pass (PS3.4 C.4.1.1.4, PS3.7 Annex C)."""


def store_status(status: int) -> StatusRange:
    """The range of `STORE_STATUSES` that decides what a C-STORE answer means."""
    return next(known for known in STORE_STATUSES if known.first <= status <= known.last)


def is_refusal_of_form(status: int | None) -> bool:
    """True for an answer that blames what was sent, so that another SOP class may be taken.

    0x0122, 0xA9xx and 0xCxxx; not what is said of the sender (0x0124) or the instance (0x0117).
    """
    return status is not None and (
        status == 0x0122 or 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF
    )


def failure_reason(code: int) -> str:
    """A FailureReason in words, with its number."""
    return f"{FAILURE_REASONS.get(code, 'a reason of its own')} (0x{code:04X})"


def answered(error: E, status: int) -> E:
    """`error`, told which status the peer gave."""
    error.status = status
    return error
