"""One origin for the browser: OHIF's files, its configuration, and the PACS's DICOMweb.

Read-only: GET and HEAD. SharedArrayBuffer, which the viewer needs, asks for one isolated origin
(COOP, COEP), so DICOMweb must come from the same address as the pages.
"""

import mimetypes
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from dicomnode.domain.viewer import ViewerUnavailable
from dicomnode.viewer.configuration import DICOMWEB
from dicomnode.viewer.upstream import Upstream

_PIECE = 1 << 16
_LOOK_FOR_END_S = 0.1
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
}
_FROM_PACS = ("Content-Type", "Content-Length", "Content-Range", "ETag", "WWW-Authenticate")
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is served."""

    files: Path
    """The viewer's built `dist` folder."""
    app_config: str
    pacs: Upstream


class ViewerSite:
    """Serves on `host`, by default on a free loopback port, while entered."""

    def __init__(self, content: Content, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = (host, port)
        self._content = content

    @property
    def url(self) -> str:
        """Where to point the browser; without a slash at the end."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        content = self._content
        host = self._address[0]

        class Bound(_Handler):
            served = content
            on_loopback = host == "localhost" or ip_address(host).is_loopback

        self._server = ThreadingHTTPServer(self._address, Bound)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_FOR_END_S,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self) -> None:
        """Until interrupted."""
        self._thread.join()


def _is_of_a_study(rest: str) -> bool:
    """Nothing else of the PACS's web interface is opened, and no way up leads out of it."""
    steps = unquote(urlsplit(rest).path).split("/")
    return steps[:2] == ["", "studies"] and not {".", ".."} & set(steps)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    """Seconds an open connection may be silent."""
    served: Content
    on_loopback: bool

    def do_GET(self) -> None:
        """Answer one request."""
        path = urlsplit(self.path).path
        if not self._is_meant_for_us():
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "unknown host name")
        elif path.startswith(f"{DICOMWEB}/"):
            self._pass_on()
        elif path == "/app-config.js":
            self._send(self.served.app_config.encode(), "text/javascript")
        else:
            self._send_file(path)

    do_HEAD = do_GET  # noqa: N815 (the base's name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        """Keep silent: addresses of requests hold patients' identifiers."""

    def _is_meant_for_us(self) -> bool:
        """A loopback server answers to loopback names only, whatever a foreign page's name means.

        Otherwise that page could make its own name point here and read the studies (DNS rebinding).
        """
        if not self.on_loopback:
            return True
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        try:
            return name == "localhost" or ip_address(name).is_loopback
        except ValueError:
            return False

    def _send_file(self, path: str) -> None:
        """A file of the viewer; its own routes (`/viewer?...`) are its start page."""
        root = self.served.files.resolve()
        try:
            wanted = (root / unquote(path).lstrip("/")).resolve()
        except ValueError:
            self._refuse(HTTPStatus.BAD_REQUEST, "not a path")
            return
        if not (wanted.is_relative_to(root) and wanted.is_file()):
            if "." in path.rsplit("/", 1)[-1]:
                self._refuse(HTTPStatus.NOT_FOUND, "no such file")
                return
            wanted = root / "index.html"
        known = _TYPES.get(wanted.suffix) or mimetypes.guess_type(wanted.name)[0]
        self._send(wanted.read_bytes(), known or "application/octet-stream")

    def _pass_on(self) -> None:
        rest = self.path.removeprefix(DICOMWEB)
        if not _is_of_a_study(rest):
            self._refuse(HTTPStatus.NOT_FOUND, "only studies are passed on")
            return
        host = self.headers.get("Host", "")
        try:
            with self.served.pacs.get(rest, dict(self.headers), host) as response:
                headers = {
                    name: value
                    for name in _FROM_PACS
                    if (value := response.getheader(name)) is not None
                }
                self._start(response.status, {**headers, "Cache-Control": "no-store"})
                while self.command == "GET" and (piece := response.read(_PIECE)):
                    self.wfile.write(piece)
        except ViewerUnavailable as exc:
            self._refuse(HTTPStatus.BAD_GATEWAY, str(exc))
        except (OSError, HTTPException):
            # One of the two sides went away in the middle; the browser sees a short answer.
            self.close_connection = True

    def _send(self, content: bytes, kind: str) -> None:
        headers = {"Content-Type": kind, "Content-Length": str(len(content))}
        self._start(HTTPStatus.OK, {**headers, "Cache-Control": "no-cache"})
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        body = reason.encode()
        kind = "text/plain; charset=utf-8"
        self._start(status, {"Content-Type": kind, "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, **_HEADERS}.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            # Its end is told by the end of the connection.
            self.send_header("Connection", "close")
        self.end_headers()
