"""Storing (STOW-RS, PS3.18 10.5): the body to the desk, what became of each file to the client."""

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from dicomnode.domain.errors import StorageFull
from dicomnode.domain.identifiers import checked_uid
from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.receive.stow import StowDesk, Stowed
from dicomnode.web.dicomweb.elements import Json, JsonDataset, element, from_texts, tag_of
from dicomnode.web.dicomweb.problems import Busy
from dicomnode.web.dicomweb.receiving import IncomingRequest, boundary_of
from dicomnode.web.dicomweb.searching import json_type

_PIECE = 1 << 20
"""Bytes collected before they are handed to a thread that writes them."""


async def store(
    request: Request, desk: StowDesk, *, root: str, study: str | None, user: str
) -> Response:
    """Take a body of DICOM files; answer when every file kept is on disk with its row.

    Raises:
        Refusal: before anything was kept, or with how much was.
    """
    # All that can be refused is refused before the body is read.
    kind = json_type(request)
    wanted = None if study is None else checked_uid(study)
    boundary = boundary_of(request.headers.get("content-type", ""))
    address = request.client.host if request.client else ""
    incoming = await run_in_threadpool(_enter, desk, user, address, boundary, wanted)
    how = AssociationOutcome.ABORTED
    try:
        held = bytearray()
        async for piece in request.stream():
            held += piece
            if len(held) >= _PIECE:
                await run_in_threadpool(incoming.feed, bytes(held))
                held.clear()
        await run_in_threadpool(incoming.feed, bytes(held))
        stowed = await run_in_threadpool(incoming.finish)
    except ClientDisconnect:
        how = AssociationOutcome.LOST
        # Nobody reads it.
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    finally:
        # Not in a thread: when the server stops, this task is not given another turn.
        incoming.abandon(how)
    content = report(stowed, root)
    return JSONResponse(content, status_of(stowed), media_type=kind)


def _enter(
    desk: StowDesk, user: str, address: str, boundary: bytes, study: str | None
) -> IncomingRequest:
    try:
        session = desk.enter(user, address)
    except StorageFull as exc:
        raise Busy(f"{exc}; send again later") from exc
    if session is None:
        raise Busy("as many requests store instances as may; send again later")
    return IncomingRequest(desk, session, boundary, study)


def status_of(stowed: Sequence[Stowed]) -> int:
    """200 all kept, 202 some, 409 none; 503 if all that is wrong may pass (Table 10.5.3-1)."""
    failed = [one.status.code for one in stowed if one.status.code != 0]
    if not failed:
        return HTTPStatus.OK
    if len(failed) < len(stowed):
        return HTTPStatus.ACCEPTED
    passing = all(code >> 8 == 0xA7 for code in failed)
    return HTTPStatus.SERVICE_UNAVAILABLE if passing else HTTPStatus.CONFLICT


def report(stowed: Sequence[Stowed], root: str) -> JsonDataset:
    """The Store Instances Response Module (PS3.18 I.2)."""
    kept = [one for one in stowed if one.status.code == 0]
    failed = [one for one in stowed if one.status.code != 0]
    studies = {one.study_uid for one in kept}
    answer: JsonDataset = {}
    if len(studies) == 1:
        answer |= dict([from_texts("RetrieveURL", [f"{root}/studies/{studies.pop()}"])])
    sequences: tuple[tuple[str, list[Json]], ...] = (
        ("FailedSOPSequence", [_failed(one) for one in failed if one.meta is not None]),
        ("ReferencedSOPSequence", [_kept(one, root) for one in kept]),
        ("OtherFailuresSequence", [_reason(one) for one in failed if one.meta is None]),
    )
    return answer | {tag_of(keyword): element("SQ", items) for keyword, items in sequences if items}


def _kept(one: Stowed, root: str) -> Json:
    assert one.meta is not None
    url = (
        f"{root}/studies/{one.study_uid}/series/{one.series_uid}"
        f"/instances/{one.meta.sop_instance_uid}"
    )
    return {**_reference(one), **dict([from_texts("RetrieveURL", [url])])}


def _failed(one: Stowed) -> Json:
    return {**_reference(one), **_reason(one)}


def _reference(one: Stowed) -> dict[str, Json]:
    assert one.meta is not None
    return dict(
        [
            from_texts("ReferencedSOPClassUID", [one.meta.sop_class_uid]),
            from_texts("ReferencedSOPInstanceUID", [one.meta.sop_instance_uid]),
        ]
    )


def _reason(one: Stowed) -> dict[str, Json]:
    return {tag_of("FailureReason"): element("US", [one.status.code])}
