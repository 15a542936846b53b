"""Studies that findings have made urgent are told of by HL7, beside the results' own way.

The index is the queue: a flag waits until an event says that its notice was taken or refused, so a
receiver that was away, or a node that was, misses nothing; a notice may be sent twice, with one
control id.
"""

from datetime import datetime, timedelta

import structlog

from dicomnode.deliver.mllp import Answer, send_by_mllp
from dicomnode.domain.errors import ConfigError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import JobId, StudyUid
from dicomnode.domain.notices import Notice
from dicomnode.domain.tls import client_context
from dicomnode.encode.notice import control_id, notice_message
from dicomnode.steps.node import Node
from dicomnode.store.notices import untold_flags

log = structlog.get_logger()

AT_ONCE = 50
# A receiver that says "not now" is asked again after this, then after twice as long, ...
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=5)


class Notifier:
    """Sends what is untold. Never in the way of results."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._is_down = False
        self._waits: dict[int, tuple[datetime, timedelta]] = {}
        """Of notices that were not taken: the next try, and the wait before it."""

    def send(self) -> bool:
        """Send what waits, oldest first; False: there is no hurry.

        A receiver that cannot be reached is logged once and tried again at the next turn.
        """
        now, last = self._node.clock(), self._node.settings.notices.give_up_after_s
        too_old = now - timedelta(seconds=last)
        for notice in untold_flags(self._node.database, too_old - timedelta(days=1), AT_ONCE):
            if notice.flagged_at < too_old:
                self._end(notice, EventName.NOTICE_REFUSED, "not taken in time")
                continue
            if notice.id in self._waits and now < self._waits[notice.id][0]:
                continue
            try:
                answer = self._ask(notice, now)
            except (OSError, ConfigError) as exc:
                if not self._is_down:
                    log.warning("notice.not-sent", reason=type(exc).__name__)
                self._is_down = True
                return False
            self._is_down = False
            self._heed(notice, answer, now)
        return False

    def _ask(self, notice: Notice, now: datetime) -> Answer:
        settings = self._node.settings.notices
        message = notice_message(
            notice,
            ae_title=self._node.settings.ae_title,
            receiver=(settings.receiving_application, settings.receiving_facility),
            now=now,
        )
        tls = settings.tls
        return send_by_mllp(
            message,
            settings.hl7_host,
            settings.hl7_port,
            control_id=control_id(notice),
            timeout_s=settings.timeout_s,
            context=client_context(tls.files) if tls else None,
            name=tls.server_name if tls else "",
        )

    def _heed(self, notice: Notice, answer: Answer, now: datetime) -> None:
        if answer.code in ("AA", "CA"):
            self._end(notice, EventName.NOTICE_ACCEPTED, answer.code)
        elif answer.code in ("AR", "CR"):
            # Not its words: they may quote the patient.
            self._end(notice, EventName.NOTICE_REFUSED, answer.code)
        else:
            _, before = self._waits.get(notice.id, (now, FIRST_WAIT / 2))
            wait = min(2 * before, LONGEST_WAIT)
            self._waits[notice.id] = (now + wait, wait)

    def _end(self, notice: Notice, name: EventName, answer: str) -> None:
        self._waits.pop(notice.id, None)
        self._node.log(
            Event(
                name=name,
                study_uid=StudyUid(notice.study_uid),
                job_id=JobId(notice.job_id),
                facts={"answer": answer, "to": notice.urgency},
            )
        )
