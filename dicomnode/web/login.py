"""Logging in and out."""

from datetime import timedelta
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from dicomnode.domain.access import Account, LoginRefused, NotAllowed
from dicomnode.domain.audit import Deed
from dicomnode.store.accounts import credentials, has_admin
from dicomnode.store.audit import record_deed
from dicomnode.store.logins import forgive, note_try
from dicomnode.store.sessions import close_session, open_session
from dicomnode.web.context import Web, WebContext
from dicomnode.web.passwords import is_same, new_token, token_hash
from dicomnode.web.rendering import render
from dicomnode.web.visitors import KnownVisitor, address_of, session_cookie

router = APIRouter()

TRIES_PER_ACCOUNT = 10
TRIES_PER_ADDRESS = 30
"""Within `store.logins.WINDOW`; a whole department may sit behind one address."""
LONGEST = 512
"""Characters of a name or password that are looked at."""
HOME = "/overview"


@router.get("/")
def home(_visitor: KnownVisitor) -> RedirectResponse:
    """To the first page."""
    return RedirectResponse(HOME, 303)


@router.get("/login")
def login_page(request: Request, web: WebContext, next: str = "") -> Response:  # noqa: A002
    """The form."""
    return _form(request, web, next_page=next)


@router.post("/login")
def log_in(
    request: Request,
    web: WebContext,
    name: Annotated[str, Form(max_length=LONGEST)],
    password: Annotated[str, Form(max_length=LONGEST)],
    login_token: Annotated[str, Form(max_length=LONGEST)] = "",
    next: Annotated[str, Form(max_length=2000)] = "",  # noqa: A002
) -> Response:
    """Check name and password, open a new session."""
    kept = request.cookies.get(_login_cookie(web), "")
    if not kept or not is_same(kept, login_token):
        return _form(request, web, next_page=next, fault="The form was out of date; try again.")
    try:
        account = check_password(web, name.strip().lower(), password, address_of(request))
    except LoginRefused as exc:
        return _form(request, web, next_page=next, fault=str(exc), status=403)
    return let_in(request, web, account, next_page=next)


def check_password(web: Web, name: str, password: str, address: str) -> Account:
    """The account, if the password fits.

    Raises:
        LoginRefused: it does not, or too many tries failed before.
    """
    key = f"account:{sha256(name.encode()).hexdigest()}"
    limits = {key: TRIES_PER_ACCOUNT, f"address:{address}": TRIES_PER_ADDRESS}
    if not note_try(web.database, limits, web.clock()):
        _note_refusal(web, name, address, "too many tries")
        raise LoginRefused("Too many tries; wait a quarter of an hour.")
    found = credentials(web.database, name)
    if not web.passwords.fits(found.password_hash if found else None, password) or found is None:
        _note_refusal(web, name, address, "name and password do not fit")
        raise LoginRefused("Name and password do not fit.")
    forgive(web.database, key)
    return found.account


def _note_refusal(web: Web, name: str, address: str, reason: str) -> None:
    """The name only if there is such an account: people type passwords into the wrong field."""
    known = credentials(web.database, name)
    on = known.account.name if known else ""
    deed = Deed(who="", address=address, what="login.refused", on=on, facts={"reason": reason})
    record_deed(web.database, deed, web.clock())


def let_in(request: Request, web: Web, account: Account, *, next_page: str) -> Response:
    """Open a session with a fresh token, whatever the browser brought (no session fixation)."""
    before = request.cookies.get(session_cookie(web.settings.web), "")
    token, address = new_token(), address_of(request)
    lasts = timedelta(hours=web.settings.web.session_hours)
    with web.database.as_one():
        if before:
            close_session(web.database, token_hash(before))
        open_session(web.database, account, token_hash(token), address, web.clock(), lasts=lasts)
        deed = Deed(who=account.name, address=address, what="login")
        record_deed(web.database, deed, web.clock())
    answer = RedirectResponse(own_page(next_page), 303)
    set_cookie(answer, web, session_cookie(web.settings.web), token, lasts)
    answer.delete_cookie(_login_cookie(web), path="/")
    return answer


@router.post("/logout")
def log_out(web: WebContext, visitor: KnownVisitor) -> Response:
    """End the session."""
    if not visitor.session_hash:
        raise NotAllowed("a token is revoked, not logged out")
    with web.noted(visitor, "logout"):
        close_session(web.database, visitor.session_hash)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(session_cookie(web.settings.web), path="/")
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


def own_page(wanted: str) -> str:
    """The page to go on to, if it is one of ours."""
    parts = urlsplit(wanted)
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    is_plain = wanted.isprintable() and "\\" not in wanted and not (parts.scheme or parts.netloc)
    return wanted if is_ours and is_plain else HOME


def set_cookie(answer: Response, web: Web, name: str, value: str, lasts: timedelta) -> None:
    """A cookie that scripts and foreign pages cannot use."""
    answer.set_cookie(
        name,
        value,
        max_age=int(lasts.total_seconds()),
        path="/",
        secure=web.settings.web.is_secure,
        httponly=True,
        samesite="lax",
    )


def _login_cookie(web: Web) -> str:
    return f"{session_cookie(web.settings.web)}-login"


def _form(
    request: Request, web: Web, *, next_page: str, fault: str = "", status: int = 200
) -> Response:
    """The form, with a token that only a page of ours can have set as a cookie as well."""
    token = new_token()
    answer = render(
        request,
        "login.html",
        None,
        status=status,
        login_token=token,
        next_page=own_page(next_page) if next_page else "",
        fault=fault,
        has_admin=has_admin(web.database),
        has_provider=web.settings.web.oidc is not None,
    )
    set_cookie(answer, web, _login_cookie(web), token, timedelta(hours=1))
    return answer
