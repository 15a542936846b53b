"""Notices of urgent studies: what they say, and who is asked again."""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomnode.deliver.mllp import send_by_mllp
from dicomnode.domain.notices import Notice, NoticedFinding
from dicomnode.domain.tls import TlsFiles, server_context
from dicomnode.encode.notice import notice_message
from dicomnode.receive.reports.hl7 import NotOurMessage, read_message
from dicomnode.receive.reports.hl7_segments import segments_of
from dicomnode.steps.node import Node
from dicomnode.steps.notifying import Notifier
from dicomnode.store.notices import untold_flags
from dicomnode.testing.certificates import Authority
from tests.contract.store_scenes import at
from tests.unit.steps_node import column, event_names, tick
from tests.unit.test_steps_triage import recorded

NOTICE = Notice(
    id=7,
    flagged_at=at(0),
    job_id="ab" * 32,
    study_uid="1.2.3",
    rule="first",
    urgency="stat",
    algorithm="cxr_thorax",
    algorithm_version="1.0.0",
    findings=(
        NoticedFinding(name="Effusion", code=("60046008", "SCT", "Pleural effusion"), score=0.71),
        NoticedFinding(name="Nodule 1", code=None, score=None),
    ),
    patient_id="P|1&2",
    patient_name="Müller^Zoë^A^Dr^jr=ignored",
    patient_birth_date="19500102",
    patient_sex="F",
    accession_number="A~7",
    study_date="20240131",
    study_time="101500.5",
    description="Chest\r\nPA",
)


