"""Who is told at once of studies that findings have made urgent."""

from dicomnode.settings.receiving import PeerTls
from dicomnode.settings.values import Port, Seconds, Section


class NoticeSettings(Section):
    """Flagged studies as HL7 v2 ORU^R01 over MLLP; off by default."""

    hl7_host: str = ""
    """Name or address of the receiver; empty: nothing is sent."""
    hl7_port: Port = 2575
    tls: PeerTls | None = None
    """Given: MLLP in TLS. None: unencrypted, patient's name and all."""
    receiving_application: str = ""
    """MSH-5."""
    receiving_facility: str = ""
    """MSH-6."""
    timeout_s: Seconds = 10.0
    give_up_after_s: Seconds = 86_400.0
    """A notice that was not taken by then is not sent any more."""
