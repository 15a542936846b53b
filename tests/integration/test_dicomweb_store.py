"""Storing by STOW-RS lands as C-STORE does: answered when it is safe, never lost after."""

import http.client
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import select

from dicomnode.domain.events import EventName
from dicomnode.receive.file_meta import FileMeta, read_file_head, write_file_head
from dicomnode.store.database import Database
from dicomnode.store.story import story
from dicomnode.store.tables import AssociationRow, InstanceRow, QuarantineRow
from dicomnode.testing.receiving import EventList
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration.dicomweb_scenes import (
    Archive,
    Service,
    app_over,
    body_of,
    content_of,
    desk_over,
    serving,
)

SMALL = SeriesGeometry(rows=8, columns=8, slices=4)
IDENTITY = StudyIdentity(seed="stow")
JPEG_XL = "1.2.840.10008.1.2.4.110"


def slices(seed: str = "stow", count: int = 4) -> list[Dataset]:
    geometry = SeriesGeometry(rows=8, columns=8, slices=count)
    return ct_series(StudyIdentity(seed=seed), geometry)


@dataclass
class Node:
    """A node that stores, and what it wrote down."""

    archive: Archive
    service: Service
    events: EventList

    def post(self, files: Sequence[bytes], study: str = "") -> httpx.Response:
        content, kind = body_of(files)
        path = f"/studies/{study}" if study else "/studies"
        return self.service.http.post(path, content=content, headers={"Content-Type": kind})

    def rows(self) -> dict[str, Any]:
        with self.archive.database.reading() as connection:
            return {row.sop_instance_uid: row for row in connection.execute(select(InstanceRow))}

    def quarantined(self) -> list[str]:
        with self.archive.database.reading() as connection:
            return list(connection.scalars(select(QuarantineRow.kind)))

    def leftovers(self) -> list[Path]:
        root = self.archive.database.path_root
        return [*root.glob("spool*/*"), *root.glob("instances/*/*/*.part")]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    archive, events = Archive.below(tmp_path), EventList()
    desk = desk_over(archive.database, on_event=events)
    with serving(app_over(archive.database, desk)) as service:
        yield Node(archive=archive, service=service, events=events)


def reasons(answer: httpx.Response, sequence: str) -> list[int]:
    items = answer.json().get(sequence, {}).get("Value", [])
    return [item["00081197"]["Value"][0] for item in items]


FAILED, REFERENCED, OTHER = "00081198", "00081199", "0008119A"


def test_a_client_stores_searches_and_gets_back_what_it_sent(node: Node) -> None:
    sent = slices()
    client = node.service.client
    answer = client.store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == 4
    assert "FailedSOPSequence" not in answer
    node.archive.index()
    (study,) = client.search_for_studies(search_filters={"PatientID": "PHANTOM-1"})
    assert study["00201208"]["Value"] == [4]
    found = {one.SOPInstanceUID: one for one in client.retrieve_study(IDENTITY.study_uid)}
    for ds in sent:
        again = found[ds.SOPInstanceUID]
        assert again == ds
        assert again.PixelData == ds.PixelData
    assert answer.RetrieveURL == study["00081190"]["Value"][0]
    item = answer.ReferencedSOPSequence[0]
    assert node.service.http.get(item.RetrieveURL).status_code == 200


def test_every_data_set_is_kept_byte_for_byte(node: Node) -> None:
    files = [content_of(ds) for ds in slices()]
    assert node.post(files).status_code == 200
    for content in files:
        meta = dcmread(BytesIO(content)).file_meta
        row = node.rows()[meta.MediaStorageSOPInstanceUID]
        data_set = content[144 + meta.FileMetaInformationGroupLength :]
        with node.archive.database.absolute(row.path).open("rb") as file:
            read_file_head(file)
            assert file.read() == data_set
        assert row.sha256 == sha256(data_set).hexdigest()
    assert node.leftovers() == []


def test_the_story_of_the_study_names_who_sent_it_and_how(node: Node) -> None:
    node.post([content_of(ds) for ds in slices()])
    node.archive.index()
    (received,) = story(node.archive.database, IDENTITY.study_uid).received
    assert (received.service, received.calling_ae, received.address) == (
        "STOW",
        "anna",
        "127.0.0.1",
    )
    assert (received.outcome, received.instances) == ("released", 4)
    (closed,) = node.events.named(EventName.ASSOCIATION_CLOSED)
    assert closed.facts["kept"] == 4


def test_the_same_bytes_again_are_a_success_and_no_work(node: Node) -> None:
    files = [content_of(ds) for ds in slices()]
    assert node.post(files).status_code == 200
    before = node.rows()
    again = node.post(files)
    assert again.status_code == 200
    assert len(again.json()[REFERENCED]["Value"]) == 4
    assert node.rows() == before
    assert node.quarantined() == []


