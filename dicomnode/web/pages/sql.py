"""The SQL console: saved questions with their parameters, questions of one's own, downloads."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from dicomnode.domain.questions import Question, QuestionRefused, QuestionTooLong
from dicomnode.store.describe import described_tables
from dicomnode.store.questions import load_questions
from dicomnode.store.tables import SECRET_TABLES
from dicomnode.store.views import views
from dicomnode.web.answering import (
    ROWS_SHOWN,
    Asked,
    FileKind,
    Shown,
    answer_shown,
    answer_streamed,
    of_saved,
)
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Reader

router = APIRouter()

LONGEST_QUERY = 100_000
_NOTED = 2000
"""Characters of a query that go into the audit trail."""
PREFIX = "p_"
"""Before the names of a saved question's parameters in addresses and forms."""
_SECRET = frozenset(table.__tablename__ for table in SECRET_TABLES)

Query = Annotated[str, Form(max_length=LONGEST_QUERY)]


@router.get("/sql")
def console(request: Request, web: WebContext, visitor: Reader) -> HTMLResponse:
    """An empty console."""
    return _page(request, web, visitor)


@router.post("/sql")
def ask(request: Request, web: WebContext, visitor: Reader, query: Query) -> HTMLResponse:
    """A question of one's own, answered on the page."""
    web.note(visitor, "question.asked", facts={"query": query[:_NOTED]})
    return _page(request, web, visitor, query=query, asked=Asked(query=query, values={}))


@router.post("/sql/download")
def download(
    web: WebContext, visitor: Reader, query: Query, kind: Annotated[FileKind, Form()]
) -> Response:
    """The same as a file."""
    facts = {"query": query[:_NOTED], "as": kind.value}
    web.note(visitor, "question.downloaded", facts=facts)
    return _file(web, Asked(query=query, values={}), kind, "answer")


@router.get("/sql/saved/{name}")
def saved(
    request: Request, web: WebContext, visitor: Reader, name: str, run: bool = False
) -> HTMLResponse:
    """A saved question with its form; with `run` also its answer. Can be bookmarked."""
    question = _saved(web, name)
    given = _given(request, question)
    asked: Asked | None = None
    fault = ""
    if run:
        web.note(visitor, "question.asked", on=name, facts=given)
        try:
            asked = of_saved(web, question, given)
        except QuestionRefused as exc:
            fault = str(exc)
    return _page(request, web, visitor, question=question, given=given, asked=asked, fault=fault)


@router.get("/sql/saved/{name}/{kind}")
def saved_download(
    request: Request, web: WebContext, visitor: Reader, name: str, kind: FileKind
) -> Response:
    """The answer to a saved question as a file."""
    question = _saved(web, name)
    given = _given(request, question)
    web.note(visitor, "question.downloaded", on=name, facts={**given, "as": kind.value})
    return _file(web, of_saved(web, question, given), kind, name)


def _saved(web: Web, name: str) -> Question:
    question = load_questions(web.settings.sql.questions).get(name)
    if question is None:
        raise HTTPException(404, "there is no such saved question")
    return question


def _given(request: Request, question: Question) -> dict[str, str]:
    """What the form gave; an empty field stands for the default where there is one."""
    given = {
        one.name: request.query_params.get(PREFIX + one.name, "") for one in question.parameters
    }
    defaults = {one.name: one.default for one in question.parameters}
    return {name: text for name, text in given.items() if text or defaults[name] is None}


def _file(web: Web, question: Asked, kind: FileKind, name: str) -> Response:
    pieces = answer_streamed(web, question, kind)
    disposition = {"Content-Disposition": f'attachment; filename="{name}.{kind.value}"'}
    return StreamingResponse(pieces, media_type=kind.media_type, headers=disposition)


def _page(
    request: Request,
    web: Web,
    visitor: Visitor,
    *,
    query: str = "",
    question: Question | None = None,
    given: Mapping[str, str] | None = None,
    asked: Asked | None = None,
    fault: str = "",
) -> HTMLResponse:
    answer: Shown | None = None
    if asked is not None:
        try:
            answer = answer_shown(web, asked)
        except (QuestionRefused, QuestionTooLong) as exc:
            fault = str(exc)
    return render(
        request,
        "sql.html",
        visitor,
        status=422 if fault else 200,
        query=query,
        questions=load_questions(web.settings.sql.questions).values(),
        question=question,
        given=given or {},
        prefix=PREFIX,
        is_sqlite=web.database.is_sqlite,
        answer=answer,
        fault=fault,
        most=ROWS_SHOWN,
        limit_s=web.settings.sql.time_limit_s,
        views=views(),
        tables=[one for one in described_tables() if one.name not in _SECRET],
    )
