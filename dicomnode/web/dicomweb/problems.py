"""Requests that cannot be served, and how the client is told (RFC 9457)."""

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from dicomnode.domain.errors import DicomNodeError, InvalidUid, StoreUnavailable, UnsupportedImage

MEDIA_TYPE = "application/problem+json"


class Refusal(DicomNodeError):
    """A request is refused; the text tells the client what to do."""

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST


class BadRequest(Refusal):
    """The request breaks PS3.18, or asks for what is not offered."""


class NotHeld(Refusal):
    """There is no such study, series, instance, frame or attribute here."""

    status = HTTPStatus.NOT_FOUND


class NotAcceptable(Refusal):
    """It is here, but not in any of the forms the client accepts."""

    status = HTTPStatus.NOT_ACCEPTABLE


class FileGone(Refusal):
    """The index knows it, but its file is not there or cannot be read."""

    status = HTTPStatus.GONE


class UnsupportedMediaType(Refusal):
    """What was sent is no multipart/related body of DICOM files."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class TooMuch(Refusal):
    """One request sends more than is taken at once."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Busy(Refusal):
    """As many are being served as may be."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


def problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer that says why not."""
    content = {"title": status.phrase, "status": status.value, "detail": detail}
    return JSONResponse(content, status.value, headers, MEDIA_TYPE)


class DicomWebRoute(APIRoute):
    """A route whose errors become problem documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As the base's, with errors translated."""
        inner = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await inner(request)
            except Refusal as exc:
                retry = {"Retry-After": "5"} if isinstance(exc, Busy) else None
                return problem(exc.status, str(exc), retry)
            except InvalidUid:
                # Not quoted: a mistyped address may hold anything.
                return problem(HTTPStatus.BAD_REQUEST, "a UID in the address is not one")
            except RequestValidationError:
                return problem(HTTPStatus.BAD_REQUEST, "the address or its query cannot be read")
            except UnsupportedImage as exc:
                return problem(HTTPStatus.NOT_ACCEPTABLE, str(exc))
            except StoreUnavailable:
                detail = "the index is not available; try again"
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "5"})

        return answer
