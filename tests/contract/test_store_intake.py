"""From landed instances to closed revisions, on both databases."""

from dataclasses import replace

from sqlalchemy import select

from dicomnode.domain.events import EventName
from dicomnode.domain.instances import Landing
from dicomnode.domain.studies import ClosingReason
from dicomnode.store.closing import (
    close_study,
    held_instances,
    open_series,
    open_studies,
    record_expected,
    series_facts,
    snapshot,
    unmatched_revisions,
)
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.quarantining import Unreadable
from dicomnode.store.story import story
from dicomnode.store.tables import EventRow, InstanceRow, QuarantineRow, SeriesRow, StudyRow
from tests.contract.store_scenes import (
    NOON,
    SERIES,
    STUDY,
    at,
    close,
    finished_job,
    header,
    land,
    only_open_study,
    receive,
    received_revision,
    uids,
    waiting,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]


def states(database: Database) -> dict[str, str]:
    with database.reading() as connection:
        rows = connection.execute(select(InstanceRow.sop_instance_uid, InstanceRow.state))
        return {uid: state for uid, state in rows}  # noqa: C416 (rows)


def event_names(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.scalars(select(EventRow.name).order_by(EventRow.id)))


def test_a_batch_indexed_twice_counts_once(database: Database) -> None:
    land(database, uids(SERIES, range(1, 4)))
    batch = waiting(database)
    index_instances(database, batch, [], at(1))
    index_instances(database, batch, [], at(2))
    evidence = only_open_study(database).evidence
    assert (evidence.received_instances, evidence.new_instances) == (3, 3)
    assert set(states(database).values()) == {"indexed"}
    assert landed_instances(database, 10) == ()


def test_a_series_of_another_patient_is_told_once_with_its_study(database: Database) -> None:
    def stated(patient: str, item: Indexed) -> Indexed:
        return replace(item, header=replace(item.header, study_values={"PatientID": (patient,)}))

    land(database, ["1.2.1.1.1"])
    index_instances(database, waiting(database), [], at(1))
    land(database, ["1.2.1.2.1", "1.2.1.2.2", "1.2.1.3.1", "1.2.1.4.1"], association="a2")
    whose = {"1.2.1.2": "P2", "1.2.1.3": "P1 ", "1.2.1.4": ""}
    for item in waiting(database):
        own = stated(whose[item.header.series_uid], item)
        index_instances(database, [own], [], at(2))
    told = story(database, "1.2.1")
    others = [one.series_uid for one in told.series if one.of_another_patient]
    assert others == ["1.2.1.2"]
    assert event_names(database).count(EventName.PATIENTS_DIFFER.value) == 1
    # Facts never name a patient.
    assert "P2" not in str([event.facts for event in told.events])


def test_moments_of_the_evidence_are_those_of_receiving(database: Database) -> None:
    receive(database, uids(SERIES, [1]), association="a1", moment=at(10))
    receive(database, uids(SERIES, [2]), association="a2", moment=at(30))
    receive(database, uids(SERIES, [3]), association="a3", moment=at(20))
    evidence = only_open_study(database).evidence
    assert (evidence.first_new_at, evidence.last_new_at) == (at(10), at(30))


def test_an_instance_sent_again_is_a_duplicate_and_opens_nothing(database: Database) -> None:
    received_revision(database)
    landings = land(database, uids(SERIES, range(1, 4)), association="again")
    assert landings == [Landing.DUPLICATE] * 3
    assert landed_instances(database, 10) == ()
    assert open_studies(database) == ()


def test_other_bytes_under_a_known_uid_are_quarantined_and_the_first_stays(
    database: Database,
) -> None:
    received_revision(database)
    assert land(database, uids(SERIES, [1]), association="x", digest="777") == [Landing.CONFLICT]
    with database.reading() as connection:
        kept = connection.execute(select(QuarantineRow.kind, QuarantineRow.path)).one()
    assert tuple(kept) == ("conflict", "quarantine/x-1.dcm")
    assert open_studies(database) == ()


