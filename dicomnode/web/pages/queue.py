"""Queue and workers: what runs where, for how long; pause and drain."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from dicomnode.domain.access import Role
from dicomnode.store.workers import queue_told
from dicomnode.web import steering
from dicomnode.web.context import WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter()


@router.get("/queue")
def queue(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """What runs and what waits."""
    return _queue(request, web, visitor, "queue.html")


@router.get("/queue/now")
def queue_now(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """The part of the page that changes by itself."""
    return _queue(request, web, visitor, "queue_now.html")


def _queue(request: Request, web: WebContext, visitor: Viewer, template: str) -> HTMLResponse:
    now = web.clock()
    return render(
        request,
        template,
        visitor,
        told=queue_told(web.database, now),
        now=now,
        may_steer=visitor.may(Role.ADMIN),
    )


@router.post("/queue/pause")
def pause(
    web: WebContext, visitor: Admin, reason: Annotated[str, Form(max_length=200)] = ""
) -> RedirectResponse:
    """Start no more models."""
    steering.pause(web, visitor, reason)
    return RedirectResponse("/queue", 303)


@router.post("/queue/resume")
def resume(web: WebContext, visitor: Admin) -> RedirectResponse:
    """Let models go on."""
    steering.resume(web, visitor)
    return RedirectResponse("/queue", 303)


@router.post("/queue/drain")
def drain(
    web: WebContext, visitor: Admin, worker: Annotated[str, Form(max_length=160)]
) -> RedirectResponse:
    """Have a worker finish what it has in hand, and end."""
    steering.drain(web, visitor, worker)
    return RedirectResponse("/queue", 303)
