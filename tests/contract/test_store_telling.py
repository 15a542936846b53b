"""What people are shown: the overview, the story of a study, the event log; on both databases."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import select

from dicomnode.domain.delivery import CommitmentReport
from dicomnode.domain.errors import MissingSlices, StudyError
from dicomnode.domain.events import Event, EventName
from dicomnode.domain.identifiers import InstanceUid, JobId
from dicomnode.domain.jobs import JobState
from dicomnode.domain.matching import RuleText
from dicomnode.domain.results import DeliveryState, EncodedObject, Receipt, ResultKind
from dicomnode.store.database import Database
from dicomnode.store.deliveries import (
    FailedTry,
    outbox,
    record_commitment,
    record_failed_try,
    record_receipt,
    record_request,
    record_unconfirmed,
)
from dicomnode.store.events import log_event, log_events
from dicomnode.store.jobs import dismiss_job, end_job_by_error, load_job, rerun_job, start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.overview import SLOW, latest_studies, overview
from dicomnode.store.rule_versions import rules_in_force, tell_of_rules
from dicomnode.store.story import Story, story
from dicomnode.store.tables import EventRow
from tests.contract.store_scenes import (
    NOON,
    SERIES,
    STUDY,
    at,
    finished_job,
    land,
    outcome_of,
    queued_job,
    receive,
    received_revision,
    running_job,
    uids,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

LATER = at(86400)


def troubles(database: Database) -> list[tuple[str, str]]:
    return [(trouble.what, trouble.reason) for trouble in overview(database, LATER).trouble]


def test_an_empty_node_has_no_trouble(database: Database) -> None:
    shown = overview(database, LATER)
    assert (shown.instances, shown.studies, shown.open_studies) == ({}, 0, 0)
    assert (shown.jobs, shown.deliveries, shown.trouble) == ({}, {}, ())
    assert latest_studies(database, 10) == ()


def test_a_disk_with_less_than_the_reserve_is_trouble(database: Database) -> None:
    database.path_root.mkdir(exist_ok=True)
    shown = overview(database, LATER, reserve_mb=10**9)
    ((what, reason),) = [(one.what, one.reason) for one in shown.trouble]
    assert what == "disk"
    assert "1000000000 MB are reserved: every image is refused" in reason
    assert overview(database, LATER, reserve_mb=0).trouble == ()
    # Where only the index is to be seen, nothing is known of the disk.
    url = database.engine.url.render_as_string(hide_password=False)
    elsewhere = Database(url, database.path_root / "not here")
    assert overview(elsewhere, LATER, reserve_mb=10**9).trouble == ()
    elsewhere.dispose()


def test_that_there_is_more_trouble_than_is_listed_is_told(database: Database) -> None:
    finished_job(database)
    delivered = story(database, STUDY).jobs[0]
    job = load_job(database, JobId(delivered.id))
    for destination in job.destinations:
        for item in outbox(database, job.id, destination):
            refused = FailedTry(
                destination=destination,
                state=DeliveryState.REFUSED,
                reason="no room",
                status=0xA700,
                next_try_at=None,
            )
            record_failed_try(database, item, refused, job, at(10))
    whole = overview(database, LATER)
    assert len(whole.trouble) > 1
    assert whole.shown_of_a_kind is None
    exactly = overview(database, LATER, limit=len(whole.trouble))
    assert exactly == whole
    # Of each kind for itself: what else needs a person is never crowded out.
    receive(database, ["1.2.2.1.1"], association="b", moment=at(60))
    land(database, ["1.2.3.1.1"], association="c", moment=at(60))
    cut = overview(database, LATER, limit=1)
    assert [one.what for one in cut.trouble] == ["delivery", "instance"]
    assert cut.shown_of_a_kind == 1


def test_everything_is_counted_by_state(database: Database) -> None:
    finished_job(database)
    receive(database, ["1.2.2.1.1"], association="b", moment=at(60))
    land(database, ["1.2.3.1.1"], association="c", moment=LATER)
    shown = overview(database, LATER)
    assert shown.instances == {"indexed": 4, "landed": 1}
    assert (shown.studies, shown.open_studies) == (2, 1)
    assert (shown.jobs, shown.deliveries) == ({"succeeded": 1}, {"waiting": 4})


def test_a_rule_file_that_cannot_be_used_is_trouble_until_it_can(database: Database) -> None:
    good = RuleText(digest="ab" * 32, text="[[rule]]")
    assert rules_in_force(database) is None
    tell_of_rules(database, good, (), NOON)
    assert troubles(database) == []
    for _ in range(2):
        tell_of_rules(database, good, ("rules.toml:5: no such word",), NOON)
    ((what, reason),) = troubles(database)
    assert what == "rules"
    assert reason.endswith("rules.toml:5: no such word")
    assert rules_in_force(database) == "[[rule]]"
    tell_of_rules(database, good, (), NOON)
    assert troubles(database) == []
    with database.reading() as connection:
        told = list(connection.scalars(select(EventRow.name).order_by(EventRow.id)))
    assert told == ["rules.loaded", "rules.refused", "rules.loaded"]


def test_a_failed_job_is_trouble_until_it_is_dismissed(database: Database) -> None:
    job = running_job(database)
    end_job_by_error(database, job.id, JobState.REFUSED, MissingSlices("gap after 40"), at(5))
    assert troubles(database) == [("job", "lung_ct refused: MissingSlices: gap after 40")]
    dismiss_job(database, job.id, at(6))
    assert troubles(database) == []


def test_a_job_past_its_deadline_is_trouble(database: Database) -> None:
    running_job(database)
    assert overview(database, at(599)).trouble == ()
    assert troubles(database) == [("job", "lung_ct is still running past its time limit")]


def test_what_does_not_move_on_is_trouble(database: Database) -> None:
    received_revision(database)
    land(database, ["1.2.2.1.1"], association="b")
    assert overview(database, at(1) + SLOW / 2).trouble == ()
    assert troubles(database) == [
        ("study", "closed but not matched yet"),
        ("instance", "received but not indexed yet"),
    ]


def test_a_job_that_no_worker_takes_is_trouble(database: Database) -> None:
    queued_job(database)
    assert overview(database, at(60)).trouble == ()
    assert troubles(database) == [("job", "lung_ct waits for a worker; is one running?")]


def test_a_conflict_is_trouble(database: Database) -> None:
    receive(database, uids(SERIES, [1]))
    land(database, uids(SERIES, [1]), association="x", digest="77")
    ((what, reason),) = troubles(database)
    assert what == "quarantine"
    assert reason.startswith("conflict: another instance with this UID")
    assert reason.endswith("(quarantine/x-1.dcm)")


def test_deliveries_in_trouble_name_destination_and_reason(database: Database) -> None:
    job = finished_job(database)
    assert troubles(database) == [], "results on their first way are no trouble"
    for item in outbox(database, job.id, "pacs"):
        failed = FailedTry(
            destination="pacs",
            state=DeliveryState.WAITING,
            reason="connection refused",
            status=None,
            next_try_at=at(70),
        )
        record_failed_try(database, item, failed, job, at(10))
    words = "to pacs: waiting, try 1: connection refused"
    assert troubles(database) == [("delivery", words)] * 2


def test_sent_but_unproven_is_trouble_only_once_proof_was_given_up(database: Database) -> None:
    job = finished_job(database)
    for item in outbox(database, job.id, "pacs"):
        uid = item.object.sop_instance_uid
        receipt = Receipt(sop_instance_uid=uid, destination="pacs", status=0, comment="", at=at(10))
        record_receipt(database, item, receipt, job)
    assert troubles(database) == []
    record_unconfirmed(database, outbox(database, job.id, "pacs"), job, "no C-FIND", at(20))
    assert len(troubles(database)) == 2


def test_latest_studies_come_newest_first(database: Database) -> None:
    receive(database, ["1.2.1.1.1"], association="a", moment=at(0))
    receive(database, ["1.2.2.1.1"], association="b", moment=at(60))
    lines = latest_studies(database, 10)
    assert [line.study_uid for line in lines] == ["1.2.2", "1.2.1"]
    assert (lines[0].description, lines[0].instances, lines[0].is_open) == ("CT chest", 1, True)
    assert len(latest_studies(database, 1)) == 1


def told_of_a_delivered_study(database: Database) -> Story:
    job = finished_job(database)
    items = outbox(database, job.id, "pacs")
    for item in items:
        uid = item.object.sop_instance_uid
        receipt = Receipt(sop_instance_uid=uid, destination="pacs", status=0, comment="", at=at(10))
        record_receipt(database, item, receipt, job)
    record_request(database, items, "2.25.7")
    kept = tuple(item.object.sop_instance_uid for item in items)
    report = CommitmentReport(transaction_uid="2.25.7", committed=kept, failed={})
    record_commitment(database, report, at(20))
    return story(database, STUDY)


def test_a_story_is_complete(database: Database) -> None:
    told = told_of_a_delivered_study(database)
    assert (told.description, told.is_open, told.instances) == ("CT chest", False, 3)
    (came,) = told.received
    assert (came.calling_ae, came.instances, came.outcome) == ("CT1", 3, "released")
    (series,) = told.series
    assert (series.modality, series.description, series.instances) == ("CT", "Chest", 3)
    (revision,) = told.revisions
    assert (revision.number, revision.reason, revision.instances) == (1, "quiet", 3)
    assert [verdict["rule"] for verdict in revision.verdicts] == [
        "lungs on chest CT",
        "heart on radiograph",
    ]
    (job,) = told.jobs
    assert (job.state, job.version, job.seconds) == (
        "succeeded",
        "1.0.0",
        {"read": 1.0, "infer": 2.5},
    )
    assert job.findings[0].numbers == ("Volume 2,500 ml",)
    assert job.findings[0].meaning == "Left Lung"
    assert job.paths == tuple(f"results/{job.id[:2]}/{job.id}/{kind}.dcm" for kind in ("SEG", "SR"))
    assert [(one.destination, one.kind, one.state) for one in job.deliveries] == [
        ("archive", "SEG", "waiting"),
        ("archive", "SR", "waiting"),
        ("pacs", "SEG", "confirmed"),
        ("pacs", "SR", "confirmed"),
    ]
    assert job.deliveries[2].confirmed_by == "storage-commitment"


def test_the_events_of_a_story_are_in_order(database: Database) -> None:
    names = [event.name for event in told_of_a_delivered_study(database).events]
    assert names == [
        "study.closed",
        "study.matched",
        "job.queued",
        "job.started",
        "result.encoded",
        "result.encoded",
        "job.succeeded",
        "result.sent",
        "result.sent",
        "result.confirmed",
        "result.confirmed",
    ]


def test_objects_of_an_earlier_run_are_told_from_those_of_the_last(database: Database) -> None:
    def run_again(seconds: float, objects: Sequence[EncodedObject]) -> None:
        rerun_job(database, job.id, at(seconds))
        assert start_job(database, job.id, deadline=at(900), now=at(seconds + 1))
        outcome = replace(outcome_of(database, job), objects=tuple(objects))
        assert record_outcome(database, load_job(database, job.id), outcome, at(seconds + 2))

    def told() -> list[tuple[str, str, bool]]:
        (known,) = story(database, job.study_uid).jobs
        return [
            (one.sop_instance_uid, one.kind, one.superseded)
            for one in known.deliveries
            if one.destination == "pacs"
        ]

    job = finished_job(database)
    seg, sr = outcome_of(database, job).objects
    said_first = [(seg.sop_instance_uid, "SEG"), (sr.sop_instance_uid, "SR")]
    # The same again, and one form more.
    more = replace(sr, kind=ResultKind.KOS, sop_instance_uid=InstanceUid("2.25.8"))
    run_again(100, [seg, sr, more])
    assert told() == [(*one, False) for one in (*said_first, ("2.25.8", "KO"))]

    changed = [
        replace(seg, sop_instance_uid=InstanceUid("2.25.91")),
        replace(sr, sop_instance_uid=InstanceUid("2.25.92")),
    ]
    run_again(200, changed)
    assert told() == [
        *((*one, True) for one in (*said_first, ("2.25.8", "KO"))),
        ("2.25.91", "SEG", False),
        ("2.25.92", "SR", False),
    ]
    # They are sent in this order, so that a report never comes before what it supersedes.
    waiting = [one.object.sop_instance_uid for one in outbox(database, job.id, "pacs")]
    assert waiting == [one for one, _, _ in told()]


def test_an_unknown_study_has_no_story(database: Database) -> None:
    with pytest.raises(StudyError, match=r"no study 9\.9"):
        story(database, "9.9")


def test_events_keep_their_moment_and_facts(database: Database) -> None:
    receive(database, uids(SERIES, [1]))
    facts = {"count": 2, "why": None, "share": 0.5, "ok": True}
    event = Event(name=EventName.CONTEXT_REFUSED, study_uid=STUDY, facts=facts)
    log_event(database, event, at(1))
    log_events(database, [(event, at(2)), (event, at(3))])
    log_events(database, [])
    told = story(database, STUDY).events
    assert [each.at for each in told] == [at(1), at(2), at(3)]
    assert {tuple(sorted(each.facts.items(), key=str)) for each in told} == {
        tuple(sorted(facts.items(), key=str))
    }
