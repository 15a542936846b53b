"""Outboxes, receipts and proofs, on both databases."""

from datetime import timedelta

from sqlalchemy import delete, select, update

from dicomnode.domain.delivery import CommitmentReport
from dicomnode.domain.events import EventName
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import ConfirmationMethod, DeliveryState, Receipt, ResultKind
from dicomnode.store.database import Database
from dicomnode.store.deliveries import (
    RESEND_AFTER,
    FailedTry,
    OutboxItem,
    dismiss_deliveries,
    outbox,
    record_commitment,
    record_confirmation,
    record_failed_try,
    record_receipt,
    record_request,
    record_unconfirmed,
    resend,
    resend_refused,
)
from dicomnode.store.forms import fall_back
from dicomnode.store.tables import DeliveryRow, EventRow, ResultRow
from dicomnode.store.unfinished import overdue_deliveries
from tests.contract.store_scenes import at, finished_job

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def states(database: Database, job: Job, destination: str = "pacs") -> list[DeliveryState]:
    return [item.state for item in outbox(database, job.id, destination)]


def receive_receipts(database: Database, job: Job, *, status: int = 0) -> tuple[OutboxItem, ...]:
    for item in outbox(database, job.id, "pacs"):
        receipt = Receipt(
            sop_instance_uid=item.object.sop_instance_uid,
            destination="pacs",
            status=status,
            comment="",
            at=at(10),
        )
        record_receipt(database, item, receipt, job)
    return outbox(database, job.id, "pacs")


def fail(database: Database, job: Job, item: OutboxItem, state: DeliveryState) -> None:
    failed = FailedTry(
        destination="pacs",
        state=state,
        reason="PeerUnavailable: connection refused",
        status=None,
        next_try_at=at(70) if state is DeliveryState.WAITING else None,
    )
    record_failed_try(database, item, failed, job, at(10))


def confirm(database: Database, job: Job, items: tuple[OutboxItem, ...]) -> None:
    method = ConfirmationMethod.READ_BACK
    record_confirmation(database, items, job, destination="pacs", method=method, now=at(20))


def committed(transaction: str, *items: OutboxItem) -> CommitmentReport:
    uids = tuple(item.object.sop_instance_uid for item in items)
    return CommitmentReport(transaction_uid=transaction, committed=uids, failed={})


def column(database: Database, name: str) -> list[object]:
    query = select(getattr(DeliveryRow, name)).where(DeliveryRow.destination == "pacs")
    with database.reading() as connection:
        return list(connection.scalars(query.order_by(DeliveryRow.id)))


def event_count(database: Database, name: EventName) -> int:
    with database.reading() as connection:
        query = select(EventRow.id).where(EventRow.name == name.value)
        return len(connection.execute(query).all())


def test_each_destination_has_an_outbox_with_the_seg_first(database: Database) -> None:
    job = finished_job(database)
    for destination in ("pacs", "archive"):
        items = outbox(database, job.id, destination)
        assert [item.object.kind for item in items] == [ResultKind.SEG, ResultKind.SR]
        assert {item.state for item in items} == {DeliveryState.WAITING}
        assert items[0].object.path == database.path_root / "results" / job.id[:2] / job.id / (
            "SEG.dcm"
        )
    assert outbox(database, job.id, "nowhere") == ()


def test_a_receipt_is_not_yet_a_proof(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job, status=0xB000)
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2
    assert states(database, job, "archive") == [DeliveryState.WAITING] * 2
    assert column(database, "status") == [0xB000] * 2
    assert [item.attempt for item in items] == [1, 1]


def test_a_failed_try_waits_for_its_next_one(database: Database) -> None:
    job = finished_job(database)
    for item in outbox(database, job.id, "pacs"):
        fail(database, job, item, DeliveryState.WAITING)
    assert overdue_deliveries(database, at(60)) == ((job.id, "archive"),)
    assert set(overdue_deliveries(database, at(71))) == {(job.id, "archive"), (job.id, "pacs")}
    assert event_count(database, EventName.DELIVERY_RETRYING) == 2


def test_refused_and_given_up_are_not_tried_again(database: Database) -> None:
    job = finished_job(database)
    first, second = outbox(database, job.id, "pacs")
    fail(database, job, first, DeliveryState.REFUSED)
    fail(database, job, second, DeliveryState.GIVEN_UP)
    assert states(database, job) == [DeliveryState.REFUSED, DeliveryState.GIVEN_UP]
    assert overdue_deliveries(database, at(9999)) == ((job.id, "archive"),)


def test_nothing_that_comes_late_undoes_a_proof(database: Database) -> None:
    job = finished_job(database)
    before = outbox(database, job.id, "pacs")
    confirm(database, job, receive_receipts(database, job))
    for item in before:
        fail(database, job, item, DeliveryState.WAITING)
    receive_receipts(database, job)
    record_unconfirmed(database, before, job, "C-FIND does not show it", at(30))
    assert states(database, job) == [DeliveryState.CONFIRMED] * 2
    assert column(database, "reason") == ["", ""]
    assert column(database, "confirmed_by") == ["c-find"] * 2


def test_unconfirmed_is_shown_as_what_it_is(database: Database) -> None:
    job = finished_job(database)
    record_unconfirmed(database, receive_receipts(database, job), job, "no C-FIND", at(30))
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2
    assert column(database, "reason") == ["sent, unconfirmed: no C-FIND"] * 2


def test_a_commitment_report_applies_only_to_its_transaction(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job)
    record_request(database, items, "2.25.100")
    record_commitment(database, committed("2.25.999", *items), at(20))
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2
    record_commitment(database, committed("2.25.100", items[0]), at(21))
    assert states(database, job) == [DeliveryState.CONFIRMED, DeliveryState.SENT_UNCONFIRMED]


