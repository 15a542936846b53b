"""The record of who did what: each entry holds the hash of the one before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from dicomnode.domain.events import FactValue

FIRST = "0" * 64
"""What stands in for the hash before the first entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """Something somebody did or tried. Never holds a password, a token or a report's text."""

    who: str
    """Name of the account; empty: nobody was logged in."""
    address: str
    """IP address it came from."""
    what: str
    """E.g. `job.rerun`, `study.read`, `login.refused`."""
    on: str = ""
    """Study UID, job id, account name, ..."""
    facts: Mapping[str, FactValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A deed as it is kept."""

    id: int
    at: datetime
    deed: Deed
    previous_hash: str
    hash: str

    @property
    def is_whole(self) -> bool:
        """True if nothing in it was changed since it was written."""
        return chain_hash(self.previous_hash, self.deed, self.at) == self.hash


def chain_hash(previous: str, deed: Deed, at: datetime) -> str:
    """SHA-256 over the hash before and every value of the deed, hex."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    values = [previous, moment, deed.who, deed.address, deed.what, deed.on, dict(deed.facts)]
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
