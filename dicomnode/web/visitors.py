"""Who is behind a request, and whether they may do what they ask.

A router takes `Viewer`, `Reader` or `Admin` as a parameter, or `Depends(require(Role.X))`; it
then serves a browser's session and a program's `Authorization: Bearer` token alike. A session that
changes something must send the token of its forms: field `form_token`, or header `X-Form-Token`.
The viewer, which knows no form, may store what its user made of an image without one.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from dicomnode.domain.access import NotAllowed, NotLoggedIn, Role
from dicomnode.settings import WebSettings
from dicomnode.store.sessions import account_of_session, account_of_token
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.passwords import form_token, is_same, token_hash

FORM_FIELD = "form_token"
FORM_HEADER = "x-form-token"
STORES = "/dicom-web/studies"
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def session_cookie(settings: WebSettings) -> str:
    """Its name. With `__Host-` browsers insist on https and on this very host (RFC 6265bis)."""
    return "__Host-dicomnode" if settings.is_secure else "dicomnode"


def address_of(request: Request) -> str:
    """IP address of the client, or of the proxy before it unless the settings trust that."""
    return request.client.host if request.client else ""


async def sent_form_token(request: Request) -> str:
    """What the request carries to prove that it comes from one of our own forms."""
    if request.method in _READS:
        return ""
    header = request.headers.get(FORM_HEADER)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if header is not None or kind not in _FORMS:
        return header or ""
    field = (await request.form()).get(FORM_FIELD)
    return field if isinstance(field, str) else ""


SentFormToken = Annotated[str, Depends(sent_form_token)]


def known_visitor(request: Request, web: WebContext, sent: SentFormToken) -> Visitor:
    """Whoever is logged in.

    Raises:
        NotLoggedIn: nobody is.
        NotAllowed: something is to be changed, but the request comes from no form of ours.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return _program(request, web, token.strip())
    token = request.cookies.get(session_cookie(web.settings.web), "")
    visitor = _browser(request, web, token)
    is_ours = is_same(sent, visitor.form_token) or _is_stored_by_our_viewer(request)
    if request.method not in _READS and not is_ours:
        raise NotAllowed("this form is out of date; open the page again")
    return visitor


def _is_stored_by_our_viewer(request: Request) -> bool:
    """True for STOW-RS from a page of this very origin.

    The browser itself says so (Sec-Fetch-Site, which no script can set), and would have asked
    first whether another origin may send a body of this type (Fetch standard, CORS preflight).
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return (
        request.method == "POST"
        and request.url.path.startswith(STORES)
        and kind == "multipart/related"
        and request.headers.get("sec-fetch-site") == "same-origin"
    )


def _program(request: Request, web: Web, token: str) -> Visitor:
    account = account_of_token(web.database, token_hash(token), web.clock()) if token else None
    if account is None:
        raise NotLoggedIn("this token is not known, has ended or was revoked")
    return Visitor(name=account.name, role=account.role, address=address_of(request))


def _browser(request: Request, web: Web, token: str) -> Visitor:
    idle = timedelta(minutes=web.settings.web.idle_minutes)
    hashed = token_hash(token)
    account = account_of_session(web.database, hashed, web.clock(), idle=idle) if token else None
    if account is None:
        raise NotLoggedIn("log in first")
    return Visitor(
        name=account.name,
        role=account.role,
        address=address_of(request),
        form_token=form_token(token),
        session_hash=hashed,
    )


KnownVisitor = Annotated[Visitor, Depends(known_visitor)]


@cache
def require(role: Role) -> Callable[..., Awaitable[Visitor]]:
    """A dependency that lets through whoever may do what needs `role`.

    It is async: a thread of its own for a comparison would cost more than the comparison.
    """

    async def allowed(request: Request, web: WebContext, visitor: KnownVisitor) -> Visitor:
        if not visitor.may(role):
            facts = {"method": request.method}
            await run_in_threadpool(web.note, visitor, "access.refused", request.url.path, facts)
            raise NotAllowed(f"this needs the role {role.value}; yours is {visitor.role.value}")
        return visitor

    return allowed


Viewer = Annotated[Visitor, Depends(require(Role.VIEWER))]
Reader = Annotated[Visitor, Depends(require(Role.READER))]
Admin = Annotated[Visitor, Depends(require(Role.ADMIN))]
