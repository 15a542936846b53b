"""The site gives the browser files and the PACS's studies, and nothing else."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dicomnode.domain.viewer import ViewerUnavailable
from dicomnode.viewer.site import Content, ViewerSite
from dicomnode.viewer.upstream import Upstream


@dataclass
class Pacs:
    """A web server that remembers what it was asked."""

    url: str
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    asked: list[tuple[str, dict[str, str]]] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, dict(self.headers)))
            unknown_length = "frames" in self.path
            self.send_response(401 if "secret" in self.path else 200)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("WWW-Authenticate", 'Basic realm="PACS"')
            self.send_header("Set-Cookie", "session=1")
            if not unknown_length:
                self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"x" * 300_000 if unknown_length else b"[]")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Pacs(url=f"http://127.0.0.1:{server.server_address[1]}/pacs/", asked=asked)
        server.shutdown()
        thread.join()


@pytest.fixture
def site(pacs: Pacs, tmp_path: Path) -> Iterator[ViewerSite]:
    files = tmp_path / "dist"
    files.mkdir()
    (files / "index.html").write_text("the start page")
    (files / "app.wasm").write_bytes(b"\0asm")
    (files / "app-config.js").write_text("the shipped one")
    (tmp_path / "private.txt").write_text("private")
    content = Content(files=files, app_config="window.config = {};", pacs=Upstream.at(pacs.url))
    with ViewerSite(content) as running:
        yield running


def ask(
    site: ViewerSite, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(site.url).netloc, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/index.html", "/viewer?StudyInstanceUIDs=1.2"])
def test_routes_of_the_viewer_are_its_start_page(site: ViewerSite, path: str) -> None:
    answer, body = ask(site, path)
    assert (answer.status, body) == (200, b"the start page")


def test_every_answer_isolates_its_origin(site: ViewerSite) -> None:
    for path in ("/", "/missing.js", "/dicom-web/studies", "/dicom-web/servers"):
        answer, _ = ask(site, path)
        assert answer.getheader("Cross-Origin-Opener-Policy") == "same-origin"
        assert answer.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
        assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"


def test_files_come_with_their_type_and_the_configuration_is_ours(site: ViewerSite) -> None:
    answer, body = ask(site, "/app.wasm")
    assert (answer.getheader("Content-Type"), body) == ("application/wasm", b"\0asm")
    assert ask(site, "/app-config.js")[1] == b"window.config = {};"
    assert ask(site, "/missing.js")[0].status == 404


@pytest.mark.parametrize("path", ["/../private.txt", "/%2e%2e/private.txt", "/..%2fprivate.txt"])
def test_no_file_outside_is_served(site: ViewerSite, path: str) -> None:
    answer, body = ask(site, path)
    assert (answer.status, b"private" in body) == (404, False)


def test_a_study_is_asked_of_the_pacs_which_learns_the_public_address(
    site: ViewerSite, pacs: Pacs
) -> None:
    headers = {"Accept": "application/dicom+json", "Authorization": "Basic eA==", "Cookie": "own=1"}
    answer, body = ask(site, "/dicom-web/studies?PatientID=a%20b", headers)
    assert (answer.status, body) == (200, b"[]")
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Set-Cookie") is None
    ((path, seen),) = pacs.asked
    assert path == "/pacs/studies?PatientID=a%20b"
    assert seen["Accept"] == "application/dicom+json"
    assert seen["Authorization"] == "Basic eA=="
    assert "Cookie" not in seen
    assert seen["Forwarded"] == f"host={urlsplit(site.url).netloc};proto=http"


def test_an_answer_of_unknown_length_arrives_whole(site: ViewerSite) -> None:
    _, body = ask(site, "/dicom-web/studies/1/series/2/instances/3/frames/1")
    assert len(body) == 300_000


def test_the_pacs_may_ask_for_a_password(site: ViewerSite) -> None:
    answer, _ = ask(site, "/dicom-web/studies/secret")
    assert answer.status == 401
    assert answer.getheader("WWW-Authenticate") == 'Basic realm="PACS"'


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/servers",
        "/dicom-web/studies/../../system",
        "/dicom-web/studies/%2e%2e/servers",
        "/dicom-web//studies",
    ],
)
def test_nothing_but_studies_is_asked_of_the_pacs(site: ViewerSite, pacs: Pacs, path: str) -> None:
    assert ask(site, path)[0].status == 404
    assert pacs.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(site: ViewerSite, pacs: Pacs, method: str) -> None:
    assert ask(site, "/dicom-web/studies", method=method)[0].status == 501
    assert pacs.asked == []


def test_a_foreign_name_that_points_here_gets_nothing(site: ViewerSite, pacs: Pacs) -> None:
    answer, _ = ask(site, "/dicom-web/studies", {"Host": "evil.example:80"})
    assert answer.status == 421
    assert pacs.asked == []
    assert ask(site, "/dicom-web/studies", {"Host": "localhost:80"})[0].status == 200


def test_a_head_request_gets_no_body(site: ViewerSite) -> None:
    answer, body = ask(site, "/", method="HEAD")
    assert (answer.status, answer.getheader("Content-Length"), body) == (200, "14", b"")


def test_a_silent_pacs_is_said_to_be_silent(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    nobody = Upstream.at("http://127.0.0.1:1")
    with ViewerSite(Content(files=tmp_path, app_config="", pacs=nobody)) as site:
        answer, body = ask(site, "/dicom-web/studies")
    assert answer.status == 502
    assert b"ConnectionRefusedError" in body


@pytest.mark.parametrize("url", ["file:///etc/passwd", "pacs:80", "http://", "http://me:pw@pacs/"])
def test_only_a_plain_web_address_is_taken(url: str) -> None:
    with pytest.raises(ViewerUnavailable, match="must be http"):
        Upstream.at(url)
