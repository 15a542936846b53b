"""An index as a small hospital's may look: for pictures of the pages. Nobody in it ever lived."""

import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from dicomnode.domain.codes import (
    CARDIOTHORACIC_RATIO,
    HEART,
    LEFT,
    LUNG,
    ML,
    RATIO,
    RIGHT,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import Measurement
from dicomnode.domain.identifiers import JobId, SeriesUid
from dicomnode.domain.judgements import Judgement, Verdict
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.domain.results import PREVIEW_FILE, Receipt, result_folder
from dicomnode.store.database import Database
from dicomnode.store.deliveries import outbox, record_receipt
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.jobs import load_job, save_rule_set, start_job
from dicomnode.store.judgements import judge
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.report_matching import match_new_reports
from dicomnode.store.reports import keep_reports
from tests.contract.store_scenes import (
    RULES,
    close,
    header,
    land,
    lung_match,
    match_lungs,
    outcome_of,
)
from tests.contract.test_store_reports import incoming, mine

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")
STUDIES = 40
WORDS = (
    "The heart is normal in size. No pleural effusion. No pneumothorax.",
    "Mild cardiomegaly. Small left pleural effusion. No pneumothorax.",
    "No cardiomegaly. Possible nodule in the right upper lobe. Small left pleural effusion.",
    "Enlarged heart. Bilateral pleural effusions, larger on the right. Basal atelectasis.",
    "No acute finding. Old granuloma in the left apex. The heart is not enlarged.",
    "Right pneumothorax, about 2 cm. No effusion. Heart size is normal.",
)
"""Written for this picture; no patient's."""


def furnish(database: Database, now: datetime) -> JobId:
    """Studies of the last two days, their results, reports and judgements; one job, to look at."""
    save_rule_set(database, RULES, "# rules", now - timedelta(days=20))
    jobs = [_study(database, number, now) for number in range(1, STUDIES + 1)]
    match_new_reports(database, 1000, now)
    mine(database)
    done = [job for job in jobs if job is not None]
    said = (
        (done[-1], 1, Verdict.ACCEPTED, ""),
        (done[-3], 2, Verdict.REJECTED, "the hilum was taken for heart"),
        (done[-3], 2, Verdict.CORRECTED, "ratio is 0.48 when measured by hand"),
        (done[-2], 0, Verdict.ACCEPTED, ""),
    )
    for number, (job, finding, verdict, remark) in enumerate(said):
        judge(
            database,
            Judgement(
                job_id=job,
                finding=finding,
                verdict=verdict,
                by="dr.weiss",
                at=now - timedelta(minutes=40 - number),
                remark=remark,
            ),
        )
    return done[-3]


def _study(database: Database, number: int, now: datetime) -> JobId | None:
    hours = 46 * (1 - number / STUDIES) ** 1.2
    came = now - timedelta(hours=hours, minutes=number % 7)
    series = f"1.2.{number}.1"
    land(database, [f"{series}.1"], association=f"a{number}", moment=came)
    month = came - timedelta(days=31 * (number % 5))
    is_ct = number % 3 == 0
    (landed,) = landed_instances(database, 10)
    sent = header(
        landed.sop_instance_uid,
        StationName=("CT2" if is_ct else f"XRAY{number % 2 + 1}"),
        Manufacturer="Phantom Works",
        ManufacturerModelName="One",
    )
    about = {
        **sent.study_values,
        "StudyDescription": ("CT chest" if is_ct else "Chest PA and lateral",),
        "StudyDate": (f"{month:%Y%m%d}",),
        "PatientID": (f"P{number}",),
    }
    modality = "CT" if is_ct else "DX"
    indexed = Indexed(landed=landed, header=replace(sent, study_values=about, modality=modality))
    index_instances(database, [indexed], [], came)
    report = incoming(
        WORDS[number % len(WORDS)],
        source_id=f"R{number}",
        study_uid=f"1.2.{number}",
        patient_id=f"P{number}",
        study_date=f"{month:%Y%m%d}",
    )
    keep_reports(database, [report], came)
    revision = close(database, came + timedelta(seconds=30))
    found = lung_match(
        SeriesUid(series),
        rule_name="chest",
        algorithm="lung_ct" if is_ct else "cxr_heart_lung",
        destinations=("pacs",),
    )
    job_id = match_lungs(database, revision, found, came + timedelta(seconds=31))
    if number > STUDIES - 3:
        return None
    _finish(database, job_id, number, came, is_ct=is_ct)
    return job_id


def _finish(database: Database, job_id: JobId, number: int, came: datetime, *, is_ct: bool) -> None:
    assert start_job(database, job_id, deadline=came + timedelta(hours=1), now=came)
    job = load_job(database, job_id)
    outcome = outcome_of(database, job)
    findings = _lungs(number) if is_ct else _heart(number)
    sent_at = came + timedelta(seconds=45 + 11 * (number % 9))
    assert record_outcome(database, job, replace(outcome, findings=findings, warnings=()), sent_at)
    picture = result_folder(database.path_root, job_id) / PREVIEW_FILE
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PICTURES / ("ct.png" if is_ct else "radiograph.png"), picture)
    for item in outbox(database, job_id, "pacs"):
        receipt = Receipt(
            sop_instance_uid=item.object.sop_instance_uid,
            destination="pacs",
            status=0,
            comment="",
            at=sent_at,
        )
        record_receipt(database, item, receipt, job)


def _lungs(number: int) -> tuple[FindingRecord, ...]:
    return tuple(
        FindingRecord(
            kind="segment",
            name=name,
            code=LUNG,
            laterality=side,
            measurements=(Measurement(name=VOLUME, value=2100.0 + 37 * number + more, unit=ML),),
        )
        for name, side, more in (("right lung", RIGHT, 380.0), ("left lung", LEFT, 0.0))
    )


def _heart(number: int) -> tuple[FindingRecord, ...]:
    ratio = 0.44 + 0.02 * (number % 7)
    score = 0.08 + 0.13 * (number % 7)
    return (
        FindingRecord(kind="segment", name="heart", code=HEART),
        FindingRecord(
            kind="measurement",
            name="cardiothoracic ratio",
            code=HEART,
            measurements=(Measurement(name=CARDIOTHORACIC_RATIO, value=ratio, unit=RATIO),),
        ),
        FindingRecord(
            kind="class",
            name="cardiomegaly",
            code=CARDIOMEGALY,
            score=score,
            text="positive" if score > 0.5 else "negative",
        ),
    )
