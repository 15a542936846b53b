"""Studies, their stories and results."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from dicomnode.store.lists import ResultTold, list_results
from dicomnode.store.story import Story, story
from dicomnode.store.study_list import StudySearch, StudyState, StudyTold, list_studies
from dicomnode.web.api.values import Limit, StudyUidPath
from dicomnode.web.context import WebContext
from dicomnode.web.keys import read_key, write_key
from dicomnode.web.visitors import Viewer

router = APIRouter(tags=["studies"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StudiesAnswer:
    """One page of studies, newest first."""

    studies: tuple[StudyTold, ...]
    next: str
    """Give it as `before` for the next page; empty: there is none."""
    looked_back_to: datetime | None
    """The search stopped here to stay quick; `next` goes on behind it."""


@router.get("/studies")
def studies(
    web: WebContext,
    _visitor: Viewer,
    state: StudyState | None = None,
    modality: Annotated[str, Query(max_length=16)] = "",
    since_hours: Annotated[float, Query(ge=0, le=1_000_000)] = 0,
    text: Annotated[str, Query(max_length=200)] = "",
    urgent: bool = False,
    before: Annotated[str, Query(max_length=200)] = "",
    limit: Limit = 50,
) -> StudiesAnswer:
    """Studies, newest first.

    `since_hours`: received within the last so many, 0 for all; `urgent`: only those with findings
    that a rule calls urgent.
    """
    now = web.clock()
    search = StudySearch(
        state=state,
        modality=modality.strip().upper(),
        since=now - timedelta(hours=since_hours) if since_hours else None,
        is_flagged=urgent,
        text=text.strip(),
        before=read_key(before),
    )
    page = list_studies(web.database, search, now, limit=limit)
    following = write_key(page.next) if page.next else ""
    return StudiesAnswer(studies=page.studies, next=following, looked_back_to=page.looked_back_to)


@router.get("/studies/{study_uid}")
def study(web: WebContext, visitor: Viewer, study_uid: StudyUidPath) -> Story:
    """One study's story: received, closed why, rules, jobs, results, deliveries, events."""
    told = story(web.database, study_uid)
    web.note(visitor, "study.read", study_uid)
    return told


@router.get("/studies/{study_uid}/results")
def results(web: WebContext, _visitor: Viewer, study_uid: StudyUidPath) -> tuple[ResultTold, ...]:
    """The DICOM objects made of a study, newest first; none for a study that is not known."""
    return list_results(web.database, study_uid=study_uid)
