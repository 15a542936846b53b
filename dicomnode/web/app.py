"""The web application, put together."""

from collections.abc import Callable, Sequence
from datetime import datetime

from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from dicomnode.receiving import now
from dicomnode.settings import Settings
from dicomnode.store.database import Database
from dicomnode.web import files, health, metrics, ohif
from dicomnode.web.answers import add_answers
from dicomnode.web.api import API
from dicomnode.web.context import Web
from dicomnode.web.dicomweb.mounted import KeptDesk, dicomweb_for
from dicomnode.web.fhir.router import router as fhir
from dicomnode.web.guards import Guards
from dicomnode.web.login import router as login
from dicomnode.web.pages import PAGES
from dicomnode.web.passwords import Passwords
from dicomnode.web.provider import router as provider
from dicomnode.web.rendering import FOLDER, Page

ROUTERS: tuple[APIRouter, ...] = (API, metrics.router, fhir, files.router)
"""Interfaces for programs. Each of their routes asks by `visitors.require` who is there."""


def create_app(
    settings: Settings,
    database: Database,
    *,
    clock: Callable[[], datetime] = now,
    passwords: Passwords | None = None,
    pages: Sequence[Page] = PAGES,
    routers: Sequence[APIRouter] = ROUTERS,
) -> FastAPI:
    """Everything the web process serves."""
    # FastAPI's own pages about the API load scripts from elsewhere; ours is /api/v1/openapi.json.
    app = FastAPI(title="dicomnode", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.web = Web(
        settings=settings, database=database, clock=clock, passwords=passwords or Passwords()
    )
    app.state.pages = tuple(pages)
    add_answers(app)
    app.state.desk = KeptDesk(app.state.web)
    # First of the routes, which are tried one after the other: a viewer asks for every frame of a
    # series by itself.
    app.include_router(dicomweb_for(app.state.web, app.state.desk), include_in_schema=False)
    for page in pages:
        app.include_router(page.router, include_in_schema=False)
    app.include_router(login, include_in_schema=False)
    app.include_router(provider, include_in_schema=False)
    app.include_router(health.router, include_in_schema=False)
    for router in routers:
        app.include_router(router)
    # Last of the routes: it answers for every address at the root that is no page.
    app.include_router(ohif.router, include_in_schema=False)
    app.mount("/static", KeptStaticFiles(directory=FOLDER / "static"), name="static")
    app.add_middleware(Guards, settings=settings.web)
    return app


class KeptStaticFiles(StaticFiles):
    """Static files that browsers may keep: their addresses change with their content."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """A file."""
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer
