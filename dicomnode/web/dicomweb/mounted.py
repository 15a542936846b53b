"""DICOMweb among the pages: behind the same accounts, in the same audit trail."""

from fastapi import APIRouter, Depends, Request

from dicomnode.web.context import Visitor, Web
from dicomnode.web.dicomweb.router import dicomweb_router
from dicomnode.web.visitors import Viewer


def dicomweb_for(web: Web) -> APIRouter:
    """The routes; who may see studies may search and retrieve them."""

    def reading(request: Request, visitor: Viewer) -> None:
        request.state.visitor = visitor

    def seen(request: Request, study: str) -> None:
        web.note(_visitor(request), "study.retrieved", on=study)

    return dicomweb_router(
        web.database,
        reads=[Depends(reading)],
        public_url=web.settings.web.public_url,
        seen=seen,
    )


def _visitor(request: Request) -> Visitor:
    visitor = request.state.visitor
    assert isinstance(visitor, Visitor)
    return visitor