def test_a_new_request_leaves_the_report_of_the_old_one_behind(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job)
    record_request(database, items, "2.25.100")
    record_request(database, items, "2.25.101")
    record_commitment(database, committed("2.25.100", *items), at(20))
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2


def test_a_repeated_commitment_report_is_told_once(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job)
    record_request(database, items, "2.25.100")
    for moment in (at(20), at(21)):
        record_commitment(database, committed("2.25.100", *items), moment)
    assert event_count(database, EventName.RESULT_CONFIRMED) == 2
    assert set(column(database, "confirmed_at")) == {at(20)}


def test_what_a_destination_disowns_is_sent_again(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job)
    record_request(database, items, "2.25.100")
    report = CommitmentReport(
        transaction_uid="2.25.100",
        committed=(items[0].object.sop_instance_uid,),
        failed={items[1].object.sop_instance_uid: "no such object instance (0x0112)"},
    )
    record_commitment(database, report, at(20))
    assert states(database, job) == [DeliveryState.CONFIRMED, DeliveryState.WAITING]
    soon = at(20) + RESEND_AFTER + timedelta(seconds=1)
    assert (job.id, "pacs") in overdue_deliveries(database, soon)


def test_a_report_on_instances_that_are_not_ours_changes_nothing(database: Database) -> None:
    job = finished_job(database)
    record_request(database, receive_receipts(database, job), "2.25.100")
    report = CommitmentReport(
        transaction_uid="2.25.100", committed=(InstanceUid("1.2.3"),), failed={}
    )
    record_commitment(database, report, at(20))
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2


def test_what_a_destination_refused_goes_back_in_one_go_and_nothing_else_does(
    database: Database,
) -> None:
    job = finished_job(database)
    seg, sr = outbox(database, job.id, "pacs")
    fail(database, job, seg, DeliveryState.REFUSED)
    fail(database, job, sr, DeliveryState.GIVEN_UP)
    assert resend_refused(database, "archive", at(100)) == 0
    assert resend_refused(database, "pacs", at(100)) == 2
    assert states(database, job) == [DeliveryState.WAITING] * 2
    assert {item.attempt for item in outbox(database, job.id, "pacs")} == {0}
    assert [item.created_at for item in outbox(database, job.id, "archive")] == [at(5)] * 2
    with database.reading() as connection:
        told = connection.execute(
            select(EventRow.study_uid, EventRow.facts).where(
                EventRow.name == EventName.RESULT_RESENT.value
            )
        ).all()
    assert [tuple(one) for one in told] == [(job.study_uid, {"destination": "pacs", "objects": 2})]
    # What is on its way, or proven, is let alone.
    seg, sr = receive_receipts(database, job)
    assert resend_refused(database, "pacs", at(200)) == 0
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2
    record_unconfirmed(database, [sr], job, "C-FIND does not show it", at(300))
    assert resend_refused(database, "pacs", at(400)) == 1
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED, DeliveryState.WAITING]


def test_sending_again_starts_from_nothing(database: Database) -> None:
    job = finished_job(database)
    items = receive_receipts(database, job)
    record_request(database, items, "2.25.100")
    confirm(database, job, items)
    assert resend(database, job, "pacs", at(100)) == 2
    assert states(database, job) == [DeliveryState.WAITING] * 2
    assert column(database, "confirmed_at") == [None, None]
    # The report of the earlier request says nothing of what is sent now.
    receive_receipts(database, job)
    record_commitment(database, committed("2.25.100", *items), at(101))
    assert states(database, job) == [DeliveryState.SENT_UNCONFIRMED] * 2
    assert resend(database, job, "nowhere", at(100)) == 0


def test_what_a_person_gave_up_is_sent_again_at_a_person_s_word_alone(database: Database) -> None:
    job = finished_job(database)
    assert dismiss_deliveries(database, job, "pacs", at(50)) == 2
    assert resend_refused(database, "pacs", at(100)) == 0
    assert states(database, job) == [DeliveryState.DISMISSED] * 2
    assert resend(database, job, "pacs", at(100)) == 2
    assert states(database, job) == [DeliveryState.WAITING] * 2
    assert states(database, job, "archive") == [DeliveryState.WAITING] * 2


def test_a_label_map_that_seg_took_the_place_of_is_not_sent_again(database: Database) -> None:
    job = finished_job(database)
    with database.writing() as connection:
        is_report = ResultRow.kind == ResultKind.SR.value
        as_label_map = {"kind": ResultKind.LABELMAP.value}
        connection.execute(update(ResultRow).where(is_report).values(as_label_map))
    fall_back(database, job, "pacs", "does not take it", at(50))
    assert resend(database, job, "pacs", at(100)) == 1
    assert {one.object.kind: one.state for one in outbox(database, job.id, "pacs")} == {
        ResultKind.SEG: DeliveryState.WAITING,
        ResultKind.LABELMAP: DeliveryState.DISMISSED,
    }
    # Given up as such, with no other form beside it, it is what the person asks for.
    dismiss_deliveries(database, job, "archive", at(50))
    with database.writing() as connection:
        of_archive = (DeliveryRow.destination == "archive") & DeliveryRow.result_uid.in_(
            select(ResultRow.sop_instance_uid).where(ResultRow.kind == ResultKind.SEG.value)
        )
        connection.execute(delete(DeliveryRow).where(of_archive))
    assert resend(database, job, "archive", at(100)) == 1
