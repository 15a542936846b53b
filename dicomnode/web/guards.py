"""What stands before every request: host names, size of bodies, headers of answers."""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomnode.settings import WebSettings, is_loopback

LARGEST_BODY = 1_000_000
"""Bytes, where a router does not read large ones."""
LARGE_BODIES = ("/dicom-web/", "/fhir", "/api/v1/reports", "/api/v1/files/")
"""Paths below which routers take care of the size themselves."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""Content security policy: nothing inline, nothing from elsewhere. A route may set its own."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class BodyTooLarge(HTTPException):
    """More bytes came than were announced, and than are let in."""

    def __init__(self) -> None:
        super().__init__(413, "too large")


class Guards:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message))
            await send(message)

        if not self._is_meant_for_us(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("unknown host name\n", 421)
            await refusal(scope, receive, send_with_headers)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # PostgreSQL cannot keep it, and nothing of ours has it.
            refusal = PlainTextResponse("a null character\n", 400)
            await refusal(scope, receive, send_with_headers)
            return
        if scope["path"].startswith(LARGE_BODIES):
            await self._app(scope, receive, send_with_headers)
            return
        if _declares_too_much(scope):
            await PlainTextResponse("too large\n", 413)(scope, receive, send_with_headers)
            return
        await self._app(scope, _bounded(receive), send_with_headers)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self._settings.is_secure:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")

    def _is_meant_for_us(self, host: str) -> bool:
        """A loopback server answers to loopback names, and to its public one.

        Otherwise a foreign page could make its own name point here (DNS rebinding).
        """
        name = urlsplit(f"//{host}").hostname or ""
        public = urlsplit(self._settings.public_url).hostname
        if not is_loopback(self._settings.host):
            return public is None or name == public or _is_address(name)
        return is_loopback(name) or (public is not None and name == public)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _declares_too_much(scope: Scope) -> bool:
    declared = Headers(scope=scope).get("content-length", "")
    return declared.isdecimal() and int(declared) > LARGEST_BODY


def _bounded(receive: Receive) -> Receive:
    count = 0

    async def bounded() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > LARGEST_BODY:
            raise BodyTooLarge
        return message

    return bounded
