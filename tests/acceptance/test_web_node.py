"""The pages of a running node: they steer it, and whatever happens to them it goes on receiving."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from dicomnode.domain.access import Role
from dicomnode.receiving import now
from dicomnode.store.accounts import add_account
from dicomnode.store.sessions import add_token
from dicomnode.store.workers import queue_told
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.web.passwords import Passwords, new_token, token_hash
from tests.acceptance.running_node import NodeUnderTest, destination, eventually
from tests.acceptance.studies_on_disk import ct_study, send

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    folder = tmp_path_factory.mktemp("site")
    with (
        EmbeddedPacs(folder / "pacs") as pacs,
        NodeUnderTest(folder=folder / "node", web=True).prepare([destination(pacs)]) as running,
    ):
        yield running


def addresses(node: NodeUnderTest) -> list[str]:
    """Where the pages were served, each time they started."""
    lines = [json.loads(line) for line in node.log.splitlines() if line.startswith("{")]
    return [line["address"] for line in lines if line["event"] == "web.started"]


def program(node: NodeUnderTest) -> httpx.Client:
    """A client with the token of an administrator."""
    (address,) = eventually(lambda: addresses(node), what=f"pages; {node.log}")
    token, database = new_token("dn_"), node.database
    hashed = Passwords().hash("some words in a row")
    add_account(database, name="anna", role=Role.ADMIN, password_hash=hashed, now=now())
    add_token(database, "anna", token_hash(token), "test", now(), lasts=None)
    database.dispose()
    return httpx.Client(
        base_url=f"{address}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60
    )


def of_the_pages(node: NodeUnderTest, port: int) -> psutil.Process | None:
    """The process that listens there."""
    for child in node.children():
        try:
            if any(one.laddr.port == port for one in child.net_connections()):
                return child
        except psutil.Error:
            continue
    return None


def test_pages_pause_models_and_their_end_stops_nothing(
    node: NodeUnderTest, tmp_path: Path
) -> None:
    client = program(node)
    assert client.post("/queue/pause", json={"reason": "test"}).status_code == 200
    # The worker looks every two seconds; what closes before it has looked still starts.
    eventually(lambda: "queue.paused" in node.log, what="models halted")
    first, paths = ct_study("first", tmp_path)
    send(node, paths)
    node.job_of(first.study_uid, "queued")
    port = int(re.sub(r".*:", "", addresses(node)[0]))
    pages = of_the_pages(node, port)
    assert pages is not None
    pages.kill()
    # Received, closed and matched while nobody serves pages; held back, for models are paused.
    second, paths = ct_study("second", tmp_path)
    send(node, paths)
    node.job_of(second.study_uid, "queued")
    told = queue_told(node.database, now())
    assert (told.running, told.waiting_count) == ((), 2)
    assert [one.state for one in told.workers] == ["works"]

    def restarted() -> psutil.Process | None:
        found = next((one for one in node.children() if _listens_elsewhere(node, one)), None)
        return found if found is not None and found.pid != pages.pid else None

    process = eventually(restarted, what=f"pages again; {node.log}")
    again = next(one.laddr.port for one in process.net_connections() if one.status == "LISTEN")
    client.base_url = httpx.URL(f"http://127.0.0.1:{again}/api/v1")
    assert client.post("/queue/resume").json()["pause"] is None
    node.delivered(first.study_uid)
    assert node.delivered(second.study_uid).state == "succeeded"
    assert client.get(f"/studies/{second.study_uid}").json()["jobs"][0]["state"] == "succeeded"
    client.close()


def _listens_elsewhere(node: NodeUnderTest, process: psutil.Process) -> bool:
    """True for a process that listens, but not for DICOM."""
    try:
        ports = [one.laddr.port for one in process.net_connections() if one.status == "LISTEN"]
    except psutil.Error:
        return False
    return bool(ports) and node.port not in ports


def test_a_port_that_is_taken_keeps_the_node_from_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken, EmbeddedPacs(tmp_path / "pacs") as pacs:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = NodeUnderTest(folder=tmp_path / "node", web=True).prepare([destination(pacs)])
        port = taken.getsockname()[1]
        text = node.settings_path.read_text(encoding="utf-8")
        text = text.replace("enabled = true\nport = 0", f"enabled = true\nport = {port}")
        node.settings_path.write_text(text, encoding="utf-8")
        with node:
            identity, paths = ct_study("taken", tmp_path)
            send(node, paths)
            assert node.delivered(identity.study_uid, timeout_s=300).state == "succeeded"
            eventually(lambda: f"web.port {port}" in node.log, what="the reason in the log")
