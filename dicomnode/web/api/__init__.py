"""The REST API. One module for each subject; its router is added to `API` here."""

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts

from dicomnode.web.visitors import Viewer

API = APIRouter(prefix="/api/v1")


@API.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, _visitor: Viewer) -> JSONResponse:
    """The description of the API."""
    routes = [
        one
        for one in iter_route_contexts(request.app.routes)
        if (one.path or "").startswith(API.prefix)
    ]
    return JSONResponse(get_openapi(title="dicomnode", version="1", routes=routes))