def test_other_bytes_under_a_known_uid_go_to_quarantine(node: Node) -> None:
    first, other = slices()[0], slices()[0]
    other.PatientName = "Somebody^Else"
    assert node.post([content_of(first)]).status_code == 200
    assert node.post([content_of(other)]).status_code == 200
    assert node.quarantined() == ["conflict"]
    node.archive.index()
    (kept,) = node.service.client.retrieve_study(IDENTITY.study_uid)
    assert kept.PatientName == first.PatientName


def test_instances_of_another_study_than_the_address_names_are_refused(node: Node) -> None:
    mixed = [content_of(slices()[0]), content_of(slices("other")[0])]
    answer = node.post(mixed, IDENTITY.study_uid)
    assert answer.status_code == 202
    assert len(answer.json()[REFERENCED]["Value"]) == 1
    assert reasons(answer, FAILED) == [0xC001]
    assert list(node.rows()) == [slices()[0].SOPInstanceUID]
    assert node.leftovers() == []


def altered(**changes: str) -> bytes:
    """A file whose head says something else."""
    ds = slices()[0]
    content = content_of(ds)
    meta = FileMeta(
        sop_class_uid=ds.SOPClassUID,
        sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
    )
    head = write_file_head(replace(meta, **changes), sender_ae="CT1")
    data_set = content[144 + dcmread(BytesIO(content)).file_meta.FileMetaInformationGroupLength :]
    return head + data_set


def without(keyword: str) -> bytes:
    ds = slices()[0]
    delattr(ds, keyword)
    return content_of(ds)


@pytest.mark.parametrize(
    ("content", "failed", "other"),
    [
        (lambda: b"this is no DICOM file, however long it may be " * 20, [], [0xC000]),
        (lambda: b"", [], [0xC000]),
        (lambda: content_of(slices()[0])[:200], [], [0xC000]),
        (lambda: content_of(slices()[0])[:500], [0xC000], []),
        (lambda: without("StudyInstanceUID"), [0xC000], []),
        (lambda: altered(sop_class_uid="1.2.3.4"), [0x0122], []),
        (lambda: altered(transfer_syntax_uid=JPEG_XL), [0xC122], []),
    ],
    ids=["text", "empty", "head cut", "data set cut", "no study", "class", "syntax"],
)
def test_what_cannot_be_kept_is_refused_with_its_reason(
    node: Node, content: Any, failed: list[int], other: list[int]
) -> None:
    answer = node.post([content()])
    assert answer.status_code == 409
    assert (reasons(answer, FAILED), reasons(answer, OTHER)) == (failed, other)
    assert node.rows() == {}
    assert node.leftovers() == []
    mixed = node.post([content(), content_of(slices()[1])])
    assert mixed.status_code == 202
    assert len(node.rows()) == 1


def test_a_full_disk_is_told_before_anything_is_read(tmp_path: Path) -> None:
    archive = Archive.below(tmp_path)
    desk = desk_over(archive.database, reserve_mb=1 << 30)
    content, kind = body_of([content_of(slices()[0])])
    with serving(app_over(archive.database, desk)) as service:
        answer = service.http.post("/studies", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "free" in answer.json()["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "application/dicom",
        "multipart/form-data; boundary=b",
        'multipart/related; type="application/dicom+json"; boundary=b',
        'multipart/related; type="application/dicom"',
        f'multipart/related; type="application/dicom"; boundary={"x" * 71}',
    ],
)
def test_other_bodies_are_not_taken(node: Node, kind: str) -> None:
    answer = node.service.http.post("/studies", content=b"x", headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_its_end_keeps_what_was_whole_and_says_so(node: Node) -> None:
    files = [content_of(ds) for ds in slices()]
    content, kind = body_of(files)
    cut = content[: content.rindex(files[3]) + 100]
    answer = node.service.http.post("/studies", content=cut, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert "3 instances before that are stored" in answer.json()["detail"]
    assert len(node.rows()) == 3
    assert node.leftovers() == []


def test_a_client_that_goes_away_leaves_no_half_file(node: Node) -> None:
    content, kind = body_of([content_of(ds) for ds in slices()])
    host, port = node.service.url.split("/")[2].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("POST", "/dicom-web/studies")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    connection.send(content[:3000])
    node.events.wait_for(EventName.ASSOCIATION_OPENED)
    connection.close()
    (closed,) = node.events.wait_for(EventName.ASSOCIATION_CLOSED)
    assert closed.facts["how"] == "lost"
    assert node.leftovers() == []


PIECES = st.sampled_from([b"--b0und4ry", b"\r\n", b"\r\n\r\n", b"--", b"DICM", bytes(128), b": "])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.lists(PIECES | st.binary(max_size=40), max_size=12).map(b"".join))
def test_no_body_breaks_the_service(node: Node, body: bytes) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=b0und4ry'
    answer = node.service.http.post("/studies", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 409), answer.text
    assert node.leftovers() == []


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_it_does_not_matter_how_the_body_is_cut_into_pieces(node: Node, cuts: list[int]) -> None:
    content, kind = body_of([content_of(ds) for ds in slices()])
    ends = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    pieces = [content[a:b] for a, b in pairwise(ends)]
    answer = node.service.http.post(
        "/studies", content=iter(pieces), headers={"Content-Type": kind}
    )
    assert answer.status_code == 200
    assert node.quarantined() == []


@dataclass
class Storing:
    """A storing process."""

    url: str
    process: "subprocess.Popen[str]"


def start(folder: Path) -> Storing:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.stow_process", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http")
    return Storing(url=url, process=process)


