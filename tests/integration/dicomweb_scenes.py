"""A node's DICOMweb on a port, over files that were received or made by the node."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import httpx
import uvicorn
from dicomweb_client.api import DICOMwebClient
from fastapi import FastAPI
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset

from dicomnode.assembly.headers import read_header
from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.instances import Association, ReceivedInstance
from dicomnode.domain.receiving import AssociationOutcome, association_folder
from dicomnode.receive.file_meta import FileMeta, write_file_head
from dicomnode.receive.storing import OnEvent
from dicomnode.receive.stow import StowDesk
from dicomnode.settings import ReceiveSettings
from dicomnode.store.database import Database
from dicomnode.store.indexing import Indexed, index_instances, landed_instances
from dicomnode.store.landing import SqlInstanceIndex
from dicomnode.store.schema import upgrade
from dicomnode.web.dicomweb.router import PREFIX, StoreService, dicomweb_router

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@dataclass
class Archive:
    """What a node holds, filled without a network."""

    database: Database
    _count: int = field(default=0)

    @classmethod
    def below(cls, folder: Path) -> "Archive":
        database = Database(f"sqlite:///{folder / 'index.sqlite'}", folder)
        upgrade(database)
        return cls(database=database)

    def receive(self, files: Iterable[Path | Dataset]) -> None:
        """Take files as one association would have brought them, and index them."""
        self._count += 1
        made = Association(
            id=f"a{self._count}",
            calling_ae="CT1",
            called_ae="DICOMNODE",
            address="127.0.0.1",
            opened_at=NOON,
        )
        index = SqlInstanceIndex(self.database, receiver="DICOMNODE@test")
        index.open_association(made)
        folder = association_folder(self.database.path_root, made)
        folder.mkdir(parents=True)
        instances = [
            _landed(one, made, folder / f"{number}.dcm")
            for number, one in enumerate(files, start=1)
        ]
        index.keep(instances)
        index.close_association(made.id, AssociationOutcome.RELEASED, at=NOON)
        self.index()

    def index(self) -> None:
        """Read the headers of what has landed, as the node does all the time."""
        landed = landed_instances(self.database, 10_000)
        indexed = [Indexed(landed=one, header=read_header(one.path)) for one in landed]
        index_instances(self.database, indexed, [], NOON)


def _landed(source: Path | Dataset, made: Association, path: Path) -> ReceivedInstance:
    """A file as the receiver writes it: its own head, the data set byte for byte."""
    content = source.read_bytes() if isinstance(source, Path) else content_of(source)
    meta = dcmread(BytesIO(content), stop_before_pixels=True).file_meta
    data_set = content[144 + meta.FileMetaInformationGroupLength :]
    head = FileMeta(
        sop_class_uid=meta.MediaStorageSOPClassUID,
        sop_instance_uid=meta.MediaStorageSOPInstanceUID,
        transfer_syntax_uid=meta.TransferSyntaxUID,
    )
    path.write_bytes(write_file_head(head, sender_ae="CT1") + data_set)
    return ReceivedInstance(
        sop_instance_uid=InstanceUid(meta.MediaStorageSOPInstanceUID),
        sop_class_uid=meta.MediaStorageSOPClassUID,
        transfer_syntax_uid=meta.TransferSyntaxUID,
        path=path,
        size_bytes=len(data_set),
        sha256=sha256(data_set).hexdigest(),
        association_id=made.id,
        received_at=NOON,
    )


@dataclass(frozen=True)
class Service:
    """A running DICOMweb service and clients for it."""

    url: str
    """Of `/dicom-web`."""
    http: httpx.Client

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.url)


@contextmanager
def serving(app: FastAPI) -> Iterator[Service]:
    """An application behind uvicorn on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}{PREFIX}"
    try:
        with httpx.Client(base_url=url, timeout=60) as http:
            yield Service(url=url, http=http)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def app_over(database: Database, desk: StowDesk | None = None) -> FastAPI:
    """The routes alone, open to everyone."""
    stow = None
    if desk is not None:
        stow = StoreService(writes=(), desk=lambda: desk, user=lambda _: "anna")
    app = FastAPI(openapi_url=None)
    app.include_router(dicomweb_router(database, reads=(), stow=stow))
    return app


def desk_over(
    database: Database, *, reserve_mb: int = 0, on_event: OnEvent = lambda _event: None
) -> StowDesk:
    """Where such an application stores to."""
    return StowDesk(
        ReceiveSettings(reserve_mb=reserve_mb),
        ae_title="DICOMNODE",
        data_dir=database.path_root,
        index=SqlInstanceIndex(database, receiver="DICOMNODE@test STOW"),
        clock=lambda: NOON,
        on_event=on_event,
    ).open()


def body_of(files: Iterable[bytes], boundary: str = "b0und4ry") -> tuple[bytes, str]:
    """A multipart body of DICOM files, and its Content-Type."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    parts = b"".join(head + content + b"\r\n" for content in files)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return parts + f"--{boundary}--\r\n".encode(), kind


def content_of(ds: Dataset) -> bytes:
    """A data set as a file."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
