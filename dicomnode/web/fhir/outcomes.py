"""Answers of the FHIR interface: an OperationOutcome (R4 http.html, 3.1.0.5) for everything."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from dicomnode.domain.access import AccessError, NotLoggedIn
from dicomnode.domain.errors import DicomNodeError, StoreError
from dicomnode.receive.reports.fhir_json import NotFhir, TooMuchFhir
from dicomnode.web.answers import status_of

MEDIA_TYPE = "application/fhir+json"


class NotJson(NotFhir):
    """The body is of another type than FHIR JSON."""


REFUSALS: tuple[tuple[type[NotFhir], int, str], ...] = (
    (NotJson, 415, "not-supported"),
    (TooMuchFhir, 413, "too-costly"),
    (NotFhir, 422, "invalid"),
)
"""HTTP status and IssueType; the first that fits counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing to say; `words` quote nothing of what was sent."""

    severity: str
    code: str
    """Of R4's IssueType."""
    words: str


def outcome(issues: Sequence[Issue]) -> dict[str, object]:
    """The resource."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [
            {"severity": each.severity, "code": each.code, "diagnostics": each.words}
            for each in issues
        ],
    }


def answered(status: int, content: dict[str, object], **headers: str) -> Response:
    """A resource as an answer."""
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def refused(status: int, code: str, words: str, **headers: str) -> Response:
    """An error as an answer."""
    return answered(status, outcome([Issue(severity="error", code=code, words=words)]), **headers)


class FhirRoute(APIRoute):
    """A route whose errors become OperationOutcomes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As the base's, with errors translated."""
        inner = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await inner(request)
            except DicomNodeError as exc:
                return _of_ours(exc)
            except HTTPException as exc:
                return refused(exc.status_code, "processing", str(exc.detail))

        return answer


def _of_ours(exc: DicomNodeError) -> Response:
    words = str(exc)
    match exc:
        case NotFhir():
            refusals = (each for each in REFUSALS if isinstance(exc, each[0]))
            _, status, code = next(refusals)
            return refused(status, code, words)
        case StoreError() if exc.retryable:
            headers = {"Retry-After": "5"}
            return refused(503, "transient", "the index is not available; try again", **headers)
        case StoreError():
            return refused(422, "processing", "the index refuses it")
        case NotLoggedIn():
            return refused(401, "login", words, **{"WWW-Authenticate": "Bearer"})
        case AccessError():
            return refused(status_of(exc), "forbidden", words)
    raise exc
