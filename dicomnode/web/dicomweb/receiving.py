"""A multipart/related body as its pieces come (RFC 2387): files to the desk, nothing in memory."""

from collections.abc import Callable
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dicomnode.assembly.headers import read_header
from dicomnode.domain.errors import InstanceUnreadable, InvalidUid
from dicomnode.domain.receiving import AssociationOutcome
from dicomnode.receive.errors import OtherStudy
from dicomnode.receive.storing import StoreSession
from dicomnode.receive.stow import IncomingFile, StowDesk, Stowed
from dicomnode.web.dicomweb.objects import DICOM
from dicomnode.web.dicomweb.problems import BadRequest, TooMuch, UnsupportedMediaType

MOST_FILES = 20_000
"""Of one request: its answer names each."""


def boundary_of(content_type: str) -> bytes:
    """The boundary of a body of DICOM files.

    Raises:
        UnsupportedMediaType: the body is something else.
    """
    kind, options = parse_options_header(content_type)
    wanted = f'multipart/related; type="{DICOM}"; boundary=...'
    if kind != b"multipart/related" or options.get(b"type", b"").lower() != DICOM.encode():
        raise UnsupportedMediaType(f"instances are taken as {wanted}")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise UnsupportedMediaType(f"instances are taken as {wanted}")
    return boundary


class IncomingRequest:
    """One STOW request on its way. Used by one thread at a time.

    It ends by `finish`, or by `abandon` with nothing more kept than was.
    """

    def __init__(
        self, desk: StowDesk, session: StoreSession, boundary: bytes, study: str | None
    ) -> None:
        self.stowed: list[Stowed] = []
        self._desk = desk
        self._session = session
        self._study = study
        self._file: IncomingFile | None = None
        self._is_complete = False
        self._is_open = True
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_part_data": self._write,
            "on_part_end": self._end,
            "on_end": self._complete,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            BadRequest: it is no multipart body. What came before stays kept.
            TooMuch: it holds too many files.
        """
        try:
            self._parser.write(piece)
        except FormParserError as exc:
            raise BadRequest(f"the body is not multipart/related{self._kept()}") from exc

    def finish(self) -> list[Stowed]:
        """The body has ended: what became of each file, all of it on disk.

        Raises:
            BadRequest: it ended before its closing boundary, or held nothing.
        """
        if not self._is_complete:
            raise BadRequest(f"the body ends before its closing boundary{self._kept()}")
        if not self.stowed:
            raise BadRequest("the body holds no file")
        self._close(AssociationOutcome.RELEASED)
        return self.stowed

    def abandon(self, how: AssociationOutcome) -> None:
        """Leave; harmless once it is finished. A file that is not complete is dropped."""
        if self._is_open:
            if self._file is not None:
                self._file.discard()
            self._close(how)

    def _close(self, how: AssociationOutcome) -> None:
        self._is_open = False
        try:
            self._session.close(how)
        finally:
            self._desk.leave()

    def _kept(self) -> str:
        kept = sum(one.status.code == 0 for one in self.stowed)
        return f"; {kept} instances before that are stored" if kept else ""

    def _begin(self) -> None:
        if len(self.stowed) >= MOST_FILES:
            raise TooMuch(f"at most {MOST_FILES} files in one request{self._kept()}")
        self._file = IncomingFile(self._desk, self._session, self._look)

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._file is not None:
            self.stowed.append(self._file.finish())
            self._file = None

    def _complete(self) -> None:
        self._is_complete = True

    def _look(self, path: Path) -> tuple[str, str]:
        """Study and series UID of a complete file."""
        try:
            header = read_header(path)
        except InvalidUid as exc:
            raise InstanceUnreadable("a UID in the header is not one") from exc
        if self._study is not None and header.study_uid != self._study:
            raise OtherStudy("another study than the request names")
        return header.study_uid, header.series_uid
