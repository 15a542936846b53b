"""A small OpenID Connect provider on loopback that logs everybody in, or misbehaves as told."""

import json
import threading
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "dicomnode"
SECRET = "a secret of both"


@dataclass
class Provider:
    """Runs while entered. `claims` and `changes` say what its tokens hold."""

    now: datetime
    claims: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the ID token, to break it; None leaves a claim out."""
    signs_with_other_key: bool = False
    algorithm: str = "RS256"
    asked: list[dict[str, str]] = field(default_factory=list)
    """Authorization requests so far."""

    def __enter__(self) -> Self:
        self.key = RSAKey.generate_key(2048, {"kid": "1"})
        self.other_key = RSAKey.generate_key(2048, {"kid": "1"})
        provider: Provider = self

        class Bound(_Handler):
            served = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def issuer(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def id_token(self, nonce: str) -> str:
        """What it says of whoever logged in."""
        seconds = int(self.now.timestamp())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": seconds,
            "exp": seconds + 300,
            "nonce": nonce,
            **self.claims,
            **self.changes,
        }
        held = {name: value for name, value in claims.items() if value is not None}
        key = self.other_key if self.signs_with_other_key else self.key
        return jwt.encode({"alg": self.algorithm, "kid": "1"}, held, key)


class _Handler(BaseHTTPRequestHandler):
    served: Provider

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        issuer = self.served.issuer
        if address.path == "/.well-known/openid-configuration":
            self._answer(
                {
                    "issuer": issuer,
                    "authorization_endpoint": f"{issuer}/authorize",
                    "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/keys",
                }
            )
        elif address.path == "/keys":
            self._answer({"keys": [self.served.key.as_dict(private=False)]})
        elif address.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(address.query).items()}
            self.served.asked.append(asked)
            sent = urlencode({"code": f"code{len(self.served.asked)}", "state": asked["state"]})
            self.send_response(302)
            self.send_header("Location", f"{asked['redirect_uri']}?{sent}")
            self.end_headers()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        sent = {name: one[0] for name, one in parse_qs(self.rfile.read(length).decode()).items()}
        kind, _, proof = self.headers.get("Authorization", "").partition(" ")
        asked = self.served.asked[int(sent["code"].removeprefix("code")) - 1]
        is_client = kind == "Basic" and b64decode(proof).decode() == f"{CLIENT}:{SECRET}"
        is_same = create_s256_code_challenge(sent["code_verifier"]) == asked["code_challenge"]
        if not (is_client and is_same and sent["redirect_uri"] == asked["redirect_uri"]):
            self._answer({"error": "invalid_grant"}, 400)
            return
        token = self.served.id_token(asked["nonce"])
        self._answer({"access_token": "x", "token_type": "Bearer", "id_token": token})

    def _answer(self, told: object, status: int = 200) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
