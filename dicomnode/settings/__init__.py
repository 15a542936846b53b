"""One frozen `Settings`, read once from a TOML file; every fault is reported at once.

Sections are handed down to the rooms that need them. Secrets never stand in the file: the database
URLs may be given by `DICOMNODE_DATABASE_URL` and `DICOMNODE_FLOW_DATABASE_URL` instead.
"""

from dicomnode.settings.audit import AuditSettings
from dicomnode.settings.destinations import Confirm, Destination, Form, SegmentationType
from dicomnode.settings.files import FilesSettings
from dicomnode.settings.keeping import KeepSettings
from dicomnode.settings.loading import load_settings
from dicomnode.settings.notices import NoticeSettings
from dicomnode.settings.receiving import (
    AllowedPeer,
    AssemblySettings,
    CommitmentAsker,
    CountQuery,
    PeerTls,
    ReceiveSettings,
    ReceiveTls,
)
from dicomnode.settings.reports import Hl7Settings, ReportField, ReportSettings, SqlSettings
from dicomnode.settings.values import AETitle, DatabaseUrl, Port, Seconds, Uid, is_loopback
from dicomnode.settings.web import OidcSettings, WebSettings
from dicomnode.settings.whole import INDEX_FILE, Settings
from dicomnode.settings.working import (
    AlgorithmSettings,
    FlowSettings,
    LesionSettings,
    OutputSettings,
)

__all__ = [
    "INDEX_FILE",
    "AETitle",
    "AlgorithmSettings",
    "AllowedPeer",
    "AssemblySettings",
    "AuditSettings",
    "CommitmentAsker",
    "Confirm",
    "CountQuery",
    "DatabaseUrl",
    "Destination",
    "FilesSettings",
    "FlowSettings",
    "Form",
    "Hl7Settings",
    "KeepSettings",
    "LesionSettings",
    "NoticeSettings",
    "OidcSettings",
    "OutputSettings",
    "PeerTls",
    "Port",
    "ReceiveSettings",
    "ReceiveTls",
    "ReportField",
    "ReportSettings",
    "Seconds",
    "SegmentationType",
    "Settings",
    "SqlSettings",
    "Uid",
    "WebSettings",
    "is_loopback",
    "load_settings",
]
