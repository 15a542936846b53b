"""Images go only from studies that are through, and an image that comes again stays; on both."""

from collections.abc import Callable

import pytest

from dicomnode.domain.errors import StudyError
from dicomnode.domain.instances import Landing
from dicomnode.domain.jobs import Job, JobState
from dicomnode.domain.results import ConfirmationMethod, EncodedObject
from dicomnode.store.audit import AuditSearch, audit_entries, check_chain
from dicomnode.store.database import Database
from dicomnode.store.deliveries import dismiss_deliveries, outbox, record_confirmation
from dicomnode.store.holdings import held
from dicomnode.store.jobs import dismiss_job, end_job_by_error, rerun_job
from dicomnode.store.quarantine import (
    dismiss_quarantine,
    given_up,
    looked_at,
    mark_quarantined,
    note_given_up,
    pin_quarantined,
    quarantine_bytes,
)
from dicomnode.store.quotas import (
    images_bytes,
    mark_images,
    marked_files,
    note_gone,
    pin_study,
    studies_through,
)
from tests.contract.store_scenes import (
    SERIES,
    STUDY,
    at,
    finished_job,
    land,
    receive,
    received_revision,
    running_job,
    uids,
)

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

LATER = 10_000


def confirm(database: Database, job: Job) -> None:
    for name in ("pacs", "archive"):
        record_confirmation(
            database,
            outbox(database, job.id, name),
            job,
            destination=name,
            method=ConfirmationMethod.READ_BACK,
            now=at(60),
        )


def through(database: Database) -> list[str]:
    return [one.study_uid for one in studies_through(database, at(LATER), 10)]


def delivered(database: Database) -> Job:
    job = finished_job(database)
    confirm(database, job)
    return job


def test_a_study_whose_results_are_proven_is_through(database: Database) -> None:
    delivered(database)
    (found,) = studies_through(database, at(LATER), 10)
    assert (found.study_uid, found.instances, found.size_bytes) == (STUDY, 3, 3000)
    assert not studies_through(database, at(0), 10), "they came at that moment, not before"


def open_study(database: Database) -> None:
    receive(database, uids(SERIES, range(1, 4)))


def unmatched(database: Database) -> None:
    received_revision(database)


def waits_for_pacs(database: Database) -> None:
    finished_job(database)


def given_up_by_nobody(database: Database) -> None:
    job = finished_job(database)
    dismiss_deliveries(database, job, "pacs", at(50))


def failed(database: Database) -> None:
    job = running_job(database)
    end_job_by_error(database, job.id, JobState.FAILED, StudyError("no"), at(50))


def runs_again(database: Database) -> None:
    rerun_job(database, delivered(database).id, at(70))


def late_image(database: Database) -> None:
    delivered(database)
    receive(database, uids(SERIES, [4]), association="a2", moment=at(80))


def pinned(database: Database) -> None:
    delivered(database)
    pin_study(database, STUDY, at(70), pinned=True)


@pytest.mark.parametrize(
    "bring_about",
    [
        open_study,
        unmatched,
        running_job,
        waits_for_pacs,
        given_up_by_nobody,
        failed,
        runs_again,
        late_image,
        pinned,
    ],
)
def test_a_study_that_somebody_may_still_need_is_not(
    database: Database, bring_about: Callable[[Database], object]
) -> None:
    bring_about(database)
    assert through(database) == []
    assert mark_images(database, STUDY, "for space", at(LATER)) == 0
    assert len(held(database, STUDY)) >= 3


def test_what_a_person_dismissed_no_longer_keeps_images(database: Database) -> None:
    job = running_job(database)
    end_job_by_error(database, job.id, JobState.FAILED, StudyError("no"), at(50))
    dismiss_job(database, job.id, at(60))
    assert through(database) == [STUDY]


def test_removing_is_told_and_audited_in_one_commit_and_leaves_what_is_known(
    database: Database,
) -> None:
    job = delivered(database)
    assert images_bytes(database) == 3000
    assert mark_images(database, STUDY, "older than 30 days", at(LATER)) == 3
    assert mark_images(database, STUDY, "older than 30 days", at(LATER)) == 0, "only once"
    assert images_bytes(database) == 0
    files = marked_files(database, 10)
    assert len(files) == 3
    note_gone(database, files[:2])
    assert marked_files(database, 10) == files[2:], "a crash left one, it is found again"
    own = {one.sop_instance_uid for one in outbox_objects(database, job)}
    assert {one.sop_instance_uid for one in held(database, STUDY)} == own, "results stay"
    (entry,) = audit_entries(database, AuditSearch(what="study.images-removed"), 10)
    assert (entry.deed.on, entry.deed.facts["instances"]) == (STUDY, 3)
    assert check_chain(database).fault == ""
    with pytest.raises(StudyError, match="send it again"):
        pin_study(database, STUDY, at(LATER), pinned=True)


