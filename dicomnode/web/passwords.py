"""Passwords by Argon2id, and random tokens of which only a hash is kept."""

import hmac
import secrets
import threading
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# Each verification takes 64 MB; more at once would let a flood of logins eat the memory.
_AT_ONCE = threading.BoundedSemaphore(2)


class Passwords:
    """Hashes and checks."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        # What a login without an account is checked against, so that it takes as long.
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        """What is kept of a password."""
        with _AT_ONCE:
            return self._hasher.hash(password)

    def fits(self, password_hash: str | None, password: str) -> bool:
        """True if it is the password; without a hash it takes as long, and is not."""
        with _AT_ONCE:
            try:
                self._hasher.verify(password_hash or self._nobody, password)
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None


def new_token(prefix: str = "") -> str:
    """256 random bits that nobody can guess."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is kept of a token; no salt is needed, since it is random itself."""
    return sha256(token.encode()).hexdigest()


def form_token(session_token: str) -> str:
    """What forms of a session carry, so that no foreign page can send them."""
    return hmac.new(session_token.encode(), b"form", sha256).hexdigest()


def is_same(left: str, right: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
