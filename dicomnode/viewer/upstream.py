"""The PACS behind `/dicom-web`: one GET passed on, the answer streamed back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Self
from urllib.parse import urlsplit

from dicomnode.domain.viewer import ViewerUnavailable

_PASSED_ON = ("Accept", "Accept-Language", "Range", "If-None-Match", "Authorization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A DICOMweb service."""

    https: bool
    host: str
    """Host, with the port where it is not the usual one."""
    root: str
    """Path of the service, without a slash at the end."""
    timeout_s: float

    @classmethod
    def at(cls, url: str, timeout_s: float = 60.0) -> Self:
        """The service at `http(s)://host[:port]/path`.

        Raises:
            ViewerUnavailable: it is no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ViewerUnavailable("the DICOMweb URL must be http(s)://host[:port]/path")
        return cls(
            https=parts.scheme == "https",
            host=parts.netloc,
            root=parts.path.rstrip("/"),
            timeout_s=timeout_s,
        )

    @contextmanager
    def get(
        self, rest: str, headers: Mapping[str, str], public_host: str
    ) -> Iterator[HTTPResponse]:
        """GET `root + rest` (still quoted, with its query).

        Raises:
            ViewerUnavailable: the service does not answer.
        """
        kind = HTTPSConnection if self.https else HTTPConnection
        connection = kind(self.host, timeout=self.timeout_s)
        try:
            connection.request("GET", self.root + rest, headers=_outgoing(headers, public_host))
            response = connection.getresponse()
        except (OSError, HTTPException) as exc:
            connection.close()
            raise ViewerUnavailable(f"the DICOMweb service: {type(exc).__name__}") from exc
        try:
            yield response
        finally:
            connection.close()


def _outgoing(headers: Mapping[str, str], public_host: str) -> dict[str, str]:
    """What the browser may say to the PACS, and where the PACS's links have to lead."""
    passed = {name: headers[name] for name in _PASSED_ON if name in headers}
    # RFC 7239 wants quotes around host:port, but Orthanc would copy them into its links.
    forwarded = f"host={public_host};proto=http"
    return {**passed, "Forwarded": forwarded, "X-Forwarded-Host": public_host}