def outbox_objects(database: Database, job: Job) -> list[EncodedObject]:
    return [item.object for item in outbox(database, job.id, "pacs")]


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_image_that_is_sent_again_is_here_again_and_opens_nothing(
    database: Database, is_gone: bool
) -> None:
    delivered(database)
    mark_images(database, STUDY, "for space", at(LATER))
    files = marked_files(database, 10)
    if is_gone:
        note_gone(database, files)
    again = land(database, uids(SERIES, [1]), association="a3", moment=at(LATER + 1))
    assert again == [Landing.KEPT], "its old file does not count, gone or not"
    if not is_gone:
        note_gone(database, files)
    images = list(held(database, STUDY, SERIES))
    assert [one.sop_instance_uid for one in images] == uids(SERIES, [1])
    assert images[0].path not in [path for _, path in files]
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT new_instances FROM study").scalar_one() == 0
    assert through(database) == [STUDY], "quotas look at it anew"


def test_pinning_is_repeatable_and_told_once(database: Database) -> None:
    delivered(database)
    for pinned_now in (True, True, False, False):
        pin_study(database, STUDY, at(70), pinned=pinned_now)
    with database.reading() as connection:
        names = connection.exec_driver_sql("SELECT name FROM event ORDER BY id").scalars().all()
    assert [name for name in names if "pinned" in name] == ["study.pinned", "study.unpinned"]
    assert through(database) == [STUDY]
    with pytest.raises(StudyError, match="no study"):
        pin_study(database, "1.2.9", at(70), pinned=True)


def conflict(database: Database, seconds: float = 20.0) -> Landing:
    """Another object with the UID of the first image, as the receiver leaves it."""
    (uid,) = uids(SERIES, range(1, 2))
    name = f"at{seconds:.0f}"
    (landing,) = land(database, [uid], association=name, moment=at(seconds), digest="cd")
    return landing


def numbers(database: Database) -> list[int]:
    return [one.number for one in looked_at(database, at(LATER), 10)]


def test_of_the_quarantine_goes_what_a_person_has_looked_at_and_nobody_pinned(
    database: Database,
) -> None:
    receive(database, uids(SERIES, range(1, 4)))
    assert conflict(database) is Landing.CONFLICT
    assert numbers(database) == [], "nobody has looked at it"
    assert quarantine_bytes(database) == 1000
    assert not mark_quarantined(database, 1, "for space", at(30))
    dismiss_quarantine(database, 1, at(30))
    assert numbers(database) == [1]
    assert not looked_at(database, at(20), 10), "it came at that moment, not before"
    pin_quarantined(database, 1, at(31), pinned=True)
    pin_quarantined(database, 1, at(31), pinned=True)
    assert numbers(database) == []
    pin_quarantined(database, 1, at(32), pinned=False)
    assert mark_quarantined(database, 1, "for space", at(40))
    assert not mark_quarantined(database, 1, "for space", at(40)), "once"
    assert quarantine_bytes(database) == 0
    files = given_up(database, 10)
    assert [number for number, _ in files] == [1]
    note_given_up(database, files)
    assert given_up(database, 10) == []
    with pytest.raises(StudyError, match="is gone"):
        pin_quarantined(database, 1, at(50), pinned=True)
    with pytest.raises(StudyError, match="no object 9"):
        pin_quarantined(database, 9, at(50), pinned=True)
    (entry,) = audit_entries(database, AuditSearch(what="quarantine.removed"), 10)
    assert entry.deed.on == "1"
    assert check_chain(database).fault == ""


def test_an_object_that_went_and_comes_again_is_news(database: Database) -> None:
    receive(database, uids(SERIES, range(1, 4)))
    conflict(database)
    dismiss_quarantine(database, 1, at(30))
    mark_quarantined(database, 1, "for space", at(40))
    gone = given_up(database, 10)
    assert conflict(database, 60.0) is Landing.CONFLICT
    note_given_up(database, gone)
    assert given_up(database, 10) == [], "its new file stays"
    assert quarantine_bytes(database) == 1000
    assert numbers(database) == [], "a person has to look again"
