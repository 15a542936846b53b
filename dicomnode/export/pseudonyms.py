"""Names for people, studies and images that only the holder of the key can lead back.

A pseudonym is the keyed digest (HMAC-SHA256, RFC 2104) of an identifier, so it is the same in every
export made with the same key, and a growing archive never renames anybody.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.exporting import Split

VARIABLE = "DICOMNODE_EXPORT_KEY"
_KEY_BYTES = 32
_DIGITS = 16
"""Hex digits of a pseudonym: two of ten million meet with a chance of 3 in a million."""

SHARES = {Split.TRAIN: 0.7, Split.VAL: 0.1, Split.TEST: 0.2}


class Pseudonyms:
    """Makes pseudonyms with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, identifier: str) -> str:
        """The pseudonym of an identifier; `kind` keeps equal identifiers of two kinds apart."""
        return self._digest(kind, identifier).hex()[:_DIGITS]

    def uid(self, uid: str) -> str:
        """The UID in the place of another one (PS3.5 B.2, from 128 bits of the digest)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:16], 'big')}"

    def number(self, kind: str, identifier: str, below: int) -> int:
        """A number from 0 that only the key tells."""
        return int.from_bytes(self._digest(kind, identifier)[:8], "big") % below

    def split_of(self, patient: str) -> Split:
        """The part of the data set that a patient belongs to, for ever."""
        place = int.from_bytes(self._digest("split", patient)[:8], "big") / 2**64
        for split, share in SHARES.items():
            if place < share:
                return split
            place -= share
        return Split.TEST

    def _digest(self, kind: str, identifier: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{identifier}".encode(), hashlib.sha256)


def open_pseudonyms(data_dir: Path, environ: Mapping[str, str]) -> Pseudonyms:
    """With the key of `DICOMNODE_EXPORT_KEY` (hex), else of `export.key` in the data folder.

    That file is made at the first use, readable by its owner alone. It stays where it is: with
    it, and with nothing else, a pseudonym can be led back.

    Raises:
        ConfigError: the key is no 32 bytes in hex.
    """
    given = environ.get(VARIABLE)
    if given is not None:
        return Pseudonyms(_key(given, VARIABLE))
    path = data_dir / "export.key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        _write_once(path, secrets.token_hex(_KEY_BYTES))
    return Pseudonyms(_key(path.read_text(encoding="ascii"), str(path)))


def _write_once(path: Path, text: str) -> None:
    """Whole or not there; whoever comes second keeps the first one's."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        pass
    finally:
        part.unlink()


def _key(text: str, place: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError([f"{place}: a key of {_KEY_BYTES} bytes in hex is needed"])
    return key
