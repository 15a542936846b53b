"""Bodies of several parts (RFC 2387), written as they are made."""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastapi.responses import Response, StreamingResponse

PIECE = 1 << 20
"""Bytes read from a file at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: what it is, and its bytes in pieces."""

    content_type: str
    pieces: Iterable[bytes]
    location: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Parts of one media type, and the headers to send them with."""

    type: str
    parts: Iterable[Part]
    headers: Mapping[str, str] = field(default_factory=dict)


def multipart(body: Body, *, is_small: bool = False) -> Response:
    """A multipart/related answer; nothing of it is held but the piece on its way.

    `is_small`: it is held whole, which saves a change of threads for each piece.
    """
    boundary = secrets.token_hex(16)
    content_type = f'multipart/related; type="{body.type}"; boundary={boundary}'
    written, headers = _written(body.parts, boundary), dict(body.headers)
    if is_small:
        return Response(b"".join(written), media_type=content_type, headers=headers)
    return StreamingResponse(written, media_type=content_type, headers=headers)


def _written(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    between = b""
    for part in parts:
        location = f"\r\nContent-Location: {part.location}" if part.location else ""
        head = f"--{boundary}\r\nContent-Type: {part.content_type}{location}\r\n\r\n"
        waiting = between + head.encode("ascii")
        for piece in part.pieces:
            # A small part leaves in one piece with its head.
            yield waiting + piece if len(piece) < PIECE else waiting
            if len(piece) >= PIECE:
                yield piece
            waiting = b""
        if waiting:
            yield waiting
        between = b"\r\n"
    yield between + f"--{boundary}--\r\n".encode("ascii")


def file_pieces(path: Path, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Bytes of a file, to its end unless `length` is given."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = length
        while left is None or left > 0:
            piece = file.read(PIECE if left is None else min(PIECE, left))
            if not piece:
                return
            if left is not None:
                left -= len(piece)
            yield piece