class Receiver(threading.Thread):
    """Answers each connection's message by `answer(control id)`; None closes without a word."""

    def __init__(
        self, answer: Callable[[str], str | None], context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(daemon=True)
        self._answer, self._context = answer, context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.messages: list[bytes] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
                if self._context is not None:
                    peer = self._context.wrap_socket(peer, server_side=True)
                with peer:
                    self._converse(peer)
            except ssl.SSLError:
                continue
            except OSError:
                return

    def _converse(self, peer: socket.socket) -> None:
        heard = b""
        while not heard.endswith(b"\x1c\r"):
            part = peer.recv(4096)
            if not part:
                return
            heard += part
        self.messages.append(heard[1:-2])
        said = self._answer(heard.decode().split("|")[9])
        if said is not None:
            # In pieces, as a network may deliver it.
            for piece in (b"\x0b", said.encode()[:9], said.encode()[9:], b"\x1c", b"\r"):
                peer.sendall(piece)

    def close(self) -> None:
        self._listening.close()


def acknowledged(code: str) -> Callable[[str], str]:
    return lambda control: f"MSH|^~\\&|A|B|||||ACK|1|P|2.5\rMSA|{code}|{control}|words\r"


def flagged_node(folder: Path, port: int, **notices: Any) -> Node:
    """A node with one flagged study, told to tell the receiver at `port`."""
    node = recorded(folder, said="positive")
    section = {"hl7_host": "127.0.0.1", "hl7_port": port, "timeout_s": 2, **notices}
    settings = node.settings.model_validate({**node.settings.model_dump(), "notices": section})
    return replace(node, settings=settings)


def ends(node: Node) -> list[str]:
    return [name for name in event_names(node.database) if name.startswith("notice.")]


class TestMessage:
    def text(self) -> bytes:
        return notice_message(NOTICE, ae_title="NODE", receiver=("RIS", "A&B"), now=at(60))

    def test_every_value_is_escaped_and_read_back_as_it_was(self) -> None:
        by_name = {one.name: one for one in segments_of(self.text()) if one.name != "OBX"}
        msh, pid, obr = by_name["MSH"], by_name["PID"], by_name["OBR"]
        assert [msh.component(n) for n in (3, 4, 5, 6, 10, 12)] == [
            *("DICOMNODE", "NODE", "RIS", "A&B", "abababababab-7", "2.5.1")
        ]
        assert msh.raw(18) == "UNICODE UTF-8"
        assert pid.component(3) == "P|1&2"
        assert pid.components(5)[:5] == ("Müller", "Zoë", "A", "jr", "Dr")
        assert [obr.component(n) for n in (5, 7, 18, 25)] == ["S", "20240131101500", "A~7", "P"]
        assert obr.components(4)[:3] == ("cxr_thorax", "Chest PA", "99DICOMNODE")
        assert b"ignored" not in self.text()
        assert self.text().count(b"\n") == 0

    def test_findings_are_coded_and_preliminary_and_the_text_says_research_use(self) -> None:
        seen = [one for one in segments_of(self.text()) if one.name == "OBX"]
        assert [one.component(1) for one in seen] == ["1", "2", "3", "4", "5"]
        assert {one.component(11) for one in seen} == {"P"}
        assert seen[0].component(5) == "1.2.3"
        assert seen[1].components(5)[:3] == ("60046008", "Pleural effusion", "SCT")
        assert seen[2].component(5) == "0.710"
        assert seen[3].components(5)[1] == "Nodule 1"
        assert "Research use only" in seen[4].component(5)

    def test_a_notice_that_comes_back_is_no_report(self) -> None:
        with pytest.raises(NotOurMessage):
            read_message(self.text())
        assert read_message(self.text().replace(b"|DICOMNODE|", b"|OTHER|", 1))


class TestAnswers:
    @pytest.mark.parametrize(
        "said",
        [
            lambda _: None,
            lambda _: "MSH|^~\\&|\rMSA|AA|other|\r",
            lambda control: f"MSH|^~\\&|\rMSA|OK|{control}|\r",
            lambda _: "HTTP/1.1 400 Bad Request",
            lambda _: "MSH\r",
            lambda _: "x" * 70_000,
        ],
        ids=["silent", "another message", "no code", "no HL7", "cut short", "endless"],
    )
    def test_what_does_not_acknowledge_this_message_is_a_failure(
        self, said: Callable[[str], str | None]
    ) -> None:
        receiver = Receiver(said)
        with pytest.raises(OSError, match="peer"):
            send_by_mllp(
                b"MSH|^~\\&|||||||||1\r", "127.0.0.1", receiver.port, control_id="1", timeout_s=2
            )
        receiver.close()

    def test_over_tls_the_receiver_has_to_be_who_it_should(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path, "site")
        issued = authority.issue("ris")
        files = TlsFiles(certificate=issued.certificate, key=issued.key, authorities=None)
        receiver = Receiver(acknowledged("AA"), server_context(files))
        node = flagged_node(tmp_path, receiver.port, tls={"authorities": authority.certificate})
        Notifier(node).send()
        assert ends(node) == ["notice.accepted"]
        receiver.close()

    def test_a_certificate_of_someone_else_is_told_nothing(self, tmp_path: Path) -> None:
        issued = Authority(tmp_path, "other").issue("ris")
        files = TlsFiles(certificate=issued.certificate, key=issued.key, authorities=None)
        receiver = Receiver(acknowledged("AA"), server_context(files))
        known = Authority(tmp_path, "site").certificate
        node = flagged_node(tmp_path, receiver.port, tls={"authorities": known})
        Notifier(node).send()
        assert ends(node) == []
        assert receiver.messages == []
        receiver.close()


class TestNotifier:
    @pytest.mark.parametrize(
        ("code", "end"), [("AA", "accepted"), ("CA", "accepted"), ("AR", "refused")]
    )
    def test_a_notice_that_has_its_end_is_not_sent_again(
        self, tmp_path: Path, code: str, end: str
    ) -> None:
        receiver = Receiver(acknowledged(code))
        node = flagged_node(tmp_path, receiver.port)
        notifier = Notifier(node)
        notifier.send()
        notifier.send()
        Notifier(node).send()
        receiver.close()
        assert ends(node) == [f"notice.{end}"]
        assert len(receiver.messages) == 1
        assert not any("words" in str(facts) for facts in column(node.database, "event", "facts"))

    def test_not_now_is_asked_again_later_and_later_with_one_control_id(
        self, tmp_path: Path
    ) -> None:
        receiver = Receiver(acknowledged("AE"))
        node = flagged_node(tmp_path, receiver.port)
        notifier, counts = Notifier(node), []
        for seconds in (100, 104, 105, 114, 115):
            tick(node, seconds)
            notifier.send()
            counts.append(len(receiver.messages))
        receiver.close()
        assert counts == [1, 1, 2, 2, 3]
        assert len({message.split(b"|")[9] for message in receiver.messages}) == 1
        assert ends(node) == []

    def test_a_receiver_that_is_away_misses_nothing_until_it_is_too_late(
        self, tmp_path: Path
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = int(nobody.getsockname()[1])
        node = flagged_node(tmp_path, port, give_up_after_s=3600)
        tick(node, 3000)
        Notifier(node).send()
        assert ends(node) == []
        assert len(untold_flags(node.database, at(0), 10)) == 1
        tick(node, 4000)
        Notifier(node).send()
        assert ends(node) == ["notice.refused"]
        assert untold_flags(node.database, at(0), 10) == ()
