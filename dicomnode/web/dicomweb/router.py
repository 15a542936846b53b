"""The resources of DICOMweb, and who answers them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response, params
from fastapi.concurrency import run_in_threadpool

from dicomnode.domain.catalogue import Level
from dicomnode.receive.stow import StowDesk
from dicomnode.store.database import Database
from dicomnode.web.dicomweb.problems import DicomWebRoute
from dicomnode.web.dicomweb.retrieving import Place, Retrieval
from dicomnode.web.dicomweb.searching import search
from dicomnode.web.dicomweb.storing import store

PREFIX = "/dicom-web"
STUDY = "/studies/{study}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
FRAMES = f"{INSTANCE}/frames/{{frames}}"


Root = Callable[[Request], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreService:
    """Who may store, and where it goes."""

    writes: Sequence[params.Depends]
    desk: Callable[[], StowDesk]
    """Called in a thread; opens it at the first request."""
    user: Callable[[Request], str]
    """Who sends."""


Seen = Callable[[Request, str], None]
"""Is told of a request for headers or files of a study, and of which."""


def dicomweb_router(
    database: Database,
    *,
    reads: Sequence[params.Depends],
    public_url: str = "",
    seen: Seen = lambda _request, _study: None,
    stow: StoreService | None = None,
) -> APIRouter:
    """Everything below `/dicom-web`; `reads` decide who may search and retrieve.

    Without `stow` nothing is stored. Links lead to `public_url`, without one to where the client
    came.
    """
    whole = APIRouter(prefix=PREFIX)
    router = APIRouter(route_class=DicomWebRoute, tags=["DICOMweb"], dependencies=reads)

    def root(request: Request) -> str:
        return f"{public_url.rstrip('/') or address_of(request)}{PREFIX}"

    _add_parts(router, database, root)
    _add_pictures(router, database, root)
    _add_objects(router, database, root, seen)
    _add_searches(router, database, root)
    whole.include_router(router)
    if stow is not None:
        writing = APIRouter(route_class=DicomWebRoute, tags=["DICOMweb"], dependencies=stow.writes)
        _add_store(writing, stow, root)
        whole.include_router(writing)
    return whole


def address_of(request: Request) -> str:
    """Scheme, host and port the client used, without a slash at the end."""
    url = request.base_url
    server = request.scope.get("server")
    if url.port is None and server and server[1] not in (None, 80, 443):
        # Some clients leave the port out of the Host header.
        url = url.replace(port=server[1])
    return str(url).rstrip("/")


def _add_searches(router: APIRouter, database: Database, root: Root) -> None:
    def ask(
        request: Request, level: Level, study: str | None = None, series: str | None = None
    ) -> Response:
        return search(database, request, root(request), level, study=study, series=series)

    @router.get("/studies")
    def studies(request: Request) -> Response:
        """Search for studies."""
        return ask(request, Level.STUDY)

    @router.get("/series")
    def all_series(request: Request) -> Response:
        """Search for series of any study."""
        return ask(request, Level.SERIES)

    @router.get("/instances")
    def all_instances(request: Request) -> Response:
        """Search for instances of any study."""
        return ask(request, Level.INSTANCE)

    @router.get(f"{STUDY}/series")
    def series_of_study(request: Request, study: str) -> Response:
        """Search for series of a study."""
        return ask(request, Level.SERIES, study)

    @router.get(f"{STUDY}/instances")
    def instances_of_study(request: Request, study: str) -> Response:
        """Search for instances of a study."""
        return ask(request, Level.INSTANCE, study)

    @router.get(f"{SERIES}/instances")
    def instances_of_series(request: Request, study: str, series: str) -> Response:
        """Search for instances of a series."""
        return ask(request, Level.INSTANCE, study, series)


def _add_objects(router: APIRouter, database: Database, root: Root, seen: Seen) -> None:
    def objects(request: Request, place: Place) -> Response:
        found = Retrieval(database=database, request=request, root=root(request))
        answer = found.objects(place)
        seen(request, place.study)
        return answer

    def metadata(request: Request, place: Place) -> Response:
        found = Retrieval(database=database, request=request, root=root(request))
        answer = found.metadata(place)
        seen(request, place.study)
        return answer

    @router.get(STUDY)
    def study(request: Request, study: str) -> Response:
        """Every instance of a study."""
        return objects(request, Place.at(study))

    @router.get(SERIES)
    def series(request: Request, study: str, series: str) -> Response:
        """Every instance of a series."""
        return objects(request, Place.at(study, series))

    @router.get(INSTANCE)
    def instance(request: Request, study: str, series: str, instance: str) -> Response:
        """One instance."""
        return objects(request, Place.at(study, series, instance))

    @router.get(f"{STUDY}/metadata")
    def study_metadata(request: Request, study: str) -> Response:
        """Headers of a study."""
        return metadata(request, Place.at(study))

    @router.get(f"{SERIES}/metadata")
    def series_metadata(request: Request, study: str, series: str) -> Response:
        """Headers of a series."""
        return metadata(request, Place.at(study, series))

    @router.get(f"{INSTANCE}/metadata")
    def instance_metadata(request: Request, study: str, series: str, instance: str) -> Response:
        """Header of an instance."""
        return metadata(request, Place.at(study, series, instance))


def _add_parts(router: APIRouter, database: Database, root: Root) -> None:
    def retrieval(request: Request) -> Retrieval:
        return Retrieval(database=database, request=request, root=root(request))

    @router.get(FRAMES)
    def frames(request: Request, study: str, series: str, instance: str, frames: str) -> Response:
        """The frames `1,2,...` of an instance."""
        return retrieval(request).frames(Place.at(study, series, instance), frames)

    @router.get(f"{INSTANCE}/frames")
    def all_frames(request: Request, study: str, series: str, instance: str) -> Response:
        """Every frame of an instance."""
        return retrieval(request).frames(Place.at(study, series, instance), None)

    @router.get(f"{INSTANCE}/bulkdata/{{path:path}}")
    def bulk_data(request: Request, study: str, series: str, instance: str, path: str) -> Response:
        """A large value that the metadata left out."""
        return retrieval(request).bulk(Place.at(study, series, instance), path)


def _add_store(router: APIRouter, stow: StoreService, root: Root) -> None:
    async def take(request: Request, study: str | None) -> Response:
        desk = await run_in_threadpool(stow.desk)
        user = stow.user(request)
        return await store(request, desk, root=root(request), study=study, user=user)

    @router.post("/studies")
    async def into_any_study(request: Request) -> Response:
        """Store instances."""
        return await take(request, None)

    @router.post(STUDY)
    async def into_study(request: Request, study: str) -> Response:
        """Store instances of one study."""
        return await take(request, study)


def _add_pictures(router: APIRouter, database: Database, root: Root) -> None:
    def picture(
        request: Request, place: Place, frames: str | None = None, *, small: bool = False
    ) -> Response:
        found = Retrieval(database=database, request=request, root=root(request))
        return found.picture(place, frames, small=small)

    @router.get(f"{STUDY}/rendered")
    def study_picture(request: Request, study: str) -> Response:
        """The image in the middle of a study, as JPEG or PNG."""
        return picture(request, Place.at(study))

    @router.get(f"{SERIES}/rendered")
    def series_picture(request: Request, study: str, series: str) -> Response:
        """The image in the middle of a series, as JPEG or PNG."""
        return picture(request, Place.at(study, series))

    @router.get(f"{INSTANCE}/rendered")
    def instance_picture(request: Request, study: str, series: str, instance: str) -> Response:
        """An image as JPEG or PNG."""
        return picture(request, Place.at(study, series, instance))

    @router.get(f"{FRAMES}/rendered")
    def frame_picture(
        request: Request, study: str, series: str, instance: str, frames: str
    ) -> Response:
        """One frame as JPEG or PNG."""
        return picture(request, Place.at(study, series, instance), frames)

    @router.get(f"{STUDY}/thumbnail")
    def study_thumbnail(request: Request, study: str) -> Response:
        """The image in the middle of a study, small."""
        return picture(request, Place.at(study), small=True)

    @router.get(f"{SERIES}/thumbnail")
    def series_thumbnail(request: Request, study: str, series: str) -> Response:
        """The image in the middle of a series, small."""
        return picture(request, Place.at(study, series), small=True)

    @router.get(f"{INSTANCE}/thumbnail")
    def instance_thumbnail(request: Request, study: str, series: str, instance: str) -> Response:
        """An image, small."""
        return picture(request, Place.at(study, series, instance), small=True)

    @router.get(f"{FRAMES}/thumbnail")
    def frame_thumbnail(
        request: Request, study: str, series: str, instance: str, frames: str
    ) -> Response:
        """One frame, small."""
        return picture(request, Place.at(study, series, instance), frames, small=True)
