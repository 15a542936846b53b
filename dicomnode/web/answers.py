"""Errors as answers: a page for people, JSON for programs, and never a traceback."""

from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from dicomnode.domain.access import AccountError, LoginRefused, NotAllowed, NotLoggedIn
from dicomnode.domain.errors import (
    DicomNodeError,
    RuleError,
    StoreUnavailable,
    StudyError,
    ValueRefused,
)
from dicomnode.domain.questions import QuestionRefused, QuestionTooLong
from dicomnode.web.rendering import render

log = structlog.get_logger()

STATUS: tuple[tuple[type[DicomNodeError], int], ...] = (
    (NotLoggedIn, 401),
    (LoginRefused, 403),
    (NotAllowed, 403),
    (AccountError, 422),
    (StudyError, 404),
    (RuleError, 422),
    (QuestionRefused, 422),
    (QuestionTooLong, 422),
    (StoreUnavailable, 503),
    (ValueRefused, 422),
    (DicomNodeError, 500),
)
"""The first that fits counts."""
FOR_PROGRAMS = ("/api/", "/dicom-web", "/fhir")


class BrokenOff(Exception):
    """An answer cannot be brought to its end; the connection is closed in the middle of it."""


def status_of(exc: DicomNodeError) -> int:
    """The HTTP status an error is answered with."""
    return next(status for kind, status in STATUS if isinstance(exc, kind))


def add_answers(app: FastAPI) -> None:
    """Have errors answered."""
    app.add_exception_handler(DicomNodeError, _answer_ours)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_bug)


def _answer_ours(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, DicomNodeError)
    if isinstance(exc, NotLoggedIn) and not _is_for_program(request):
        return _to_login(request)
    status = status_of(exc)
    if status >= 500:
        log.error("web.failed", error=type(exc).__name__, reason=str(exc))
    return answer(request, status, str(exc))


def _answer_http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    answered = answer(request, exc.status_code, str(exc.detail))
    answered.headers.update(exc.headers or {})
    return answered


def _answer_invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    # Without the input: it may be a password.
    faults = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in exc.errors()]
    return answer(request, 422, "; ".join(faults))


def _answer_bug(request: Request, exc: Exception) -> Response:
    """Whatever a handler forgot to catch; the log tells where, the visitor that it is our fault."""
    if isinstance(exc, BrokenOff):
        log.warning("web.broken-off", reason=str(exc))
        return answer(request, 500, str(exc))
    log.error("web.failed", error=type(exc).__name__, exc_info=exc)
    return answer(request, 500, "something went wrong here; the node's log tells what")


def answer(request: Request, status: int, words: str) -> Response:
    """A refusal, as whoever asks can read it."""
    if _is_for_program(request):
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return JSONResponse({"detail": words}, status, headers)
    return render(request, "refusal.html", None, status=status, code=status, words=words)


def _is_for_program(request: Request) -> bool:
    return request.url.path.startswith(FOR_PROGRAMS)


def _to_login(request: Request) -> Response:
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    next_page = f"?next={quote(asked)}" if request.method == "GET" and asked != "/" else ""
    return RedirectResponse(f"/login{next_page}", 303)
