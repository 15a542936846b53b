"""What runs took of memory, what a waiting one is predicted to take, and why it waits."""

from sqlalchemy import func, select, update

from dicomnode.domain.device_memory import MeasuredRun
from dicomnode.domain.identifiers import JobId
from dicomnode.domain.jobs import Job, JobState
from dicomnode.store.closing import held_by
from dicomnode.store.database import Database
from dicomnode.store.tables import InstanceRow, JobRow, RevisionRow

_MOST = 200


def measured_runs(
    database: Database, algorithm: str, version: str, *, on_cuda: bool
) -> tuple[MeasuredRun, ...]:
    """The last runs of one version of an algorithm, on a kind of device."""
    kind = JobRow.device.like("cuda%")
    query = (
        select(JobRow.voxels, JobRow.peak_bytes)
        .where(
            JobRow.algorithm == algorithm,
            JobRow.algorithm_version == version,
            JobRow.peak_bytes.is_not(None),
            JobRow.voxels.is_not(None),
            kind if on_cuda else ~kind,
        )
        .order_by(JobRow.finished_at.desc())
        .limit(_MOST)
    )
    with database.reading() as connection:
        return tuple(
            MeasuredRun(voxels=row.voxels, peak_bytes=row.peak_bytes)
            for row in connection.execute(query)
        )


def input_voxels(database: Database, job: Job) -> int | None:
    """How many voxels the images of a job have; None where their headers do not say."""
    with database.reading() as connection:
        revision = connection.execute(
            select(RevisionRow).where(RevisionRow.id == job.revision_id)
        ).one()
        each = InstanceRow.rows * InstanceRow.columns * func.coalesce(InstanceRow.frames, 1)
        query = select(func.sum(each), func.count(), func.count(each)).where(
            held_by(revision.study_uid, revision.series_uid, revision.number),
            InstanceRow.series_uid.in_(list(job.inputs.values())),
        )
        voxels, images, stated = connection.execute(query).one()
    return int(voxels) if voxels is not None and images == stated else None


def note_wait(database: Database, job: JobId, why: str) -> bool:
    """Write down why a queued job has not started; False: it is not queued any more."""
    with database.writing() as connection:
        noted = connection.execute(
            update(JobRow)
            .where(
                JobRow.id == job,
                JobRow.state.in_([JobState.QUEUED.value, JobState.RUNNING.value]),
            )
            .values(waits_for=why)
        ).rowcount
    return bool(noted)
