"""Who did what."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from dicomnode.store.audit import AuditSearch, audit_entries, check_chain
from dicomnode.web.context import WebContext
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Admin

router = APIRouter()

EACH = 100
Word = Annotated[str, Query(max_length=100)]


@router.get("/audit")
def audit(
    request: Request,
    web: WebContext,
    visitor: Admin,
    who: Word = "",
    what: Word = "",
    on: Word = "",
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """The audit trail, newest first."""
    asked = {"who": who.strip(), "what": what.strip(), "on": on.strip()}
    entries = audit_entries(web.database, AuditSearch(**asked, before=before), EACH)
    kept = {name: value for name, value in asked.items() if value}
    is_full = len(entries) == EACH
    following = f"/audit?{urlencode({**kept, 'before': entries[-1].id})}" if is_full else ""
    return render(request, "audit.html", visitor, entries=entries, asked=asked, following=following)


@router.get("/audit/check")
def check(request: Request, web: WebContext, visitor: Admin) -> HTMLResponse:
    """Whether the chain of hashes is whole."""
    web.note(visitor, "audit.checked")
    return render(request, "audit_check.html", visitor, checked=check_chain(web.database))