def test_own_results_coming_back_do_not_open_a_revision(database: Database) -> None:
    job = finished_job(database)
    with database.reading() as connection:
        before = connection.execute(select(StudyRow)).one()
    own = f"2.25.{job.id[:30]}1"
    land(database, [own], association="back")
    landed = landed_instances(database, 10)
    told = replace(header(f"{SERIES}.99"), sop_instance_uid=landed[0].sop_instance_uid)
    index_instances(database, [Indexed(landed=landed[0], header=told)], [], at(60))
    assert states(database)[own] == "own"
    assert open_studies(database) == ()
    with database.reading() as connection:
        assert connection.execute(select(StudyRow)).one() == before


def test_a_series_of_another_study_is_quarantined(database: Database) -> None:
    receive(database, uids(SERIES, [1]))
    land(database, ["1.2.2.1.1"], association="b")
    (stray,) = waiting(database)
    stray = replace(stray, header=replace(stray.header, series_uid=SERIES))
    index_instances(database, [stray], [], at(5))
    assert states(database)["1.2.2.1.1"] == "quarantined"
    assert only_open_study(database).evidence.received_instances == 1
    with database.reading() as connection:
        kind = connection.scalar(select(QuarantineRow.kind))
        studies = list(connection.scalars(select(StudyRow.study_uid)))
    assert kind == "misplaced"
    assert studies == [STUDY], "a study without any instance of its own was made"


def test_of_two_studies_claiming_a_series_in_one_batch_the_first_has_it(
    database: Database,
) -> None:
    land(database, ["1.2.1.1.1"], association="a", moment=at(0))
    land(database, ["1.2.2.1.1"], association="b", moment=at(1))
    first, second = waiting(database)
    second = replace(second, header=replace(second.header, series_uid=SERIES))
    index_instances(database, [first, second], [], at(5))
    assert states(database) == {"1.2.1.1.1": "indexed", "1.2.2.1.1": "quarantined"}


def test_an_unreadable_instance_is_listed_with_its_reason(database: Database) -> None:
    land(database, uids(SERIES, [1, 2]))
    good, bad = waiting(database)
    fault = Unreadable(landed=bad.landed, reason="the header ends in the middle")
    index_instances(database, [good], [fault], at(5))
    index_instances(database, [good], [fault], at(6))
    with database.reading() as connection:
        reasons = list(connection.scalars(select(QuarantineRow.reason)))
    assert reasons == ["the header ends in the middle"]
    assert only_open_study(database).evidence.received_instances == 1
    assert event_names(database).count(EventName.INSTANCE_QUARANTINED.value) == 1


def test_nulls_inside_header_text_do_not_stop_indexing(database: Database) -> None:
    land(database, uids(SERIES, [1]))
    (one,) = waiting(database)
    odd = header(f"{SERIES}.1", SeriesDescription="Chest\0\0garbage")
    odd = replace(odd, modality="C\0T", study_values={"StudyDescription": ("CT\0chest",)})
    index_instances(database, [replace(one, header=odd)], [], at(5))
    with database.reading() as connection:
        series = connection.execute(select(SeriesRow.header, SeriesRow.modality)).one()
        description = connection.scalar(select(StudyRow.description))
    assert series.header["SeriesDescription"] == ["Chestgarbage"]
    assert (series.modality, description) == ("CT", "CTchest")


def test_closing_refuses_when_something_arrived_since_the_evidence(database: Database) -> None:
    receive(database, uids(SERIES, [1, 2]))
    seen = only_open_study(database)
    receive(database, uids(SERIES, [3]), association="a2", moment=at(5))
    assert close_study(database, seen, ClosingReason.QUIET, at(6)) is None
    assert unmatched_revisions(database) == ()
    assert close_study(database, only_open_study(database), ClosingReason.QUIET, at(7)) is not None


