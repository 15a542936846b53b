"""What is retrieved (WADO-RS, PS3.18 10.4), as answers."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from dicomnode.domain.catalogue import HeldInstance
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, checked_uid
from dicomnode.store.database import Database
from dicomnode.store.holdings import held
from dicomnode.web.dicomweb.accepting import Wanted, wanted_types
from dicomnode.web.dicomweb.elements import JsonDataset
from dicomnode.web.dicomweb.frames import (
    LITTLE,
    OCTETS,
    FrameForm,
    choose_form,
    frame_count,
    frame_numbers,
    read_frame,
)
from dicomnode.web.dicomweb.metadata import bulk_value, identity_of, metadata_of
from dicomnode.web.dicomweb.objects import DICOM, choose_object_form, object_pieces
from dicomnode.web.dicomweb.parts import PIECE, Body, Part, file_pieces, multipart
from dicomnode.web.dicomweb.pictures import THUMBNAIL, choose_picture, draw
from dicomnode.web.dicomweb.problems import BadRequest, FileGone, NotAcceptable, NotHeld
from dicomnode.web.dicomweb.searching import json_type
from dicomnode.web.dicomweb.stored import StoredFile, open_stored

_BULK = re.compile(r"[0-9A-F]{8}(/[0-9]{1,6}/[0-9A-F]{8}){0,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What an address names: a study, a series of it, an instance of that."""

    study: StudyUid
    series: SeriesUid | None = None
    instance: InstanceUid | None = None

    @classmethod
    def at(cls, study: str, series: str | None = None, instance: str | None = None) -> "Place":
        """From the steps of a path.

        Raises:
            InvalidUid: one of them is no UID.
        """
        return cls(
            study=StudyUid(checked_uid(study)),
            series=None if series is None else SeriesUid(checked_uid(series)),
            instance=None if instance is None else InstanceUid(checked_uid(instance)),
        )

    def instances(self, database: Database) -> tuple[HeldInstance, ...]:
        """All that lies there.

        Raises:
            NotHeld: nothing does.
        """
        found = held(database, self.study, self.series, self.instance)
        if not found:
            raise NotHeld("nothing of this address is held here")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """One request and what it needs to be answered."""

    database: Database
    request: Request
    root: str
    """URL of the service, without a slash at the end."""

    def url(self, one: HeldInstance) -> str:
        """The address of an instance."""
        return (
            f"{self.root}/studies/{one.study_uid}/series/{one.series_uid}"
            f"/instances/{one.sop_instance_uid}"
        )

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """What the client accepts."""
        query = self.request.query_params
        return wanted_types(self.request.headers.get("accept"), query.get("accept"))

    def objects(self, place: Place) -> Response:
        """Instances as DICOM files."""
        form = choose_object_form(self.wanted, alone=place.instance is not None)
        found = place.instances(self.database)
        headers = self._headers(found, f"{form}")
        if self._is_known(headers):
            return Response(status_code=304, headers=headers)
        if place.instance is not None:
            # So that its faults are told before the answer has begun.
            form.keeps(open_stored(found[0].path))
        if not form.multipart:
            stored = open_stored(found[0].path)
            return StreamingResponse(
                object_pieces(stored, form),
                media_type=form.content_type(stored),
                headers=headers,
            )

        def parts() -> Iterator[Part]:
            for one in found:
                stored = open_stored(one.path)
                yield Part(
                    content_type=form.content_type(stored),
                    pieces=object_pieces(stored, form),
                    location=self.url(one),
                )

        return multipart(Body(type=DICOM, parts=parts(), headers=headers))

    def metadata(self, place: Place) -> Response:
        """Headers as DICOM JSON, written one instance after the other."""
        kind = json_type(self.request)
        found = place.instances(self.database)
        headers = self._headers(found, f"metadata {kind} {self.root}")
        if self._is_known(headers):
            return Response(status_code=304, headers=headers)

        def written() -> Iterator[bytes]:
            yield b"["
            for number, one in enumerate(found):
                text = json.dumps(self._metadata(one), ensure_ascii=False, separators=(",", ":"))
                # Text of a damaged header may hold halves of characters.
                yield (b",\n" if number else b"") + text.encode("utf-8", errors="replace")
            yield b"]"

        return StreamingResponse(written(), media_type=kind, headers=headers)

    def frames(self, place: Place, numbers: str | None) -> Response:
        """Frames `1,2,...` of an instance; all of them for None."""
        one, stored = self._image(place)
        count = frame_count(stored)
        indices = range(count) if numbers is None else frame_numbers(numbers, count)
        form = choose_form(stored, self.wanted)
        headers = self._headers([one], f"{form} {numbers}")
        if self._is_known(headers):
            return Response(status_code=304, headers=headers)
        # The first is read at once, so that its faults are told before the answer has begun.
        first = read_frame(stored, indices[0], form)
        if len(indices) == 1 and not any(w.multipart or w.type == "*/*" for w in self.wanted):
            return Response(first, media_type=form.content_type, headers=headers)
        return multipart(
            Body(
                type=form.media_type,
                parts=self._frame_parts(one, stored, form, indices, first),
                headers=headers,
            ),
            is_small=len(indices) == 1 and len(first) < PIECE,
        )

    def bulk(self, place: Place, path: str) -> Response:
        """A value the metadata left out."""
        if not _BULK.fullmatch(path):
            raise BadRequest("a bulk data address is tag[/item/tag ...]")
        one, stored = self._image(place)
        pixels = stored.pixels
        if pixels is not None and path == f"{pixels.tag:08X}" and pixels.length is None:
            return self.frames(place, None)
        if not any(one.fits(OCTETS) for one in self.wanted):
            raise NotAcceptable(f"bulk data come as {OCTETS}")
        headers = self._headers([one], f"bulk {path}")
        if self._is_known(headers):
            return Response(status_code=304, headers=headers)
        is_pixels = pixels is not None and path == f"{pixels.tag:08X}"
        if is_pixels and pixels is not None and pixels.transfer_syntax.is_little_endian:
            pieces = file_pieces(stored.path, pixels.start, pixels.length)
        else:
            pieces = iter([bulk_value(stored, path.split("/"))])
        if not any(w.multipart or w.type == "*/*" for w in self.wanted):
            return StreamingResponse(pieces, media_type=OCTETS, headers=headers)
        part = Part(
            content_type=f"{OCTETS}; transfer-syntax={LITTLE}",
            pieces=pieces,
            location=f"{self.url(one)}/bulkdata/{path}",
        )
        return multipart(Body(type=OCTETS, parts=[part], headers=headers))

    def picture(self, place: Place, numbers: str | None, *, small: bool = False) -> Response:
        """One frame as JPEG or PNG; without a number the middle one of the middle image."""
        query = dict(self.request.query_params)
        if small:
            query.setdefault("viewport", f"{THUMBNAIL},{THUMBNAIL}")
        form = choose_picture(self.wanted, query)
        one, stored = self._image(place)
        count = frame_count(stored)
        (index,) = (count // 2,) if numbers is None else frame_numbers(numbers, count)[:1]
        if numbers is not None and "," in numbers:
            raise BadRequest("one picture is of one frame")
        headers = self._headers([one], f"{form.key} {index}")
        if self._is_known(headers):
            return Response(status_code=304, headers=headers)
        return Response(draw(stored, index, form), media_type=form.media_type, headers=headers)

    def _frame_parts(
        self,
        one: HeldInstance,
        stored: StoredFile,
        form: FrameForm,
        indices: Sequence[int],
        first: bytes,
    ) -> Iterator[Part]:
        for at, index in enumerate(indices):
            yield Part(
                content_type=form.content_type,
                pieces=[first if at == 0 else read_frame(stored, index, form)],
                location=f"{self.url(one)}/frames/{index + 1}",
            )

    def _metadata(self, one: HeldInstance) -> JsonDataset:
        try:
            return metadata_of(one, open_stored(one.path), self.url(one))
        except FileGone:
            return identity_of(one)

    def _image(self, place: Place) -> tuple[HeldInstance, StoredFile]:
        """The instance, or the first image from the middle of a series or study."""
        found = place.instances(self.database)
        if place.instance is not None:
            return found[0], open_stored(found[0].path)
        middle = len(found) // 2
        for one in (*found[middle:], *found[:middle])[:_TRIES]:
            stored = open_stored(one.path)
            if stored.pixels is not None and stored.pixels.bits_allocated != 1:
                return one, stored
        raise NotHeld("there is no image at this address")

    def _headers(self, found: Sequence[HeldInstance], form: str) -> dict[str, str]:
        """Kept by the browser alone, and asked about each time: accounts can be withdrawn."""
        digest = hashlib.sha256(form.encode())
        for one in found:
            digest.update(f"{one.sop_instance_uid} {one.sha256}\n".encode())
        return {
            "ETag": f'"{digest.hexdigest()[:32]}"',
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Authorization, Cookie",
        }

    def _is_known(self, headers: dict[str, str]) -> bool:
        sent = self.request.headers.get("if-none-match", "")
        return headers["ETag"] in [tag.strip().removeprefix("W/") for tag in sent.split(",")]


_TRIES = 50
