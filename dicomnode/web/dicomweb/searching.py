"""The five search resources (QIDO-RS, PS3.18 10.6)."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from dicomnode.domain.catalogue import FoundInstance, FoundSeries, Level
from dicomnode.domain.identifiers import StudyUid, checked_uid
from dicomnode.store.catalogue import (
    find_instances,
    find_series,
    find_studies,
    series_of,
    studies_of,
)
from dicomnode.store.database import Database
from dicomnode.web.dicomweb.accepting import first_that_fits, wanted_types
from dicomnode.web.dicomweb.asking import Asked, read_search
from dicomnode.web.dicomweb.elements import MEDIA_TYPE, JsonDataset
from dicomnode.web.dicomweb.entries import Entries
from dicomnode.web.dicomweb.problems import NotAcceptable

MORE = "There are additional results that can be requested"


def search(
    database: Database,
    request: Request,
    root: str,
    level: Level,
    *,
    study: str | None = None,
    series: str | None = None,
) -> Response:
    """Answer one search, within `study` and `series` where the path names them."""
    kind = json_type(request)
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    within = {key: checked_uid(uid) for key, uid in named.items() if uid is not None}
    asked = read_search(level, within, request.query_params.multi_items())
    # One more than is given tells whether there are more.
    looked = replace(asked, search=replace(asked.search, limit=asked.search.limit + 1))
    found = _FIND[level](database, looked, Entries(root=root, asked=asked), within.keys())
    warnings = list(asked.warnings)
    if len(found) > asked.search.limit:
        found = found[: asked.search.limit]
        warnings.append(MORE)
    headers = {"Cache-Control": "private, no-store", "Vary": "Accept"}
    if warnings:
        headers["Warning"] = ", ".join(f'299 {root}: "{text}"' for text in warnings)
    return JSONResponse(found, media_type=kind, headers=headers)


def json_type(request: Request) -> str:
    """The JSON media type to answer with.

    Raises:
        NotAcceptable: the client takes neither, e.g. only XML.
    """
    wanted = wanted_types(request.headers.get("accept"), request.query_params.get("accept"))
    kind = first_that_fits([one for one in wanted if not one.multipart], _JSON)
    if kind is None:
        raise NotAcceptable(f"only {MEDIA_TYPE} is offered")
    return kind


_JSON = (MEDIA_TYPE, "application/json")


def _find_studies(
    database: Database, asked: Asked, entries: Entries, _within: "Names"
) -> list[JsonDataset]:
    return [entries.study(found) for found in find_studies(database, asked.search)]


def _find_series(
    database: Database, asked: Asked, entries: Entries, within: "Names"
) -> list[JsonDataset]:
    found = find_series(database, asked.search)
    studies = {} if "StudyInstanceUID" in within else studies_of(database, _studies_in(found))
    return [entries.series(one, studies.get(one.study_uid)) for one in found]


def _find_instances(
    database: Database, asked: Asked, entries: Entries, within: "Names"
) -> list[JsonDataset]:
    found = find_instances(database, asked.search)
    studies = {} if "StudyInstanceUID" in within else studies_of(database, _studies_in(found))
    uids = tuple({one.series_uid for one in found})
    series = {} if "SeriesInstanceUID" in within else series_of(database, uids)
    return [
        entries.instance(one, series.get(one.series_uid), studies.get(one.study_uid))
        for one in found
    ]


Names = Collection[str]


def _studies_in(found: Sequence[FoundSeries | FoundInstance]) -> tuple[StudyUid, ...]:
    return tuple({one.study_uid for one in found})


_FIND = {
    Level.STUDY: _find_studies,
    Level.SERIES: _find_series,
    Level.INSTANCE: _find_instances,
}
