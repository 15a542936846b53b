"""Where the audit trail is also sent."""

from dicomnode.settings.receiving import PeerTls
from dicomnode.settings.values import Port, Section


class AuditSettings(Section):
    """The audit trail as messages of PS3.15 A.5 to a syslog collector; off by default."""

    syslog_host: str = ""
    """Name or address of the collector; empty: nothing is sent."""
    syslog_port: Port = 514
    """Usual: 514 for UDP, 6514 for TLS."""
    tls: PeerTls | None = None
    """Given: TLS over TCP (RFC 5425). None: UDP (RFC 5426), unencrypted."""
