"""The REST API. One module for each subject; its router is added to `SUBJECTS` here."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts

from dicomnode.web.api import jobs, node, studies
from dicomnode.web.api.values import REFUSALS
from dicomnode.web.visitors import Viewer

SUBJECTS = (studies.router, jobs.router, node.router)

API = APIRouter(prefix="/api/v1")
for _subject in SUBJECTS:
    API.include_router(_subject, responses=REFUSALS)


@API.get("/openapi.json", include_in_schema=False)
def openapi(request: Request, _visitor: Viewer) -> JSONResponse:
    """The description of the API."""
    routes = [
        one
        for one in iter_route_contexts(request.app.routes)
        if (one.path or "").startswith(API.prefix)
    ]
    described: dict[str, Any] = get_openapi(title="dicomnode", version="1", routes=routes)
    schemes = {"token": {"type": "http", "scheme": "bearer"}}
    described.setdefault("components", {})["securitySchemes"] = schemes
    described["security"] = [{"token": []}]
    return JSONResponse(described)
