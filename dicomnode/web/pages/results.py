"""Results with pictures, and what readers say of them."""

from io import BytesIO
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from PIL import Image
from starlette.exceptions import HTTPException

from dicomnode.domain.access import Role
from dicomnode.domain.judgements import WHOLE_RESULT, Judgement, Verdict
from dicomnode.domain.results import PREVIEW_FILE, result_folder
from dicomnode.store.judgements import judge
from dicomnode.store.results_told import (
    ResultSearch,
    ResultTold,
    algorithms_with_results,
    result_told,
    results_told,
)
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.keys import read_result_key, write_result_key
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Reader, Viewer

router = APIRouter()

SHOWN = 20
"""Results on a page."""
THUMBNAIL = 640
"""Pixels of its longer side; drawn at half of that, for sharp screens."""
LONGEST_REMARK = 2000
UNJUDGED = "none"


@router.get("/results")
def results(
    request: Request,
    web: WebContext,
    visitor: Viewer,
    algorithm: str = "",
    finding: str = "",
    study: str = "",
    verdict: str = "",
    before: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """The newest results, narrowed by what the form says."""
    words = {one.value: one for one in Verdict}
    search = ResultSearch(
        algorithm=algorithm,
        study_uid=study,
        finding=finding,
        verdict=words.get(verdict),
        unjudged=verdict == UNJUDGED,
        before=read_result_key(before),
    )
    found = results_told(web.database, search, limit=SHOWN + 1)
    chosen = {"algorithm": algorithm, "finding": finding, "study": study, "verdict": verdict}
    kept = {name: value for name, value in chosen.items() if value}
    following = ""
    if len(found) > SHOWN:
        place = write_result_key(found[SHOWN - 1].key)
        following = f"/results?{urlencode({**kept, 'before': place})}"
    return render(
        request,
        "results.html",
        visitor,
        results=found[:SHOWN],
        newest=f"/results?{urlencode(kept)}" if search.before else "",
        following=following,
        algorithms=algorithms_with_results(web.database),
        chosen=chosen,
        verdicts=list(Verdict),
        unjudged=UNJUDGED,
        whole=WHOLE_RESULT,
    )


@router.get("/results/{job_id}")
def result(request: Request, web: WebContext, visitor: Viewer, job_id: str) -> HTMLResponse:
    """One result, large."""
    told = result_told(web.database, job_id)
    web.note(visitor, "result.read", told.study_uid, {"job": told.job_id})
    return _one(request, visitor, told)


@router.post("/results/{job_id}/judgements")
def say(
    request: Request,
    web: WebContext,
    visitor: Reader,
    job_id: str,
    finding: Annotated[int, Form(ge=0)],
    verdict: Annotated[Verdict, Form()],
    remark: Annotated[str, Form(max_length=LONGEST_REMARK)] = "",
) -> Response:
    """Accept, reject or correct a finding, or the whole result."""
    told = result_told(web.database, job_id)
    if verdict is Verdict.CORRECTED and not remark.strip():
        fault = "say in the remark what is right"
        return _one(request, visitor, told, fault=fault, at=finding)
    judgement = Judgement(
        job_id=told.job_id,
        finding=finding,
        verdict=verdict,
        by=visitor.name,
        at=web.clock(),
        remark=remark.strip(),
    )
    facts = {"finding": finding, "verdict": verdict.value}
    with web.noted(visitor, "result.judged", on=told.job_id, facts=facts):
        judge(web.database, judgement)
    return RedirectResponse(f"/results/{told.job_id}#f{finding}", 303)


@router.get("/results/{job_id}/overlay.png")
def overlay(web: WebContext, _visitor: Viewer, job_id: str) -> Response:
    """The picture of the findings, whole."""
    return _picture(_preview(web, job_id).read_bytes(), "image/png")


@router.get("/results/{job_id}/thumbnail.webp")
def thumbnail(web: WebContext, _visitor: Viewer, job_id: str) -> Response:
    """The same, small."""
    with Image.open(_preview(web, job_id)) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = BytesIO()
        picture.save(buffer, "WEBP", quality=80)
    return _picture(buffer.getvalue(), "image/webp")


def _picture(content: bytes, media_type: str) -> Response:
    # Addresses carry the run, so that a rerun's picture is not the one that is kept.
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(content, media_type=media_type, headers=headers)


def _preview(web: Web, job_id: str) -> Path:
    """Its file. The id is one of ours, or there is no result of that name."""
    known = result_told(web.database, job_id).job_id
    path = result_folder(web.database.path_root, known) / PREVIEW_FILE
    if not path.is_file():
        raise HTTPException(404, "there is no picture of this result any more")
    return path


def _one(
    request: Request,
    visitor: Visitor,
    told: ResultTold,
    *,
    fault: str = "",
    at: int = WHOLE_RESULT,
) -> HTMLResponse:
    return render(
        request,
        "result.html",
        visitor,
        status=422 if fault else 200,
        one=told,
        fault=fault,
        at=at,
        may_judge=visitor.may(Role.READER),
        whole=WHOLE_RESULT,
    )
