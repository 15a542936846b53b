"""Accounts and tokens."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dicomnode.domain.access import (
    AccountError,
    AccountSource,
    Role,
    checked_account_name,
    checked_password,
)
from dicomnode.store.accounts import (
    accounts,
    add_account,
    credentials,
    disable_account,
    enable_account,
    set_password,
    set_role,
)
from dicomnode.store.sessions import add_token, api_tokens, revoke_token
from dicomnode.web.context import Visitor, Web, WebContext
from dicomnode.web.login import check_password
from dicomnode.web.passwords import new_token, token_hash
from dicomnode.web.rendering import render
from dicomnode.web.visitors import Admin, Viewer

router = APIRouter()

Name = Annotated[str, Form(max_length=100)]
Password = Annotated[str, Form(max_length=512)]
LONGEST_LIFE_DAYS = 3650


@router.get("/users")
def users(request: Request, web: WebContext, visitor: Admin) -> HTMLResponse:
    """All of them."""
    return _users(request, web, visitor)


def _users(
    request: Request, web: Web, visitor: Visitor, *, fault: str = "", status: int = 200
) -> HTMLResponse:
    return render(
        request,
        "users.html",
        visitor,
        status=status,
        accounts=accounts(web.database),
        tokens=api_tokens(web.database),
        roles=Role,
        local=AccountSource.LOCAL,
        fault=fault,
        now=web.clock(),
    )


@router.post("/users")
def add(
    request: Request,
    web: WebContext,
    visitor: Admin,
    name: Name,
    role: Annotated[Role, Form()],
    password: Password,
) -> Response:
    """Make an account."""
    try:
        name = checked_account_name(name)
        hashed = web.passwords.hash(checked_password(password))
        with web.noted(visitor, "account.added", name, {"role": role.value}):
            add_account(web.database, name=name, role=role, password_hash=hashed, now=web.clock())
    except AccountError as exc:
        return _users(request, web, visitor, fault=str(exc), status=422)
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/role")
def change_role(
    web: WebContext, visitor: Admin, name: str, role: Annotated[Role, Form()]
) -> RedirectResponse:
    """Change what an account may do."""
    with web.noted(visitor, "account.role", name, {"role": role.value}):
        set_role(web.database, name, role)
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/disable")
def disable(web: WebContext, visitor: Admin, name: str) -> RedirectResponse:
    """Close an account."""
    with web.noted(visitor, "account.disabled", name):
        disable_account(web.database, name, web.clock())
    return RedirectResponse("/users", 303)


@router.post("/users/{name}/enable")
def enable(web: WebContext, visitor: Admin, name: str) -> RedirectResponse:
    """Open it again."""
    with web.noted(visitor, "account.enabled", name):
        enable_account(web.database, name)
    return RedirectResponse("/users", 303)


@router.post("/tokens/{number}/revoke")
def revoke(web: WebContext, visitor: Admin, number: int) -> RedirectResponse:
    """Take a token back."""
    with web.noted(visitor, "token.revoked", str(number)):
        revoke_token(web.database, number, web.clock())
    return RedirectResponse("/users", 303)


@router.get("/account")
def account(request: Request, web: WebContext, visitor: Viewer) -> HTMLResponse:
    """One's own account."""
    return _account(request, web, visitor)


def _account(
    request: Request,
    web: Web,
    visitor: Visitor,
    *,
    fault: str = "",
    token: str = "",
    status: int = 200,
) -> HTMLResponse:
    found = credentials(web.database, visitor.name)
    own = [one for one in api_tokens(web.database) if one.account == visitor.name]
    return render(
        request,
        "account.html",
        visitor,
        status=status,
        has_password=found is not None and found.password_hash is not None,
        tokens=own,
        token=token,
        fault=fault,
    )


@router.post("/account/password")
def change_password(
    request: Request, web: WebContext, visitor: Viewer, old: Password, new: Password
) -> Response:
    """Give oneself another password; every session of the account ends, this one too."""
    try:
        check_password(web, visitor.name, old, visitor.address)
        hashed = web.passwords.hash(checked_password(new))
    except AccountError as exc:
        return _account(request, web, visitor, fault=str(exc), status=422)
    with web.noted(visitor, "account.password", visitor.name):
        set_password(web.database, visitor.name, hashed)
    return RedirectResponse("/login", 303)


@router.post("/account/tokens")
def make_token(
    request: Request,
    web: WebContext,
    visitor: Viewer,
    label: Annotated[str, Form(max_length=100)] = "",
    days: Annotated[int, Form(ge=1, le=LONGEST_LIFE_DAYS)] = 365,
) -> HTMLResponse:
    """A token for a program; shown this once."""
    made = new_token("dn_")
    with web.noted(visitor, "token.made", visitor.name):
        lasts = timedelta(days=days)
        add_token(web.database, visitor.name, token_hash(made), label, web.clock(), lasts=lasts)
    return _account(request, web, visitor, token=made)
