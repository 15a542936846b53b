"""DICOMweb among the pages: behind the same accounts, in the same audit trail."""

import socket
import threading

from fastapi import APIRouter, Depends, Request

from dicomnode.receive.stow import StowDesk
from dicomnode.receiving import EventWriter
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.web.context import Visitor, Web
from dicomnode.web.dicomweb.router import StoreService, dicomweb_router
from dicomnode.web.visitors import Reader, Viewer


class KeptDesk:
    """The one desk of a web process: opened once, closed at its end."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._lock = threading.Lock()
        self._events: EventWriter | None = None
        self._desk: StowDesk | None = None

    def __call__(self) -> StowDesk:
        """The desk; opened, and what a crash left repaired, unless it is open already.

        Raises:
            StoreError: the index is not available.
            OSError: the data folder cannot be written.
        """
        with self._lock:
            if self._desk is None:
                self._desk = self._opened()
            return self._desk

    def close(self) -> None:
        """Write down what happened last."""
        with self._lock:
            if self._events is not None:
                self._events.close()
            self._events = self._desk = None

    def _opened(self) -> StowDesk:
        settings = self._web.settings
        # A name of its own: the receiver's start repairs other associations.
        receiver = f"{settings.ae_title}@{socket.gethostname()} STOW"
        self._events = self._events or EventWriter(self._web.database)
        desk = StowDesk(
            settings.receive,
            ae_title=settings.ae_title,
            data_dir=settings.data_dir,
            index=SqlInstanceIndex(self._web.database, receiver=receiver[:80]),
            clock=self._web.clock,
            on_event=self._events.put,
        )
        return desk.open()


def dicomweb_for(web: Web, desk: KeptDesk) -> APIRouter:
    """The routes. Who sees studies may search and retrieve them; who judges results may store."""

    async def reading(request: Request, visitor: Viewer) -> None:
        request.state.visitor = visitor

    async def writing(request: Request, visitor: Reader) -> None:
        request.state.visitor = visitor

    def seen(request: Request, study: str) -> None:
        web.note(_visitor(request), "study.retrieved", on=study)

    return dicomweb_router(
        web.database,
        reads=[Depends(reading)],
        public_url=web.settings.web.public_url,
        seen=seen,
        stow=StoreService(
            writes=[Depends(writing)], desk=desk, user=lambda request: _visitor(request).name
        ),
    )


def _visitor(request: Request) -> Visitor:
    visitor = request.state.visitor
    assert isinstance(visitor, Visitor)
    return visitor