def peak_mb(process: "subprocess.Popen[str]") -> float:
    """The most memory a process has had so far."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.timeout(180)
def test_two_hundred_megabytes_are_stored_and_retrieved_in_flat_memory(tmp_path: Path) -> None:
    ds = slices()[0]
    ds.Rows = ds.Columns = 1024
    ds.NumberOfFrames = 100
    ds.PixelData = bytes(1024 * 1024 * 2 * 100)
    small, large = content_of(slices()[1]), content_of(ds)
    uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
    instance = "/studies/{}/series/{}/instances/{}".format(*uids)
    octets = "multipart/related; type=application/octet-stream"
    requests = (
        (instance, "application/dicom; transfer-syntax=*"),
        (f"/studies/{ds.StudyInstanceUID}", "*/*"),
        (f"{instance}/frames", octets),
        (f"{instance}/bulkdata/7FE00010", octets),
    )
    running = start(tmp_path)
    archive = Archive(database=Database(f"sqlite:///{tmp_path / 'index.sqlite'}", tmp_path))
    with httpx.Client(base_url=running.url, timeout=60) as http:
        for content in (small, large):
            before = peak_mb(running.process)
            body, kind = body_of([content])
            pieces = (body[at : at + (1 << 20)] for at in range(0, len(body), 1 << 20))
            answer = http.post("/studies", content=pieces, headers={"Content-Type": kind})
            assert answer.status_code == 200
        assert peak_mb(running.process) - before < 32
        archive.index()
        for path, accept in requests:
            with http.stream("GET", path, headers={"Accept": accept}) as streamed:
                assert sum(map(len, streamed.iter_raw(1 << 20))) > 200 << 20
            assert peak_mb(running.process) - before < 32, path
    archive.database.dispose()
    running.process.communicate(timeout=40)


def send_until_it_fails(url: str, seed: str, acknowledged: list[str], enough: Any) -> None:
    """Send files two by two; note the UIDs whose storing was answered with success."""
    files = slices(seed, 200)
    with httpx.Client(base_url=url, timeout=20) as http:
        for pair in zip(files[::2], files[1::2], strict=True):
            content, kind = body_of([content_of(ds) for ds in pair])
            try:
                answer = http.post("/studies", content=content, headers={"Content-Type": kind})
            except httpx.HTTPError:
                return
            items = answer.json()[REFERENCED]["Value"]
            acknowledged += [item["00081155"]["Value"][0] for item in items]
            if len(acknowledged) >= 12:
                enough.set()


@pytest.mark.timeout(180)
def test_nothing_that_was_answered_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    running = start(tmp_path)
    acknowledged: list[str] = []
    enough = threading.Event()
    senders = [
        threading.Thread(target=send_until_it_fails, args=(running.url, seed, acknowledged, enough))
        for seed in ("one", "two", "three")
    ]
    for sender in senders:
        sender.start()
    assert enough.wait(90)
    running.process.kill()
    running.process.wait(20)
    for sender in senders:
        sender.join()
    assert len(acknowledged) < 600
    # The next start repairs what the killed one left.
    again = start(tmp_path)
    again.process.communicate(timeout=40)
    database = Database(f"sqlite:///{tmp_path / 'index.sqlite'}", tmp_path)
    with database.reading() as connection:
        rows = {row.sop_instance_uid: row for row in connection.execute(select(InstanceRow))}
        outcomes = set(connection.scalars(select(AssociationRow.outcome)))
    database.dispose()
    assert set(acknowledged) <= rows.keys()
    for row in rows.values():
        with (tmp_path / row.path).open("rb") as file:
            read_file_head(file)
            assert sha256(file.read()).hexdigest() == row.sha256
    on_disk = set(tmp_path.glob("instances/**/*.dcm"))
    assert on_disk == {tmp_path / row.path for row in rows.values()}
    assert list(tmp_path.glob("spool-stow/*.part")) == []
    assert None not in outcomes
