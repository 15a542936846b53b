"""Short ways to bring an index into a state, by the store's own functions alone.

UIDs tell where things belong: study 1.2.S, series 1.2.S.R, instance 1.2.S.R.N.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from dicomnode.domain.codes import LEFT, LUNG, ML, VOLUME
from dicomnode.domain.findings import Measurement
from dicomnode.domain.identifiers import InstanceUid, JobId, SeriesUid, StudyUid
from dicomnode.domain.instances import Association, InstanceHeader, Landing, ReceivedInstance
from dicomnode.domain.jobs import Job, job_id
from dicomnode.domain.matching import ConditionVerdict, Match, Priority, RuleVerdict
from dicomnode.domain.outcomes import FindingRecord, RunOutcome
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.studies import ClosingReason
from dicomnode.store.closing import OpenStudy, close_study, held_instances, open_studies, snapshot
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.jobs import load_job, record_match, save_rule_set, start_job
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.store.outcomes import record_outcome

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
STUDY = StudyUid("1.2.1")
SERIES = SeriesUid("1.2.1.1")
RULES = "r" * 64


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def uids(series: str, numbers: Iterable[int]) -> list[InstanceUid]:
    return [InstanceUid(f"{series}.{number}") for number in numbers]


def header(uid: str, **values: str) -> InstanceHeader:
    """The header of an instance in the study and series its UID tells."""
    parts = uid.split(".")
    texts = {"SeriesDescription": "Chest", "SliceThickness": "3.0", **values}
    return InstanceHeader(
        sop_instance_uid=InstanceUid(uid),
        study_uid=StudyUid(".".join(parts[:3])),
        series_uid=SeriesUid(".".join(parts[:4])),
        modality="CT",
        frames=1,
        study_values={
            "PatientID": ("P1",),
            "PatientName": ("Test^Phantom",),
            "StudyDescription": ("CT chest",),
            "ModalitiesInStudy": ("CT", "SR"),
        },
        series_values={keyword: (text,) for keyword, text in texts.items()},
    )


def land(
    database: Database,
    which: Iterable[str],
    *,
    association: str = "a1",
    moment: datetime = NOON,
    digest: str = "",
    release: bool = True,
    sop_class: str = "1.2.840.10008.5.1.4.1.1.2",
) -> list[Landing]:
    """Have instances received by one association."""
    index = SqlInstanceIndex(database, receiver="DICOMNODE@test")
    made = Association(
        id=association,
        calling_ae="CT1",
        called_ae="DICOMNODE",
        address="127.0.0.1",
        opened_at=moment,
    )
    index.open_association(made)
    batch = [
        ReceivedInstance(
            sop_instance_uid=InstanceUid(uid),
            sop_class_uid=sop_class,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=association_folder(database.path_root, made) / f"{number}.dcm",
            size_bytes=1000,
            sha256=(digest or uid.replace(".", "")).rjust(64, "0"),
            association_id=association,
            received_at=moment,
        )
        for number, uid in enumerate(which, start=1)
    ]
    for instance in batch:
        instance.path.parent.mkdir(parents=True, exist_ok=True)
        instance.path.write_bytes(b"")
    landings = list(index.keep(batch)) if batch else []
    if release:
        index.close_association(association, AssociationOutcome.RELEASED, at=moment)
    return landings


def waiting(database: Database) -> list[Indexed]:
    """All that has landed, with the headers their UIDs tell."""
    landed = landed_instances(database, 1000)
    return [Indexed(landed=one, header=header(one.sop_instance_uid)) for one in landed]


def receive(
    database: Database,
    which: Iterable[str],
    *,
    association: str = "a1",
    moment: datetime = NOON,
    release: bool = True,
) -> None:
    """Received and indexed."""
    land(database, which, association=association, moment=moment, release=release)
    index_instances(database, waiting(database), [], moment)


def only_open_study(database: Database) -> OpenStudy:
    (study,) = open_studies(database)
    return study


def close(database: Database, moment: datetime = NOON) -> int:
    """Close the one open study; return the revision's id."""
    revision = close_study(database, only_open_study(database), ClosingReason.QUIET, moment)
    assert revision is not None
    return revision


