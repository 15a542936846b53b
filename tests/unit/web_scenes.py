"""An index with one study that has a result, a picture and a report, all with hostile names."""

from dataclasses import replace

from PIL import Image

from dicomnode.domain.codes import Code
from dicomnode.domain.jobs import Job
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.domain.results import PREVIEW_FILE, result_folder
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.jobs import load_job, start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.report_matching import match_new_reports
from tests.contract.store_scenes import (
    NOON,
    SERIES,
    STUDY,
    at,
    close,
    header,
    land,
    match_lungs,
    outcome_of,
    uids,
)
from tests.contract.test_store_reports import incoming, keep, mine

CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")
HOSTILE = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
"""How a page shows it."""


def judged_scene(database: Database) -> Job:
    """A model says cardiomegaly; the report, which is about the same study, denies it."""
    land(database, uids(SERIES, [1]))
    (landed,) = landed_instances(database, 10)
    sent = header(landed.sop_instance_uid, StationName=HOSTILE)
    told = {"StudyDescription": (HOSTILE,), "AccessionNumber": ("A1",)}
    values = {**sent.study_values, **told}
    index_instances(
        database, [Indexed(landed=landed, header=replace(sent, study_values=values))], [], NOON
    )
    job_id = match_lungs(database, close(database))
    assert start_job(database, job_id, deadline=at(600), now=at(1))
    job = load_job(database, job_id)
    outcome = outcome_of(database, job)
    positive = FindingRecord(
        kind="class", name="cardiomegaly", code=CARDIOMEGALY, score=0.91, text="positive"
    )
    caption = FindingRecord(kind="caption", name="impression", text=HOSTILE)
    findings = (*outcome.findings, positive, caption)
    assert record_outcome(database, job, replace(outcome, findings=findings), at(5))
    picture = result_folder(database.path_root, job.id) / PREVIEW_FILE
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1500, 1000), "#204060").save(picture)
    words = f"Heart {HOSTILE}. No cardiomegaly. Small left pleural effusion. Possible nodule."
    keep(database, incoming(words, study_uid=STUDY, study_date="20240131"))
    match_new_reports(database, 100, NOON)
    mine(database)
    return job
