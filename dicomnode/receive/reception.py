"""The desk: who is in, who may come in, and the one log of both."""

import threading
from collections.abc import Callable, Sequence

from pydicom.uid import UID

from dicomnode.domain.errors import InvalidUid
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import checked_uid
from dicomnode.domain.instances import Association
from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.receive.admission import Applicant, Rejection, admit
from dicomnode.receive.storing import StoreSession, Storing
from dicomnode.settings import ReceiveSettings


class Reception:
    """Admits associations and counts them. Shared by all threads of a receiver."""

    def __init__(
        self,
        settings: ReceiveSettings,
        *,
        own_ae: str,
        storing: Storing,
        new_id: Callable[[], str],
    ) -> None:
        self.settings = settings
        self.own_ae = own_ae
        self._storing = storing
        self._new_id = new_id
        self._lock = threading.Lock()
        self._inside = 0
        self._is_draining = False

    def drain(self) -> None:
        """From now on nobody is admitted."""
        with self._lock:
            self._is_draining = True

    def enter(self, applicant: Applicant) -> StoreSession | Rejection:
        """A session for an admitted peer, which must `leave` it; or why it is not admitted."""
        with self._lock:
            rejection = admit(
                self.settings,
                applicant,
                own_ae=self.own_ae,
                open_associations=self._inside,
                is_draining=self._is_draining,
            )
            if rejection is None:
                self._inside += 1
        facts = {
            "calling_ae": applicant.calling_ae,
            "called_ae": applicant.called_ae,
            "address": applicant.address,
        }
        if rejection is not None:
            self._storing.on_event(
                Event(
                    name=EventName.ASSOCIATION_REJECTED, facts={**facts, "why": rejection.because}
                )
            )
            return rejection
        association = Association(
            id=self._new_id(),
            calling_ae=applicant.calling_ae,
            called_ae=applicant.called_ae,
            address=applicant.address,
            opened_at=self._storing.clock(),
        )
        self._storing.on_event(
            Event(name=EventName.ASSOCIATION_OPENED, association_id=association.id, facts=facts)
        )
        return StoreSession(self._storing, association)

    def note_refused_line(self, address: str, why: str) -> None:
        """Log a connection that did not become a secure one, so that nobody could ask."""
        self._storing.on_event(
            Event(name=EventName.ASSOCIATION_REJECTED, facts={"address": address, "why": why})
        )

    def note_stale_certificate(self, why: str) -> None:
        """Log that a changed certificate cannot be used; the one before goes on."""
        self._storing.on_event(Event(name=EventName.CERTIFICATE_REFUSED, facts={"why": why}))

    def leave(self, session: StoreSession, how: AssociationOutcome) -> None:
        """The association of `session` has ended."""
        session.close(how)
        with self._lock:
            self._inside -= 1

    def note_refused_contexts(
        self, session: StoreSession, abstract_syntaxes: Sequence[str]
    ) -> None:
        """Log which object types a sender would have liked to send but cannot."""
        names = sorted({_syntax_name(uid) for uid in abstract_syntaxes})
        if names:
            self._storing.on_event(
                Event(
                    name=EventName.CONTEXT_REFUSED,
                    association_id=session.association.id,
                    facts={"abstract_syntaxes": "; ".join(names), "count": len(names)},
                )
            )


def _syntax_name(uid: str) -> str:
    """The name of an abstract syntax; peers may send any text as its UID, which is not repeated."""
    try:
        return UID(checked_uid(uid)).name
    except InvalidUid:
        return "not a UID"