def received_revision(database: Database, numbers: Iterable[int] = range(1, 4)) -> int:
    """One study of one CT series, received and closed."""
    receive(database, uids(SERIES, numbers))
    return close(database)


def lung_match(series: SeriesUid = SERIES, **changes: object) -> Match:
    values: dict[str, object] = {
        "rule_name": "lungs on chest CT",
        "ruleset_digest": RULES,
        "algorithm": "lung_ct",
        "priority": Priority.ROUTINE,
        "destinations": ("pacs", "archive"),
        "inputs": {"image": series},
        **changes,
    }
    return Match(**values)  # type: ignore[arg-type]


def match_lungs(
    database: Database,
    revision: int,
    found: Match | None = None,
    moment: datetime = NOON,
    *,
    besides: tuple[Match, ...] = (),
) -> JobId:
    """Record that one rule matched and another did not; return the job's id.

    `besides`: other matches of the rule, whose jobs an earlier revision has made.
    """
    found = found or lung_match()
    save_rule_set(database, RULES, "# rules", moment)
    held = [
        instance.sha256
        for series in found.inputs.values()
        for instance in held_instances(database, revision, series)
    ]
    digest = f"{hash_of(held):064x}"
    job = job_id(STUDY, found, digest)
    record_match(
        database,
        revision,
        snapshot(database, revision),
        rule_set_digest=RULES,
        verdicts=[_verdict(found, *besides), _verdict(None)],
        jobs={job: (found, digest)},
        now=moment,
    )
    return job


def hash_of(digests: Iterable[str]) -> int:
    """Differs where the images differ, which is all that jobs need here."""
    return sum(int(digest, 16) for digest in digests)


def _verdict(found: Match | None, *besides: Match) -> RuleVerdict:
    condition = ConditionVerdict(
        condition='Modality = "CT"', subject=SERIES, actual="CT", held=found is not None
    )
    return RuleVerdict(
        rule_name=found.rule_name if found else "heart on radiograph",
        matches=(found, *besides) if found else (),
        reason="it matches" if found else "no series fits",
        conditions=(condition,),
    )


def queued_job(database: Database) -> JobId:
    return match_lungs(database, received_revision(database))


def running_job(database: Database) -> Job:
    job = queued_job(database)
    assert start_job(database, job, deadline=at(600), now=at(1))
    return load_job(database, job)


def outcome_of(database: Database, job: Job, *, sha256: str = "ab" * 32) -> RunOutcome:
    """A SEG and an SR with one finding; UIDs follow from the job, as real ones do."""
    folder = database.path_root / "results" / job.id[:2] / job.id
    return RunOutcome(
        algorithm=job.algorithm,
        algorithm_version="1.0.0",
        model_digest="5a" * 32,
        device="cpu",
        findings=(
            FindingRecord(
                kind="segment",
                name="left lung",
                code=LUNG,
                laterality=LEFT,
                measurements=(Measurement(name=VOLUME, value=2500.5, unit=ML),),
            ),
        ),
        objects=tuple(
            EncodedObject(
                kind=kind,
                sop_instance_uid=result_uid(job, kind),
                sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
                study_uid=job.study_uid,
                series_uid=SeriesUid(f"{result_uid(job, kind)}.0"),
                path=folder / f"{kind.value}.dcm",
                sha256=sha256,
            )
            for kind in (ResultKind.SEG, ResultKind.SR)
        ),
        preview=folder / "overlay.png",
        warnings=("pixel spacing is that of the detector",),
        seconds={"read": 1.0, "infer": 2.5},
    )


def result_uid(job: Job, kind: ResultKind) -> InstanceUid:
    number = 1 if kind is ResultKind.SEG else 2
    return InstanceUid(f"2.25.{job.id[:30]}{number}")


def finished_job(database: Database) -> Job:
    """A job whose results wait in the outboxes of `pacs` and `archive`."""
    job = running_job(database)
    assert record_outcome(database, job, outcome_of(database, job), at(5))
    return load_job(database, job.id)