def test_closing_on_the_same_evidence_twice_makes_one_revision(database: Database) -> None:
    receive(database, uids(SERIES, [1, 2]))
    seen = only_open_study(database)
    first = close_study(database, seen, ClosingReason.QUIET, at(6))
    assert close_study(database, seen, ClosingReason.QUIET, at(6)) is None
    assert unmatched_revisions(database) == (first,)


def test_a_snapshot_never_grows(database: Database) -> None:
    revision = received_revision(database)
    before = snapshot(database, revision)
    held = held_instances(database, revision, SERIES)
    receive(database, uids(SERIES, [4, 5]), association="late", moment=at(60))
    assert snapshot(database, revision) == before
    assert held_instances(database, revision, SERIES) == held
    close(database, at(90))
    assert snapshot(database, revision) == before
    assert held_instances(database, revision, SERIES) == held
    assert before.series[SERIES].instance_count == 3


def test_a_late_image_opens_revision_two_which_holds_everything(database: Database) -> None:
    received_revision(database)
    receive(database, uids(SERIES, [4]), association="late", moment=at(60))
    evidence = only_open_study(database).evidence
    assert (evidence.new_instances, evidence.received_instances) == (1, 4)
    assert (evidence.first_new_at, evidence.last_new_at) == (at(60), at(60))
    second = close(database, at(90))
    closed = snapshot(database, second)
    assert closed.revision == 2
    assert closed.series[SERIES].instance_count == 4
    assert closed.evidence == evidence
    assert closed.calling_aes == {"CT1"}
    assert len(held_instances(database, second, SERIES)) == 4


def test_a_series_closes_by_itself_and_its_study_stays_open(database: Database) -> None:
    receive(database, [*uids(SERIES, [1, 2]), *uids("1.2.1.2", [1])])
    one = next(each for each in open_series(database) if each.series_uid == SERIES)
    revision = close_study(database, one, ClosingReason.QUIET, at(5))
    assert revision is not None
    closed = snapshot(database, revision)
    assert (closed.series_uid, list(closed.series)) == (SERIES, [SERIES])
    assert only_open_study(database).evidence.new_instances == 3
    assert [each.series_uid for each in open_series(database)] == ["1.2.1.2"]


def test_an_open_association_is_seen_until_it_is_closed(database: Database) -> None:
    receive(database, uids(SERIES, [1]), release=False)
    assert only_open_study(database).evidence.open_associations == 1
    land(database, [], association="a1")
    assert only_open_study(database).evidence.open_associations == 0


def test_instances_not_yet_indexed_keep_their_association_busy(database: Database) -> None:
    receive(database, uids(SERIES, [1]), release=False)
    land(database, uids(SERIES, [2, 3]), association="a1")
    assert only_open_study(database).evidence.open_associations == 1


def test_the_senders_count_is_dropped_when_more_arrives(database: Database) -> None:
    receive(database, uids(SERIES, [1]))
    record_expected(database, only_open_study(database), 2, at(5))
    record_expected(database, only_open_study(database), 2, at(6))
    assert only_open_study(database).evidence.expected_instances == 2
    receive(database, uids(SERIES, [2]), association="a2", moment=at(10))
    assert only_open_study(database).evidence.expected_instances is None
    assert event_names(database).count(EventName.COUNT_ASKED.value) == 1


def test_facts_of_series_are_those_of_the_first_indexed_instance(database: Database) -> None:
    receive(database, uids(SERIES, [1, 2]))
    facts = series_facts(database, STUDY)[SERIES]
    assert facts.instance_count == 2
    assert facts.values["SliceThickness"] == ("3.0",)
    assert facts.values["ModalitiesInStudy"] == ("CT", "SR")


def test_paths_are_kept_relative_to_the_data_folder(database: Database) -> None:
    received_revision(database, [1])
    with database.reading() as connection:
        stored = connection.scalar(select(InstanceRow.path))
    assert stored == f"instances/{NOON:%Y%m%d}/a1/1.dcm"
    (held,) = held_instances(database, only_revision(database), SERIES)
    assert held.path == database.path_root / stored


def only_revision(database: Database) -> int:
    (revision,) = unmatched_revisions(database)
    return revision
