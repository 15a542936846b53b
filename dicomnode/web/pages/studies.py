"""Studies."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from dicomnode.store.overview import latest_studies
from dicomnode.web.context import WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Viewer

router = APIRouter()


@router.get("/studies")
def studies(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """The studies received last."""
    lines = latest_studies(web.database, 50)
    return render(request, "studies.html", visitor, lines=lines)
