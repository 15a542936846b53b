"""From bytes on disk to a closed revision."""

from datetime import timedelta

from dicomnode.assembly.closing import Closed, decide
from dicomnode.assembly.headers import read_header
from dicomnode.deliver.read_back import count_instances
from dicomnode.domain.errors import DeliveryError, DiskFault, InstanceUnreadable, InvalidUid
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.matching import Scope
from dicomnode.rules.matching import requirements_met
from dicomnode.settings import CountQuery
from dicomnode.steps.node import Node
from dicomnode.steps.patience import Patience
from dicomnode.store.closing import (
    OpenStudy,
    close_study,
    open_series,
    open_studies,
    record_expected,
    series_facts,
    with_requirements,
)
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.quarantining import LandedInstance, Unreadable

BATCH = 200
ASK_AGAIN = timedelta(seconds=60)


def index_landed(node: Node, patience: Patience | None = None) -> int:
    """Read the headers of what has landed; return how many instances were looked at.

    What the disk does not give stays landed, and holds up nothing that came after it: `patience`
    says when to look at it again. However long that takes, it is in no study and not lost.
    """
    patience = patience or Patience()
    landed = landed_instances(node.database, BATCH, but=patience.waiting(node.clock()))
    if not landed:
        return 0
    read = [one for one in (_read(one, node, patience) for one in landed) if one is not None]
    index_instances(
        node.database,
        [one for one in read if isinstance(one, Indexed)],
        [one for one in read if isinstance(one, Unreadable)],
        node.clock(),
    )
    return len(landed)


def _read(landed: LandedInstance, node: Node, patience: Patience) -> Indexed | Unreadable | None:
    try:
        header = read_header(landed.path)
    except DiskFault as exc:
        facts = {"instance": landed.sop_instance_uid, "reason": str(exc)}
        if patience.is_new(landed.sop_instance_uid, node.clock()):
            node.log(Event(name=EventName.DISK_FAULT, facts=facts))
        return None
    except (InstanceUnreadable, InvalidUid) as exc:
        return Unreadable(landed=landed, reason=str(exc))
    if header.sop_instance_uid != landed.sop_instance_uid:
        reason = "the data set's SOPInstanceUID is not the one it was announced under"
        return Unreadable(landed=landed, reason=reason)
    return Indexed(landed=landed, header=header)


def close_ready(node: Node) -> tuple[int, ...]:
    """Close every study and series whose evidence says that it is whole; return the revisions."""
    rules = node.rules.refresh().rules
    by_series = any(rule.enabled and rule.scope is Scope.SERIES for rule in rules)
    ready = [*(open_series(node.database) if by_series else ()), *open_studies(node.database)]
    closed = [_close_if_whole(node, study, series_wait=by_series) for study in ready]
    return tuple(revision for revision in closed if revision is not None)


def _close_if_whole(node: Node, study: OpenStudy, *, series_wait: bool) -> int | None:
    known = study
    if not study.evidence.open_associations:
        known = with_requirements(study, _requirements(node, study))
    now = node.clock()
    decision = decide(known.evidence, node.settings.assembly, now)
    if not isinstance(decision, Closed):
        return None
    return close_study(node.database, known, decision.reason, now, series_wait=series_wait)


def _requirements(node: Node, study: OpenStudy) -> bool | None:
    facts = series_facts(node.database, study.study_uid)
    if study.series_uid is not None:
        facts = {study.series_uid: facts[study.series_uid]}
    return requirements_met(
        node.rules.refresh(),
        facts.values(),
        calling_aes=study.calling_aes,
        scope=Scope.STUDY if study.series_uid is None else Scope.SERIES,
        needs={name: known.needs for name, known in node.algorithms.items()},
    )


def ask_counts(node: Node) -> int:
    """Ask senders how many instances their open studies have; return how many were asked for.

    Runs beside `close_ready`, never in it: a sender that does not answer holds up nobody.
    """
    asked = 0
    for study in open_studies(node.database):
        query = _query_for(node, study)
        if query is not None and _should_ask(node, study):
            record_expected(node.database, study, _count(node, study, query), node.clock())
            asked += 1
    return asked


def _should_ask(node: Node, study: OpenStudy) -> bool:
    now = node.clock()
    if (now - study.evidence.last_new_at).total_seconds() < node.settings.assembly.released_s:
        return False
    asked = study.expected_asked_at
    return asked is None or asked < study.evidence.last_new_at or now - asked > ASK_AGAIN


def _count(node: Node, study: OpenStudy, query: CountQuery) -> int | None:
    try:
        return count_instances(study.study_uid, query, own_ae=node.settings.ae_title)
    except DeliveryError:
        # Not known is an answer too: then the quiet period decides.
        return None


def _query_for(node: Node, study: OpenStudy) -> CountQuery | None:
    queries = node.settings.assembly.count_queries
    return next((query for query in queries if query.calling_ae in study.calling_aes), None)
