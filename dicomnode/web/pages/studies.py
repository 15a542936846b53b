"""Studies: the list, and one study's story as a timeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from dicomnode.domain.access import Role
from dicomnode.domain.errors import StudyError
from dicomnode.domain.identifiers import StudyUid
from dicomnode.domain.jobs import JobState
from dicomnode.store.story import JobTold, Received, RevisionTold, Story, story
from dicomnode.store.study_list import StudySearch, StudyState, list_studies
from dicomnode.web.context import Web, WebContext
from dicomnode.web.keys import read_key, write_key
from dicomnode.web.ohif import viewer_address
from dicomnode.web.rendering import render
from dicomnode.web.steering import STEERINGS
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter()

AGES: Mapping[str, timedelta | None] = {
    "all": None,
    "last hour": timedelta(hours=1),
    "last day": timedelta(days=1),
    "last week": timedelta(weeks=1),
    "last 30 days": timedelta(days=30),
}
OVERLAY = "overlay.png"
LONGEST_TEXT = 200


@router.get("/studies")
def studies(
    request: Request,
    web: WebContext,
    visitor: Viewer,
    state: str = "",
    modality: Annotated[str, Query(max_length=16)] = "",
    age: str = "all",
    text: Annotated[str, Query(max_length=LONGEST_TEXT)] = "",
    urgent: str = "",
    before: str = "",
) -> HTMLResponse:
    """Studies, newest first; what is stuck, and why; what a rule calls urgent."""
    now = web.clock()
    wanted_age = AGES.get(age)
    search = StudySearch(
        state=next((one for one in StudyState if one.value == state), None),
        modality=modality.strip().upper(),
        since=now - wanted_age if wanted_age else None,
        is_flagged=bool(urgent),
        text=text.strip(),
        before=read_key(before),
    )
    page = list_studies(web.database, search, now)
    asked = {"state": state, "modality": modality, "age": age, "text": text, "urgent": urgent}
    kept = {name: value for name, value in asked.items() if value and value != "all"}
    following = page.next and f"/studies?{urlencode({**kept, 'before': write_key(page.next)})}"
    return render(
        request,
        "studies.html",
        visitor,
        page=page,
        asked=asked,
        following=following,
        is_filtered=bool(kept),
        is_first=search.before is None,
        states=StudyState,
        ages=AGES,
        now=now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One entry of the timeline; one of the three is set."""

    at: datetime
    received: Received | None = None
    revision: RevisionTold | None = None
    job: JobTold | None = None


def timeline(told: Story) -> tuple[Moment, ...]:
    """What happened, in order."""
    moments = [
        *(Moment(at=one.at, received=one) for one in told.received),
        *(Moment(at=one.closed_at, revision=one) for one in told.revisions),
        *(Moment(at=one.created_at, job=one) for one in told.jobs),
    ]
    return tuple(sorted(moments, key=lambda one: one.at))


@router.get("/studies/{study_uid}")
def study(request: Request, web: WebContext, visitor: Viewer, study_uid: str) -> HTMLResponse:
    """One study's story."""
    told = story(web.database, study_uid)
    web.note(visitor, "study.read", study_uid)
    return render(
        request,
        "study.html",
        visitor,
        told=told,
        viewer=viewer_address(web, StudyUid(told.study_uid)),
        moments=timeline(told),
        overlays={job.id for job in told.jobs if _overlay(web, job) is not None},
        may_steer=visitor.may(Role.ADMIN),
        is_done={state.value: state.is_final for state in JobState},
    )


@router.get("/studies/{study_uid}/jobs/{job_id}/overlay.png")
def overlay(web: WebContext, visitor: Viewer, study_uid: str, job_id: str) -> FileResponse:
    """The picture of a job's findings on the image they were found in."""
    told = story(web.database, study_uid)
    found = next((_overlay(web, job) for job in told.jobs if job.id == job_id), None)
    if found is None:
        raise StudyError(f"job {job_id} has no picture")
    web.note(visitor, "overlay.read", study_uid, {"job": job_id})
    return FileResponse(found, media_type="image/png")


def _overlay(web: Web, job: JobTold) -> Path | None:
    """Its file, beside the results; names come from the index, never from the request."""
    for path in job.paths:
        picture = web.database.absolute(path).parent / OVERLAY
        if picture.is_file():
            return picture
    return None


@router.post("/studies/{study_uid}/jobs/{job_id}/{action}")
def steer(
    web: WebContext,
    visitor: Admin,
    study_uid: str,
    job_id: str,
    action: str,
    destination: Annotated[str, Form(max_length=32)] = "",
) -> RedirectResponse:
    """Rerun, cancel, dismiss, resend or settle; then back to the story."""
    steering = STEERINGS.get(action)
    if steering is None:
        raise StudyError(f"there is no action {action!r}")
    steering(web, visitor, job_id, destination)
    return RedirectResponse(f"/studies/{study_uid}#job-{job_id}", 303)
