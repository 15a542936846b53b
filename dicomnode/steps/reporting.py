"""From a report in the index to its study and its labels."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

import structlog

from dicomnode.domain.errors import DiskFault, InstanceUnreadable, StoreError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.incoming_reports import IncomingReport
from dicomnode.domain.reports import Reason, Report, ReportLabels
from dicomnode.receive.reports.sr import read_sr
from dicomnode.reports import Miner, MinerSetup, open_miner
from dicomnode.reports.sections import split_sections
from dicomnode.settings import ReportSettings
from dicomnode.steps.node import Node
from dicomnode.steps.patience import Patience
from dicomnode.steps.refused_reports import list_unreadable, put_aside
from dicomnode.store.database import Database
from dicomnode.store.readings import (
    Reading,
    StoredReport,
    record_readings,
    unmined_reports,
    version_of,
)
from dicomnode.store.report_instances import WaitingSr, mark_sr, waiting_srs
from dicomnode.store.report_matching import match_new_reports, match_new_studies
from dicomnode.store.reports import keep_reports

log = structlog.get_logger()

SR_BATCH = 50
MATCH_BATCH = 500
MINE_BATCH = 200


def setup_of(settings: ReportSettings) -> MinerSetup:
    """What the settings say to mine with."""
    return MinerSetup(policy=settings.policy, lexicons=settings.lexicons, graph=settings.graph)


def register_version(database: Database, miner: Miner, now: datetime) -> int:
    """The row of the version that `miner` is."""
    lexicon = miner.lexicon
    return version_of(
        database,
        miner.versions,
        labels=lexicon.labels,
        codes={each.id: each.codes for each in lexicon.findings.values()},
        now=now,
    )


def read_reports(miner: Miner, reports: Sequence[StoredReport]) -> list[Reading]:
    """All that the reports say, in order. What the miner fails on is flagged, and stops nothing."""
    texts = [each.report for each in reports]
    try:
        mined = miner.mine(texts)
    except Exception as exc:  # noqa: BLE001 (a bug met by one text must not hold up the others)
        log.warning("reports.batch-failed", reports=len(reports), error=type(exc).__name__)
        mined = [_mine_alone(miner, text) for text in texts]
    return [
        Reading(
            report_id=each.id,
            sections=tuple(split_sections(each.report, miner.lexicon.headings)),
            labels=labels,
        )
        for each, labels in zip(reports, mined, strict=True)
    ]


def _mine_alone(miner: Miner, report: Report) -> ReportLabels:
    try:
        return miner.mine([report])[0]
    except Exception as exc:  # noqa: BLE001 (flagged, so that it is seen, and the rest is read)
        # Without the traceback: its last line may quote the text.
        log.warning("report.failed", report=report.report_id, error=type(exc).__name__)
        return ReportLabels(
            report_id=report.report_id,
            labels={},
            normal=False,
            mentions=(),
            flags=(Reason.FAILED,),
            versions=miner.versions,
        )


class Reporting:
    """Matches and mines what came in; driven by loops, kept by the index."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._patience = Patience()

    def take(self) -> bool:
        """Keep the reports of SRs that came by C-STORE; True if there may be more."""
        not_due = self._patience.waiting(self._node.clock())
        srs = waiting_srs(self._node.database, SR_BATCH, but=not_due)
        for sr in srs:
            try:
                mark_sr(self._node.database, sr, self._taken(sr))
            except DiskFault as exc:
                self._wait(sr, exc)
        return len(srs) == SR_BATCH

    def _wait(self, sr: WaitingSr, fault: DiskFault) -> None:
        if self._patience.is_new(sr.sop_instance_uid, self._node.clock()):
            facts = {"instance": sr.sop_instance_uid, "reason": str(fault)}
            self._node.log(Event(name=EventName.DISK_FAULT, facts=facts))

    def _taken(self, sr: WaitingSr) -> str:
        try:
            report = read_sr(sr.path)
        except InstanceUnreadable as exc:
            self._unreadable(sr, str(exc))
            return "unreadable"
        except OSError as exc:
            self._unreadable(sr, f"its file cannot be read ({exc.strerror})")
            return "unreadable"
        if report is None:
            return "no-words"
        try:
            keep_reports(self._node.database, [report], self._node.clock())
        except StoreError as exc:
            if exc.retryable:
                raise
            # Tried again, it would hold up all that came after it.
            self._unreadable(sr, "the index refuses it")
            return "unreadable"
        return "kept"

    def _unreadable(self, sr: WaitingSr, reason: str) -> None:
        list_unreadable(self._node.database, sr, reason, self._node.clock())

    def keep_messages(self, reports: Sequence[IncomingReport]) -> None:
        """Keep the reports of an HL7 message."""
        keep_reports(self._node.database, reports, self._node.clock())

    def refuse_message(self, data: bytes, reason: str) -> None:
        """Put an HL7 message that cannot be taken aside for a person."""
        node = self._node
        put_aside(node.database, node.settings.data_dir, data, reason, node.clock())

    def match(self) -> bool:
        """Look for the studies of new reports, and for the reports of new studies."""
        database, now = self._node.database, self._node.clock()
        studies = match_new_studies(database, MATCH_BATCH, now)
        reports = match_new_reports(database, MATCH_BATCH, now)
        return MATCH_BATCH in (studies, reports)

    def mine(self) -> bool:
        """Label a batch of new reports; True if there may be more."""
        reports = unmined_reports(self._node.database, MINE_BATCH)
        if reports:
            readings = read_reports(self._miner, reports)
            record_readings(self._node.database, self._version, readings, in_force=True)
        return len(reports) == MINE_BATCH

    @cached_property
    def _miner(self) -> Miner:
        # Made for the first report: a node without reports does not pay for the language model.
        return open_miner(setup_of(self._node.settings.reports))

    @cached_property
    def _version(self) -> int:
        return register_version(self._node.database, self._miner, self._node.clock())
