"""Logging in by an OpenID Connect provider: authorization code with PKCE (RFC 7636).

The provider's word is checked as OpenID Connect Core 3.1.3.7 asks: signature by the provider's own
keys, issuer, audience, time and nonce. State, nonce and verifier of a login under way lie in a
short-lived cookie, so that an answer counts only in the browser that asked.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dicomnode.domain.access import (
    AccountError,
    LoginRefused,
    Role,
    checked_account_name,
)
from dicomnode.domain.audit import Deed
from dicomnode.domain.errors import StudyError
from dicomnode.settings import OidcSettings, is_loopback
from dicomnode.store.accounts import account_of_provider
from dicomnode.store.audit import record_deed
from dicomnode.web.answers import answer
from dicomnode.web.context import Web, WebContext
from dicomnode.web.login import let_in, own_page, set_cookie
from dicomnode.web.passwords import is_same
from dicomnode.web.visitors import address_of, session_cookie

log = structlog.get_logger()
router = APIRouter()

TIMEOUT_S = 10.0
UNDER_WAY = timedelta(minutes=10)
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384"]
"""Never `none`, and none with a shared secret."""
LEEWAY_S = 60
CALLBACK = "/login/provider/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A login that waits for the provider's answer."""

    state: str
    nonce: str
    verifier: str
    next_page: str


@router.get("/login/provider")
def to_provider(request: Request, web: WebContext, next: str = "") -> Response:  # noqa: A002
    """Send the browser to the provider."""
    oidc = _configured(web)
    under_way = UnderWay(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        verifier=secrets.token_urlsafe(48),
        next_page=own_page(next),
    )
    try:
        endpoint = _metadata(oidc)["authorization_endpoint"]
    except LoginRefused as exc:
        return answer(request, 503, str(exc))
    with _client(oidc, web, request) as client:
        address, _state = client.create_authorization_url(
            endpoint,
            state=under_way.state,
            nonce=under_way.nonce,
            code_verifier=under_way.verifier,
        )
    sent = RedirectResponse(address, 303)
    set_cookie(sent, web, _cookie(web), quote(json.dumps(asdict(under_way))), UNDER_WAY)
    return sent


@router.get(CALLBACK)
def from_provider(
    request: Request,
    web: WebContext,
    code: Annotated[str, Query(max_length=4000)] = "",
    state: Annotated[str, Query(max_length=400)] = "",
) -> Response:
    """Look at the provider's answer and let its account in."""
    oidc = _configured(web)
    try:
        under_way = _kept(request.cookies.get(_cookie(web), ""))
        if under_way is None or not is_same(under_way.state, state) or not code:
            raise LoginRefused("This login was not begun here, or it took too long; try again.")
        claims = _claims(oidc, web, request, code, under_way)
        account = account_of_provider(
            web.database,
            subject=f"{oidc.issuer}|{claims['sub']}",
            name=checked_account_name(str(_value(claims, oidc.name_claim) or "")),
            role=_role(oidc, claims),
            now=web.clock(),
        )
    except AccountError as exc:
        deed = Deed(
            who="",
            address=address_of(request),
            what="login.refused",
            facts={"reason": str(exc), "by": "provider"},
        )
        record_deed(web.database, deed, web.clock())
        refusal = answer(request, 403, str(exc))
        refusal.delete_cookie(_cookie(web), path="/")
        return refusal
    entered = let_in(request, web, account, next_page=under_way.next_page)
    entered.delete_cookie(_cookie(web), path="/")
    return entered


def _configured(web: Web) -> OidcSettings:
    if web.settings.web.oidc is None:
        raise StudyError("this node has no provider of logins")
    return web.settings.web.oidc


def _cookie(web: Web) -> str:
    return f"{session_cookie(web.settings.web)}-provider"


def _kept(cookie: str) -> UnderWay | None:
    try:
        return UnderWay(**{name: str(value) for name, value in json.loads(unquote(cookie)).items()})
    except (ValueError, TypeError, AttributeError):
        return None


def _client(oidc: OidcSettings, web: Web, request: Request) -> OAuth2Client:
    public = web.settings.web.public_url or str(request.base_url).rstrip("/")
    return OAuth2Client(
        client_id=oidc.client_id,
        client_secret=oidc.client_secret or None,
        token_endpoint_auth_method="client_secret_basic" if oidc.client_secret else "none",
        scope=oidc.scopes,
        redirect_uri=f"{public}{CALLBACK}",
        code_challenge_method="S256",
        timeout=TIMEOUT_S,
    )


def _metadata(oidc: OidcSettings) -> Mapping[str, str]:
    """What the provider says of itself (OpenID Connect Discovery 4).

    Raises:
        LoginRefused: it cannot be reached, or says what it must not.
    """
    try:
        found = httpx.get(f"{oidc.issuer}/.well-known/openid-configuration", timeout=TIMEOUT_S)
        found.raise_for_status()
        told = found.json()
        endpoints = {
            name: str(told[name])
            for name in ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
        log.warning("provider.failed", error=type(exc).__name__)
        raise LoginRefused("The provider of logins cannot be reached.") from exc
    if endpoints["issuer"].rstrip("/") != oidc.issuer or not all(map(_is_safe, endpoints.values())):
        raise LoginRefused("The provider of logins is not the one of the settings.")
    return endpoints


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def _claims(
    oidc: OidcSettings, web: Web, request: Request, code: str, under_way: UnderWay
) -> Mapping[str, Any]:
    """What the provider vouches for.

    Raises:
        LoginRefused: it does not, or not for this login.
    """
    metadata = _metadata(oidc)
    try:
        with _client(oidc, web, request) as client:
            token = client.fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=under_way.verifier,
            )
        found = httpx.get(metadata["jwks_uri"], timeout=TIMEOUT_S)
        found.raise_for_status()
        keys = KeySet.import_key_set(found.json())
        decoded = jwt.decode(str(token["id_token"]), keys, algorithms=ALGORITHMS)
        _check(decoded.claims, metadata["issuer"], oidc, under_way.nonce, web.clock())
    except (AuthlibBaseError, httpx.HTTPError, JoseError, ValueError, KeyError) as exc:
        log.warning("provider.failed", error=type(exc).__name__)
        raise LoginRefused("The provider did not vouch for this login.") from exc
    return decoded.claims


def _check(
    claims: Mapping[str, Any], issuer: str, oidc: OidcSettings, nonce: str, now: datetime
) -> None:
    """Raise JoseError unless the claims are for us, for this login, and for now."""
    registry = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": oidc.client_id},
        sub={"essential": True},
        exp={"essential": True},
        nonce={"essential": True, "value": nonce},
        azp={"value": oidc.client_id},
    )
    registry.validate(dict(claims))


def _role(oidc: OidcSettings, claims: Mapping[str, Any]) -> Role:
    """The highest role that the claims map to.

    Raises:
        LoginRefused: none.
    """
    value = _value(claims, oidc.role_claim)
    values = value if isinstance(value, list) else [value]
    roles = [oidc.roles[one] for one in values if isinstance(one, str) and one in oidc.roles]
    if not roles:
        raise LoginRefused("Your hospital account has no role at this node.")
    return max(roles, key=list(Role).index)


def _value(claims: Mapping[str, Any], name: str) -> Any:
    """A claim; a dot leads into it, unless the claim's own name has one."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
