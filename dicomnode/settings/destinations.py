"""Where results go, and in which forms."""

from enum import Enum
from typing import Annotated

from pydantic import (
    Field,
)

from dicomnode.domain.results import ResultKind
from dicomnode.settings.receiving import PeerTls
from dicomnode.settings.values import AETitle, Port, Seconds, Section


class Confirm(Enum):
    """How a destination is made to prove that it keeps what it was sent."""

    COMMITMENT = "commitment"
    READ_BACK = "read-back"
    NONE = "none"


class Form(Enum):
    """What a destination may want of a job's results; see docs/outputs.md."""

    SEG = "SEG"
    SR = "SR"
    SC = "SC"
    GSPS = "GSPS"
    KOS = "KOS"

    @property
    def kind(self) -> ResultKind:
        """The kind of object."""
        return _KINDS[self]


class SegmentationType(Enum):
    """How masks are packed (PS3.3 C.8.20.2)."""

    BINARY = "binary"
    LABELMAP = "labelmap"


_KINDS = {
    Form.SEG: ResultKind.SEG,
    Form.SR: ResultKind.SR,
    Form.SC: ResultKind.SECONDARY_CAPTURE,
    Form.GSPS: ResultKind.GSPS,
    Form.KOS: ResultKind.KOS,
}


_LABELMAP_TWINS = {
    ResultKind.SEG: ResultKind.LABELMAP,
    ResultKind.SR: ResultKind.LABELMAP_REPORT,
}


class Destination(Section):
    """A PACS that results go to."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    ae_title: AETitle
    host: str
    port: Port
    tls: PeerTls | None = None
    confirm: Confirm = Confirm.READ_BACK
    timeout_s: Seconds = 30.0
    first_retry_s: Seconds = 5.0
    longest_retry_s: Seconds = 900.0
    give_up_after_s: Seconds = 7 * 86400.0
    commitment_wait_s: Seconds = 60.0
    """How long to wait for the N-EVENT-REPORT before asking by C-FIND instead."""
    send: Annotated[tuple[Form, ...], Field(min_length=1)] = (Form.SEG, Form.SR)
    segmentation: SegmentationType = SegmentationType.BINARY
    """LABELMAP falls back to BINARY where the destination accepts no such presentation context."""

    @property
    def kinds(self) -> frozenset[ResultKind]:
        """What it is to get, as it was configured."""
        wanted = frozenset(form.kind for form in self.send)
        if self.segmentation is SegmentationType.BINARY or ResultKind.SEG not in wanted:
            return wanted
        return frozenset(_LABELMAP_TWINS.get(kind, kind) for kind in wanted)
