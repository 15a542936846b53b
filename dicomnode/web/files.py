"""`/api/v1/files`: images to workers that do not see the data folder, and results back from them.

Names are paths below the data folder. Nothing but images, results and calibrations can be read,
nothing but results of a job that is running be written, and that only by the process which has it.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from dicomnode.domain.access import Role
from dicomnode.domain.errors import StudyError, TakenOver
from dicomnode.domain.files import HandedBack, checked_name, handed_back
from dicomnode.domain.identifiers import JobId
from dicomnode.store.leases import Lease, hold_job
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.visitors import require

PREFIX = "/api/v1/files"

router = APIRouter(prefix=PREFIX, include_in_schema=False)

Worker = Annotated[Visitor, Depends(require(Role.WORKER))]


@router.get("/{name:path}")
def read(request: Request, web: WebContext, _visitor: Worker, name: str) -> Response:
    """A file; with `?list=1` the names of the files in a folder."""
    path = web.database.absolute(checked_name(name))
    if "list" in request.query_params:
        if not path.is_dir():
            raise StudyError(f"there is no folder {name}")
        files = (one.name for one in path.iterdir() if one.is_file())
        return JSONResponse(sorted(one for one in files if not one.startswith(".")))
    if not path.is_file():
        raise StudyError(f"there is no file {name}")
    return FileResponse(path, media_type="application/octet-stream")


@router.put("/{name:path}")
async def write(
    request: Request,
    web: WebContext,
    _visitor: Worker,
    name: str,
    x_dicomnode_worker: Annotated[str, Header(max_length=160)],
    x_dicomnode_epoch: Annotated[int, Header(ge=0)],
    x_content_sha256: Annotated[str, Header(pattern="^[0-9a-f]{64}$")],
) -> Response:
    """A file of a running job's results: whole, as its digest says, and from who has the job."""
    of = handed_back(name)
    lease = Lease(worker=x_dicomnode_worker, epoch=x_dicomnode_epoch)
    target = web.database.absolute(name)
    await run_in_threadpool(_admit, web, of, lease, target, _declared(request))
    # One process has the job, so that nobody else writes to a file of this name.
    mark = hashlib.sha256(f"{lease.worker}:{lease.epoch}".encode()).hexdigest()[:12]
    part = target.with_name(f".{of.file}.{mark}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as file:
            async for piece in request.stream():
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
        if digest.hexdigest() != x_content_sha256:
            raise HTTPException(503, "other bytes came than were announced")
        await run_in_threadpool(_accept, web, of, lease, part, target)
    finally:
        part.unlink(missing_ok=True)
    return Response(status_code=204)


def _declared(request: Request) -> int:
    stated = request.headers.get("content-length", "")
    if not stated.isdecimal():
        raise HTTPException(411, "state the length")
    return int(stated)


def _admit(web: Web, of: HandedBack, lease: Lease, target: Path, size: int) -> None:
    """Before anything is written: the job is the worker's, and there is room."""
    _while_held(web, of, lease, lambda: target.parent.mkdir(parents=True, exist_ok=True))
    reserve = web.settings.receive.reserve_mb << 20
    if shutil.disk_usage(target.parent).free - size < reserve:
        raise HTTPException(507, "the node's disk is full")


def _accept(web: Web, of: HandedBack, lease: Lease, part: Path, target: Path) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    _while_held(web, of, lease, lambda: part.replace(target))


def _while_held(web: Web, of: HandedBack, lease: Lease, action: Callable[[], object]) -> None:
    """Nobody can take the job over in between."""
    try:
        with web.database.writing() as connection:
            hold_job(connection, lease, JobId(of.job_id))
            action()
    except TakenOver as exc:
        raise HTTPException(409, str(exc)) from exc
