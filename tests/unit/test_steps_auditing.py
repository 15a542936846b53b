"""The audit trail at a syslog collector: one that listens, one that is away, one over TLS."""

import re
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from dicomnode.domain.audit import Deed
from dicomnode.domain.tls import TlsFiles, server_context
from dicomnode.settings import load_settings
from dicomnode.steps.auditing import AuditForwarder, audit_sent
from dicomnode.steps.node import Node
from dicomnode.store.audit import record_deed
from dicomnode.testing.certificates import Authority
from tests.unit.steps_node import open_test_node

READ = Deed(who="anna", address="10.0.0.7", what="study.read", on="1.2.3", facts={"by": "page"})
RFC_5424 = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ dicomnode \d+ DICOM\+RFC3881 - (<.*>)"
)


def sending_node(folder: Path, port: int, tls: Mapping[str, Any] | None = None) -> Node:
    audit = {"syslog_host": "127.0.0.1", "syslog_port": port, "tls": tls}
    node = open_test_node(folder, {"audit": audit})
    # Entries of before it was turned on are not sent.
    note(node, Deed(who="past", address="", what="login"))
    assert AuditForwarder(node).send()
    return node


def note(node: Node, deed: Deed) -> None:
    record_deed(node.database, deed, node.clock())


def collector() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.settimeout(10)
    return bound


def message(line: bytes) -> Element:
    found = RFC_5424.fullmatch(line)
    assert found, line
    return fromstring(found[1])


def values(of: Element, path: str) -> dict[str, str]:
    found = of.find(path)
    assert found is not None, path
    return dict(found.attrib)


def test_an_entry_goes_to_the_collector_once_as_an_audit_message(tmp_path: Path) -> None:
    with collector() as listens:
        node = sending_node(tmp_path, listens.getsockname()[1])
        note(node, READ)
        note(node, Deed(who="", address="ward-pc", what="login.refused", on="Zoë\x00<b>"))
        forwarder = AuditForwarder(node)
        forwarder.send()
        forwarder.send()
        read, refused = message(listens.recv(65536)), message(listens.recv(65536))
        listens.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listens.recv(65536)
    event = values(read, "EventIdentification")
    assert (event["EventActionCode"], event["EventOutcomeIndicator"]) == ("R", "0")
    code = values(read, "EventIdentification/EventID")
    assert (code["csd-code"], code["codeSystemName"]) == ("110103", "DCM")
    assert values(read, "ActiveParticipant") == {
        "UserID": "anna",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
    }
    study = "ParticipantObjectIdentification"
    assert values(read, study)["ParticipantObjectID"] == "1.2.3"
    assert values(read, f"{study}/ParticipantObjectIDTypeCode")["csd-code"] == "110180"
    details = {
        one.attrib["type"]: b64decode(one.attrib["value"]).decode()
        for one in read.iter("ParticipantObjectDetail")
    }
    assert details["by"] == "page"
    assert re.fullmatch("[0-9a-f]{64}", details["hash"])
    assert [child.tag for child in read] == [
        "EventIdentification",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]
    assert values(refused, "EventIdentification")["EventOutcomeIndicator"] == "4"
    assert values(refused, "EventIdentification/EventID")["csd-code"] == "110114"
    assert values(refused, study)["ParticipantObjectID"] == "Zoë<b>"
    assert values(refused, "ActiveParticipant")["NetworkAccessPointTypeCode"] == "1"


def test_facts_too_large_for_a_datagram_are_left_out(tmp_path: Path) -> None:
    with collector() as listens:
        node = sending_node(tmp_path, listens.getsockname()[1])
        note(
            node, Deed(who="a" * 9000, address="", what="question.asked", facts={"q": "x" * 99999})
        )
        AuditForwarder(node).send()
        told = message(listens.recv(65536))
    kinds = [one.attrib["type"] for one in told.iter("ParticipantObjectDetail")]
    assert kinds == ["entry", "hash"]


class TlsCollector:
    """Takes connections, one after the other, until closed."""

    def __init__(self, authority: Authority) -> None:
        issued = authority.issue("collector")
        self._context = server_context(
            TlsFiles(
                certificate=issued.certificate, key=issued.key, authorities=authority.certificate
            )
        )
        self._bound = socket.create_server(("127.0.0.1", 0))
        self.port = self._bound.getsockname()[1]
        self.taken: list[bytes] = []

    def take(self) -> threading.Thread:
        """Take one connection to its end."""
        thread = threading.Thread(target=self._take, daemon=True)
        thread.start()
        return thread

    def _take(self) -> None:
        plain, _ = self._bound.accept()
        with plain:
            try:
                with self._context.wrap_socket(plain, server_side=True) as line:
                    self.taken.append(b"".join(iter(lambda: line.recv(65536), b"")))
            except ssl.SSLError:
                return

    def close(self) -> None:
        self._bound.close()


def test_over_tls_with_certificates_of_both_and_what_failed_is_counted_and_sent_later(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("node")
    listens = TlsCollector(authority)
    shown = {"certificate": ours.certificate, "key": ours.key}
    node = sending_node(
        tmp_path / "node", listens.port, {"authorities": authority.certificate, **shown}
    )
    note(node, READ)
    without = node.settings.audit.tls
    assert without is not None
    ours.certificate.rename(tmp_path / "away.pem")
    assert not AuditForwarder(node).send()
    assert (sent := audit_sent(node.settings)) is not None
    assert sent.failures == 1
    (tmp_path / "away.pem").rename(ours.certificate)
    taking = listens.take()
    AuditForwarder(node).send()
    taking.join(10)
    listens.close()
    length, _, line = listens.taken[0].partition(b" ")
    assert int(length) == len(line)
    assert values(message(line), "ActiveParticipant")["UserID"] == "anna"
    assert not AuditForwarder(node).send()


def test_a_collector_that_refuses_our_certificate_got_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listens = TlsCollector(authority)
    node = sending_node(tmp_path / "node", listens.port, {"authorities": authority.certificate})
    note(node, READ)
    before = audit_sent(node.settings)
    taking = listens.take()
    AuditForwarder(node).send()
    taking.join(10)
    listens.close()
    after = audit_sent(node.settings)
    assert before is not None
    assert after is not None
    assert (after.last, after.failures) == (before.last, 1)
    assert listens.taken == []


def test_a_collector_that_is_away_holds_up_nobody_and_gets_it_all_later(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    listens = TlsCollector(authority)
    listens.close()
    node = sending_node(tmp_path / "node", listens.port, {"authorities": authority.certificate})
    forwarder = AuditForwarder(node)
    for times in (1, 2):
        note(node, READ)
        assert not forwarder.send()
        assert (sent := audit_sent(node.settings)) is not None
        assert (sent.last, sent.failures) == (1, times)


def test_certificates_lie_beside_the_settings_and_by_default_nothing_is_sent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dicomnode.toml"
    path.write_text('[audit]\nsyslog_host = "siem"\n[audit.tls]\nauthorities = "ca.pem"\n')
    audit = load_settings(path, {}).audit
    assert audit.tls is not None
    assert audit.tls.authorities == tmp_path / "ca.pem"
    path.write_text("")
    assert not load_settings(path, {}).audit.syslog_host
