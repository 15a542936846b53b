"""Jobs and what a person may do to them."""

from typing import Annotated

from fastapi import APIRouter, Body

from dicomnode.store.story import JobTold, job_told
from dicomnode.web import steering
from dicomnode.web.api.values import JobIdPath
from dicomnode.web.context import WebContext
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter(tags=["jobs"])

DestinationName = Annotated[
    str, Body(embed=True, max_length=32, description="Name of a destination of the settings.")
]


@router.get("/jobs/{job_id}")
def job(web: WebContext, _visitor: Viewer, job_id: JobIdPath) -> JobTold:
    """One job and what became of it."""
    return job_told(web.database, job_id)


@router.post("/jobs/{job_id}/rerun")
def rerun(web: WebContext, visitor: Admin, job_id: JobIdPath) -> JobTold:
    """Run an ended job once more."""
    steering.rerun(web, visitor, job_id)
    return job_told(web.database, job_id)


@router.post("/jobs/{job_id}/cancel")
def cancel(web: WebContext, visitor: Admin, job_id: JobIdPath) -> JobTold:
    """Take back a job that waits or runs."""
    steering.cancel(web, visitor, job_id)
    return job_told(web.database, job_id)


@router.post("/jobs/{job_id}/dismiss")
def dismiss(web: WebContext, visitor: Admin, job_id: JobIdPath) -> JobTold:
    """Take a job that failed or was refused off the list of trouble."""
    steering.dismiss(web, visitor, job_id)
    return job_told(web.database, job_id)


@router.post("/jobs/{job_id}/resend")
def resend(
    web: WebContext, visitor: Admin, job_id: JobIdPath, destination: DestinationName
) -> JobTold:
    """Send a job's results to a destination once more."""
    steering.send_again(web, visitor, job_id, destination)
    return job_told(web.database, job_id)


@router.post("/jobs/{job_id}/settle")
def settle(
    web: WebContext, visitor: Admin, job_id: JobIdPath, destination: DestinationName
) -> JobTold:
    """Give up what a destination has not proven to keep."""
    steering.settle(web, visitor, job_id, destination)
    return job_told(web.database, job_id)
