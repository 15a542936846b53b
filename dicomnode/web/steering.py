"""What a person may do to a job; the same for pages and API, each noted in one commit with it."""

from collections.abc import Callable, Mapping

from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import JobId
from dicomnode.store.deliveries import dismiss_deliveries, resend
from dicomnode.store.jobs import cancel_job, dismiss_job, load_job, rerun_job
from dicomnode.store.quarantine import dismiss_quarantine
from dicomnode.store.workers import INFERENCE, ask_to_drain, pause_inference, resume_inference
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


def pause(web: Web, visitor: Visitor, reason: str) -> None:
    """Start no more models, on any worker."""
    with web.noted(visitor, "queue.pause", INFERENCE, {"reason": reason}):
        pause_inference(web.database, by=visitor.name, reason=reason, now=web.clock())


def resume(web: Web, visitor: Visitor) -> None:
    """Let models go on."""
    with web.noted(visitor, "queue.resume", INFERENCE):
        resume_inference(web.database, web.clock())


def drain(web: Web, visitor: Visitor, worker: str) -> None:
    """Have a worker finish what it has in hand, and end.

    Raises:
        StudyError: no worker of this name runs by itself.
    """
    with web.noted(visitor, "worker.drain", worker):
        ask_to_drain(web.database, worker, web.clock())


def dismiss_object(web: Web, visitor: Visitor, number: int) -> None:
    """Take an object in quarantine off the list of trouble.

    Raises:
        StudyError: there is none of this number that waits for a person.
    """
    with web.noted(visitor, "quarantine.dismiss", str(number)):
        dismiss_quarantine(web.database, number, web.clock())
