"""Who may do what in the node's pages and interfaces."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from dicomnode.domain.errors import DicomNodeError

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class AccessError(DicomNodeError):
    """Something is not open to who asks for it, or an account is not as it should be."""


class AccountError(AccessError):
    """An account, a password or a token cannot be made or found; the message says why."""


class NotLoggedIn(AccessError):
    """Nobody is known behind the request: no session, or it has ended."""


class NotAllowed(AccessError):
    """The role is too low, or the request did not come from one of our own pages."""


class LoginRefused(AccountError):
    """Name and password do not fit, or there were too many tries."""


class Role(Enum):
    """What an account may do; each of the first three includes those before it."""

    VIEWER = "viewer"
    """Sees studies, results and queues."""
    READER = "reader"
    """Reads reports, asks questions in SQL, judges results."""
    ADMIN = "admin"
    """Steers jobs and deliveries, edits rules, manages accounts."""

    WORKER = "worker"
    """Apart from these: a worker elsewhere fetches images and hands back results, no more."""

    def includes(self, other: "Role") -> bool:
        """True if this role may do what `other` may."""
        if Role.WORKER in {self, other}:
            return self is other
        order = list(Role)
        return order.index(self) >= order.index(other)


class AccountSource(Enum):
    """Who vouches for an account."""

    LOCAL = "local"
    """A password kept here, hashed."""
    OIDC = "oidc"
    """The OpenID Connect provider of the settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may log in."""

    id: int
    name: str
    role: Role
    source: AccountSource
    created_at: datetime
    disabled_at: datetime | None
    last_login_at: datetime | None


def checked_account_name(text: str) -> str:
    """A name for an account, in lower case.

    Raises:
        AccountError: it is none.
    """
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise AccountError("an account name has 1 to 64 characters of a-z 0-9 . _ @ -")
    return name


SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256


def checked_password(text: str) -> str:
    """A password that may be set (NIST SP 800-63B: length, and no rules of composition).

    Raises:
        AccountError: it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD:
        raise AccountError(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; "
            "some words in a row will do"
        )
    return text
