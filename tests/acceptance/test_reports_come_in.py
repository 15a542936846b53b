"""Reports reach the index by C-STORE and by HL7, are tied to their study, and survive a kill."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.acceptance.running_node import AE_TITLE, NodeUnderTest, eventually, free_port
from tests.acceptance.studies_on_disk import ct_study, send
from tests.unit.test_receive_hl7 import message, obx
from tests.unit.test_receive_sr import container, sr
from tests.unit.test_receive_sr import text as words

pytestmark = pytest.mark.timeout(1200)

STORESCU = Path("/usr/bin/storescu")
HL7_PORT = free_port()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeUnderTest]:
    hl7 = f"\n[reports.hl7]\nenabled = true\nport = {HL7_PORT}\n"
    with NodeUnderTest(folder=tmp_path / "node").prepare([hl7]) as running:
        yield running


def rows(node: NodeUnderTest, query: str) -> Sequence[Sequence[object]]:
    database = node.database
    try:
        with database.reading() as connection:
            return [tuple(row) for row in connection.execute(text(query))]
    finally:
        database.dispose()


def listens() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", HL7_PORT)) == 0


def exchange(sent: Sequence[bytes], *, packet: int = 100_000) -> list[bytes]:
    """Send framed messages in packets of a size; return the code of each acknowledgement."""
    eventually(listens, what="the HL7 port")
    stream = b"".join(b"\x0b" + one + b"\x1c\r" for one in sent)
    answers = b""
    with socket.create_connection(("127.0.0.1", HL7_PORT), timeout=20) as peer:
        for start in range(0, len(stream), packet):
            peer.sendall(stream[start : start + packet])
        while answers.count(b"\x1c\r") < len(sent):
            received = peer.recv(65536)
            assert received
            answers += received
    return [one.split(b"MSA|")[1][:2] for one in answers.split(b"\x1c\r")[:-1]]


def test_an_hl7_report_is_mined_and_found_again(node: NodeUnderTest) -> None:
    sent = [
        message(obx("Small pleural effusion."), control="M1"),
        message(obx("Small pleural effusion."), control="M1"),
        message(obx("x"), control="M2", kind="ADT^A01"),
        b"garbage",
    ]
    assert exchange(sent, packet=7) == [b"AA", b"AA", b"AR", b"AE"]
    query = "SELECT label, words FROM positive_sentence"
    found = eventually(lambda: rows(node, query), what="labels")
    assert found == [("effusion", "pleural effusion")]
    assert len(list((node.settings.data_dir / "refused-reports").glob("*.hl7"))) == 1


@pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK's storescu is not installed")
def test_an_sr_report_is_tied_to_its_study(node: NodeUnderTest, tmp_path: Path) -> None:
    identity, paths = ct_study("reported", tmp_path)
    send(node, paths)
    ds = sr([container("Findings", [words("Finding", "Nodule of 4 mm, see image 12.")])])
    ds.StudyInstanceUID = identity.study_uid
    ds.SeriesInstanceUID, ds.SOPInstanceUID = "1.2.9.1", "1.2.9.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path = tmp_path / "report.dcm"
    ds.save_as(path, enforce_file_format=True)
    options = ["-aec", AE_TITLE, "127.0.0.1", str(node.port)]
    subprocess.run([STORESCU, *options, path], check=True, timeout=60)
    query = "SELECT study_uid, label, image_number FROM key_image WHERE study_uid IS NOT NULL"
    found = eventually(lambda: rows(node, query), what="the key image")
    assert found == [(identity.study_uid, "nodule", 12)]
    assert rows(node, "SELECT matched_by FROM current_report") == [("study-uid",)]
    assert rows(node, "SELECT report_state FROM instance WHERE report_state IS NOT NULL") == [
        ("kept",)
    ]


def test_what_was_acknowledged_survives_a_kill(node: NodeUnderTest) -> None:
    sent = [
        message(obx(f"Nodule of {n} mm."), control=f"K{n}").replace(b"|FI1|", b"|F%d|" % n)
        for n in range(200)
    ]
    eventually(listens, what="the HL7 port")
    acknowledged = 0
    with socket.create_connection(("127.0.0.1", HL7_PORT), timeout=20) as peer:
        peer.sendall(b"".join(b"\x0b" + one + b"\x1c\r" for one in sent))
        answers = b""
        while answers.count(b"\x1c\r") < 20:
            answers += peer.recv(4096)
        node.kill()
        try:
            while received := peer.recv(65536):
                answers += received
        except ConnectionError:
            pass
        acknowledged = answers.count(b"MSA|AA|")
    assert acknowledged >= 20
    kept = {row[0] for row in rows(node, "SELECT source_id FROM report")}
    assert {f"RIS|HOSP|F{n}" for n in range(acknowledged)} <= kept
    node.start()
    assert set(exchange(sent)) == {b"AA"}
    assert rows(node, "SELECT count(*), count(DISTINCT source_id) FROM report") == [(200, 200)]
