"""What a person may do to a job; the same for pages and API, each noted in one commit with it."""

from collections.abc import Callable, Mapping

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.store.deliveries import dismiss_deliveries, resend
from dicomnode.store.jobs import cancel_job, dismiss_job, load_job, rerun_job
from dicomnode.web.context import Visitor, Web

Steering = Callable[[Web, Visitor, str, str], None]
"""Context, who, job id, destination ("" where none is meant).

Raises StudyError: the job does not exist or does not stand where this can be done.
"""


def rerun(web: Web, visitor: Visitor, job_id: str, _destination: str = "") -> None:
    """Run an ended job once more; equal inputs and models make the same objects again."""
    with web.noted(visitor, "job.rerun", job_id):
        rerun_job(web.database, JobId(job_id), web.clock())


def cancel(web: Web, visitor: Visitor, job_id: str, _destination: str = "") -> None:
    """Take back a job that waits or runs."""
    with web.noted(visitor, "job.cancel", job_id):
        cancel_job(web.database, JobId(job_id), web.clock())


def dismiss(web: Web, visitor: Visitor, job_id: str, _destination: str = "") -> None:
    """Take a job that failed or was refused off the list of trouble."""
    with web.noted(visitor, "job.dismiss", job_id):
        dismiss_job(web.database, JobId(job_id), web.clock())


def send_again(web: Web, visitor: Visitor, job_id: str, destination: str) -> None:
    """Put a job's results back into the outbox of one destination."""
    if web.settings.destination(destination) is None:
        raise StudyError(f"no destination is called {destination!r}")
    with web.noted(visitor, "result.resend", job_id, {"destination": destination}):
        job = load_job(web.database, JobId(job_id))
        if not resend(web.database, job, destination, web.clock()):
            raise StudyError(f"job {job_id} has no results for {destination!r}")


def settle(web: Web, visitor: Visitor, job_id: str, destination: str) -> None:
    """Take deliveries that did not arrive, or were not proven, off the list of trouble."""
    with web.noted(visitor, "result.dismiss", job_id, {"destination": destination}):
        job = load_job(web.database, JobId(job_id))
        if not dismiss_deliveries(web.database, job, destination, web.clock()):
            raise StudyError(f"nothing of job {job_id} waits for {destination!r}")


STEERINGS: Mapping[str, Steering] = {
    "rerun": rerun,
    "cancel": cancel,
    "dismiss": dismiss,
    "resend": send_again,
    "settle": settle,
}
