"""UIDs: checked before use, derived when ours."""

import hashlib
import re
from typing import NewType

from dicomnode.domain.errors import InvalidUid

StudyUid = NewType("StudyUid", str)
SeriesUid = NewType("SeriesUid", str)
InstanceUid = NewType("InstanceUid", str)
JobId = NewType("JobId", str)

# PS3.5 9.1 allows no leading zeros in a component, but archives are full of them: harmless in a
# name, not to be lost.
_LENIENT_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def checked_uid(text: str) -> str:
    """Return `text` if it may name a file or a row, else raise `InvalidUid`.

    Leading zeros in a component break PS3.5 9.1 but do occur and are let through.
    """
    if len(text) > 64 or not _LENIENT_UID.fullmatch(text):
        raise InvalidUid(f"not a DICOM UID: {text[:80]!r}")
    return text


def derived_uid(*parts: str) -> str:
    """A UID that follows from `parts`: the same parts give the same UID, on every machine.

    PS3.5 B.2: `2.25.` and a 128-bit integer; the integer is taken from SHA-256 and shaped as a
    version 8 UUID (RFC 9562 5.8).
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()[:16]
    number = int.from_bytes(digest, "big")
    number = (number & ~(0xF << 76)) | (0x8 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return f"2.25.{number}"


IMPLEMENTATION_CLASS_UID = derived_uid("dicomnode", "implementation class")
"""What this software calls itself in associations and files (PS3.7 D.3.3.2, PS3.10 7.1)."""
