"""TLS as BCP 195 wants it (RFC 9325; DICOM PS3.15 B.9): 1.2 at least, forward secrecy, AEAD.

Certificates are PEM files. They are read again when one of them changes, so that a renewed
certificate needs no restart.
"""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import ConfigError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What one side shows, and whom it believes."""

    certificate: Path | None
    """Chain, own certificate first; None: nothing is shown."""
    key: Path | None
    authorities: Path | None
    """Certificates of the authorities (or of the peers themselves) that are believed."""

    def moments(self) -> tuple[int, ...]:
        """When each file was last changed; 0 for one that is gone."""
        return tuple(_moment(path) for path in (self.certificate, self.key, self.authorities))


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """For accepting. With `authorities` a peer must show a certificate that they vouch for.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, files)
    context.verify_mode = ssl.CERT_REQUIRED if files.authorities else ssl.CERT_NONE
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """For calling. The peer must show a certificate that `authorities` vouch for.

    Raises:
        ConfigError: a file cannot be used.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


class FreshContext:
    """A context of files that is made anew once one of them has changed.

    A change that cannot be used keeps the context there was and is told once.
    """

    def __init__(
        self,
        files: TlsFiles,
        make: Callable[[TlsFiles], ssl.SSLContext],
        on_fault: Callable[[str], None],
    ) -> None:
        self._files = files
        self._make = make
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._seen = files.moments()
        self._context = make(files)

    def current(self) -> ssl.SSLContext:
        """The context for a connection that begins now."""
        moments = self._files.moments()
        with self._lock:
            if moments != self._seen:
                self._seen = moments
                try:
                    self._context = self._make(self._files)
                except ConfigError as exc:
                    self._on_fault(str(exc))
            return self._context


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if files.certificate is not None:
        _load(
            files.certificate,
            lambda: context.load_cert_chain(files.certificate or "", files.key, password=""),
        )
    if files.authorities is not None:
        _load(files.authorities, lambda: context.load_verify_locations(files.authorities))
    return context


def _load(path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as exc:
        why = exc.reason or "not PEM"
        raise ConfigError([f"{path}: the certificate or its key cannot be used ({why})"]) from exc
    except OSError as exc:
        raise ConfigError([f"{path}: {exc.strerror}"]) from exc


def _moment(path: Path | None) -> int:
    if path is None:
        return 0
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
