"""What needs a person, each with its reason and what can be done about it."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from dicomnode.domain.access import Role
from dicomnode.store.overview import overview
from dicomnode.web import steering
from dicomnode.web.context import WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter()


@router.get("/trouble")
def trouble(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """Counts by state, and the list."""
    now = web.clock()
    return render(
        request,
        "trouble.html",
        visitor,
        seen=overview(web.database, now, reserve_mb=web.settings.receive.reserve_mb),
        now=now,
        may_steer=visitor.may(Role.ADMIN),
    )


@router.post("/trouble/quarantine/{number}/dismiss")
def dismiss(web: WebContext, visitor: Admin, number: int) -> RedirectResponse:
    """Take an object in quarantine off the list."""
    steering.dismiss_object(web, visitor, number)
    return RedirectResponse("/trouble", 303)
