"""The audit trail is sent on to a syslog collector, beside whatever writes it.

Which entry was sent last stands in a file of the data folder, so a collector that was away, or a
node that was, misses nothing: an entry may be sent twice, with the same number and hash. The first
time it begins with what comes next.
"""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import structlog

from dicomnode.deliver.syslog import send_by_tls, send_by_udp
from dicomnode.domain.errors import ConfigError
from dicomnode.domain.tls import client_context
from dicomnode.encode.audit_message import AuditSource, syslog_line
from dicomnode.settings import Settings
from dicomnode.steps.node import Node
from dicomnode.store.audit import entries_after, newest_entry

log = structlog.get_logger()

# Entries over one connection.
AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How far the audit trail was sent."""

    last: int
    """Number of the last entry sent."""
    failures: int
    """Tries that failed, ever."""


def audit_sent(settings: Settings) -> Sent | None:
    """What the file says; None: nothing was begun, or it cannot be read."""
    try:
        values = json.loads(_path(settings).read_text(encoding="utf-8"))
        return Sent(last=int(values["last"]), failures=int(values["failures"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


class AuditForwarder:
    """Sends what is new. Never in the way of who writes the trail."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_down = False

    def send(self) -> bool:
        """Send the next entries; True: there may be more.

        A failure is counted and logged once; the same entries are tried again at the next turn.
        """
        settings = self._node.settings
        sent = audit_sent(settings)
        if sent is None:
            _keep(settings, Sent(last=newest_entry(self._node.database), failures=0))
            return True
        entries = entries_after(self._node.database, sent.last, AT_ONCE)
        if not entries:
            return False
        source = AuditSource(
            ae_title=settings.ae_title, host=socket.gethostname(), process_id=os.getpid()
        )
        try:
            _send([syslog_line(entry, source) for entry in entries], settings)
        except (OSError, ConfigError) as exc:
            _keep(settings, Sent(last=sent.last, failures=sent.failures + 1))
            if not self._is_down:
                log.warning("audit.not-sent", host=settings.audit.syslog_host, reason=str(exc))
            self._is_down = True
            return False
        self._is_down = False
        _keep(settings, Sent(last=entries[-1].id, failures=sent.failures))
        return len(entries) == AT_ONCE


def _send(lines: list[bytes], settings: Settings) -> None:
    audit = settings.audit
    if audit.tls is None:
        send_by_udp(lines, audit.syslog_host, audit.syslog_port)
        return
    send_by_tls(
        lines,
        audit.syslog_host,
        audit.syslog_port,
        context=client_context(audit.tls.files),
        name=audit.tls.server_name or audit.syslog_host,
    )


def _path(settings: Settings) -> Path:
    return settings.data_dir / "audit-syslog.json"


def _keep(settings: Settings, sent: Sent) -> None:
    path = _path(settings)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps({"last": sent.last, "failures": sent.failures}), encoding="utf-8")
    partial.replace(path)
