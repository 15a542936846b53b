"""A critical finding in a real node: its results go first, HL7 tells of it, the list shows it."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicomnode.store.study_list import StudySearch, list_studies
from dicomnode.testing.brightness import CRITICAL, write_classifier
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.studies import StudyIdentity, radiograph
from tests.acceptance.running_node import NodeUnderTest, destination, eventually, free_port
from tests.acceptance.studies_on_disk import send, write

pytestmark = pytest.mark.timeout(1200)

RULES = f"""\
[[rule]]
name = "radiographs"
algorithm = "bright_images"
[rule.series.image]
Modality = ["CR", "DX"]

[[rule.alert]]
finding = "{CRITICAL}"
to = "stat"
"""


class Hl7Receiver(threading.Thread):
    """Takes one message a connection; answers with the next of `codes`, the last for ever."""

    def __init__(self, port: int, codes: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.codes = list(codes)
        self.messages: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", port))

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            with peer:
                heard = b""
                while not heard.endswith(b"\x1c\r"):
                    heard += peer.recv(4096)
                message = heard[1:-2].decode()
                control = message.split("|")[9]
                code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
                answer = f"MSH|^~\\&|RIS|X|||20240101||ACK|1|P|2.5.1\rMSA|{code}|{control}\r"
                peer.sendall(b"\x0b" + answer.encode() + b"\x1c\r")
                self.messages.append(message)

    def close(self) -> None:
        self._listening.close()


@dataclass(frozen=True, kw_only=True)
class Site:
    node: NodeUnderTest
    pacs: EmbeddedPacs
    hl7_port: int


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    node, port = NodeUnderTest(folder=tmp_path / "node", quiet_s=0.5, released_s=0.2), free_port()
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        patient = destination(pacs).replace("timeout_s = 5.0", "timeout_s = 90.0")
        notices = f'\n[notices]\nhl7_host = "127.0.0.1"\nhl7_port = {port}\n'
        node.prepare([notices, patient])
        write_classifier(node.folder / "bundles")
        (node.folder / "rules.toml").write_text(RULES, encoding="utf-8")
        with node:
            yield Site(node=node, pacs=pacs, hl7_port=port)


def sent(site: Site, folder: Path, seed: str, *, bright: bool) -> str:
    """One radiograph of its own patient; its study."""
    identity = StudyIdentity(seed=seed, patient_id=f"PHANTOM-{seed}")
    pixels = np.full((64, 64), 500, np.uint16)
    pixels[:8, :8] = 4000
    if bright:
        pixels = 4500 - pixels
    send(site.node, write([radiograph(identity, pixels)], folder / seed))
    return identity.study_uid


def test_a_critical_finding_is_delivered_first_shown_in_the_list_and_told_by_hl7(
    site: Site, tmp_path: Path
) -> None:
    released = threading.Event()
    site.pacs.misbehaviour = Misbehaviour(answer_when=released)
    # The line to the archive is busy with the first while the others come.
    studies = []
    for number in range(3):
        studies.append(sent(site, tmp_path, f"routine-{number}", bright=False))
        site.node.job_of(studies[-1], "succeeded")
    urgent = sent(site, tmp_path, "urgent", bright=True)
    assert site.node.job_of(urgent, "succeeded").priority == 1
    assert not site.pacs.stored
    released.set()
    for study in (*studies, urgent):
        site.node.delivered(study)
    order = [one.study_uid for one in site.pacs.stored]
    assert order == [studies[0], urgent, *studies[1:]]

    database = site.node.database
    page = list_studies(database, StudySearch(is_flagged=True), datetime.now(UTC))
    database.dispose()
    assert [one.flagged for one in page.studies] == [(f"stat: {CRITICAL}",)]

    # Nobody has listened so far; then one who says "not now" first.
    receiver = Hl7Receiver(site.hl7_port, ("AE", "AA"))
    receiver.start()
    try:
        eventually(lambda: "notice.accepted" in events(site, urgent), what="the notice is taken")
    finally:
        receiver.close()
    first, second = receiver.messages
    assert first.split("|")[9] == second.split("|")[9]
    assert "PHANTOM-urgent" in first
    assert f"OBX|2|CWE|121071^Finding^DCM|1|36118008^{CRITICAL}^SCT|||A|||P" in first.split("\r")
    assert urgent in first
    assert all("notice.accepted" not in events(site, study) for study in studies)


def events(site: Site, study: str) -> list[str]:
    told = site.node.story(study)
    assert told is not None
    return [event.name for event in told.events]
