"""A worker's files by HTTP from a real web server, and by fsspec: read, handed back, refused."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dicomnode.domain.access import Role
from dicomnode.domain.errors import (
    ConfigError,
    FilesError,
    FilesUnavailable,
    FilesUnreachable,
    TakenOver,
)
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import OUTCOME_FILE, result_folder
from dicomnode.files.folder import FolderSource
from dicomnode.files.node import NodeSource
from dicomnode.files.source import Source
from dicomnode.settings import Settings
from dicomnode.store.accounts import disable_account
from dicomnode.store.database import Database
from dicomnode.store.jobs import cancel_job, load_job, start_job
from dicomnode.store.leases import Lease, heartbeats, join, lose, rejoin
from dicomnode.store.sessions import add_token
from dicomnode.testing.certificates import Authority
from dicomnode.web.passwords import new_token, token_hash
from dicomnode.web.serving import WebServer
from tests.contract.store_scenes import NOON, at, queued_job
from tests.unit.web_site import migrated

IMAGE = "instances/20240131/a1/1.dcm"
WORKER = "gpu1"


@dataclass
class Scene:
    """A node with one job that runs on a worker elsewhere."""

    folder: Path
    database: Database
    server: WebServer
    authority: Authority
    job: Job
    lease: Lease

    def source(self, role: Role = Role.WORKER, **more: object) -> NodeSource:
        token = new_token("dn_")
        add_token(self.database, role.value, token_hash(token), "test", NOON, lasts=None)
        options = {
            "token": token,
            "authorities": self.authority.certificate,
            "lease": lambda: (self.lease.worker, self.lease.epoch),
            **more,
        }
        return NodeSource(f"https://127.0.0.1:{self.server.port}", **options)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        folder = result_folder(self.folder, self.job.id).relative_to(self.folder)
        return f"{folder.as_posix()}/a.dcm"


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "index.sqlite").write_bytes(migrated())
    authority = Authority(tmp_path)
    issued = authority.issue("node")
    settings = Settings.model_validate(
        {
            "data_dir": data,
            "receive": {"reserve_mb": 0},
            "web": {"port": 0, "certificate": issued.certificate, "key": issued.key},
        }
    )
    database = Database(settings.index_url, data)
    queued = queued_job(database)
    assert start_job(database, queued, deadline=at(600), now=at(1), worker=WORKER)
    job = load_job(database, queued)
    (data / IMAGE).write_bytes(b"an image" * 100_000)
    server = WebServer(settings, database)
    server.start()
    lease = join(database, WORKER, ["cpu"], NOON)
    yield Scene(data, database, server, authority, job, lease)
    server.stop()
    database.dispose()


def fetched(source: Source, name: str) -> bytes:
    into = io.BytesIO()
    source.get(name, into)
    return into.getvalue()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"a result" * 300_000)
    return path


class TestNode:
    def test_a_worker_reads_images_and_hands_back_results(self, scene: Scene, made: Path) -> None:
        source = scene.source()
        assert fetched(source, IMAGE) == b"an image" * 100_000
        for _ in range(2):
            source.put(scene.name, made)
        assert (scene.folder / scene.name).read_bytes() == made.read_bytes()
        folder = scene.name.rpartition("/")[0]
        assert source.names(folder) == ["a.dcm"]
        assert source.names("calibration/none") == []
        # Nothing half-way is left beside it.
        assert [path.name for path in (scene.folder / folder).iterdir()] == ["a.dcm"]
        source.close()

    @pytest.mark.parametrize("name", ["index.sqlite", "instances/..%2Findex.sqlite", "results"])
    def test_nothing_else_is_read(self, scene: Scene, name: str) -> None:
        with pytest.raises(FilesUnavailable):
            fetched(scene.source(), name)

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.READER, Role.ADMIN])
    def test_another_role_is_refused(self, scene: Scene, role: Role, made: Path) -> None:
        source = scene.source(role)
        for act in (lambda: fetched(source, IMAGE), lambda: source.put(scene.name, made)):
            with pytest.raises(FilesUnavailable, match="refuses this worker's token"):
                act()

    def test_a_token_that_was_taken_back_is_refused(self, scene: Scene) -> None:
        source = scene.source()
        disable_account(scene.database, Role.WORKER.value, at(1))
        with pytest.raises(FilesUnavailable, match="401"):
            fetched(source, IMAGE)

    def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(self, scene: Scene) -> None:
        with pytest.raises(FilesUnreachable, match="certificate"):
            fetched(scene.source(authorities=None), IMAGE)

    def test_results_of_who_has_lost_the_job_are_refused(self, scene: Scene, made: Path) -> None:
        source = scene.source()
        (beat,) = heartbeats(scene.database)
        assert lose(scene.database, beat, at(60), silent_s=60)
        with pytest.raises(TakenOver):
            source.put(scene.name, made)
        # Back again it has a new lease, which the job still lies under; the old one is void.
        now = rejoin(scene.database, WORKER, at(61))
        with pytest.raises(TakenOver):
            source.put(scene.name, made)
        scene.lease = now
        source.put(scene.name, made)

    def test_results_of_a_job_that_does_not_run_are_refused(self, scene: Scene, made: Path) -> None:
        cancel_job(scene.database, scene.job.id, at(1))
        with pytest.raises(TakenOver):
            scene.source().put(scene.name, made)
        with pytest.raises(FilesUnavailable):
            scene.source().put(IMAGE, made)
        assert (scene.folder / IMAGE).read_bytes() == b"an image" * 100_000

    def test_bytes_that_were_changed_on_the_way_are_not_taken(self, scene: Scene) -> None:
        source = scene.source()
        other = hashlib.sha256(b"what was meant").hexdigest()
        answer = source._client.put(
            source._address(scene.name),
            content=b"what came",
            headers={
                "X-Dicomnode-Worker": WORKER,
                "X-Dicomnode-Epoch": str(scene.lease.epoch),
                "X-Content-SHA256": other,
            },
        )
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert not (scene.folder / scene.name).exists()

    def test_a_node_that_is_off_is_unreachable(self, scene: Scene) -> None:
        source = scene.source()
        source._url = "https://127.0.0.1:9"
        with pytest.raises(FilesUnreachable, match="does not answer"):
            fetched(source, IMAGE)


class TestFolder:
    @pytest.fixture(params=["file", "memory"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> FolderSource:
        where = tmp_path / "node"
        return FolderSource(f"{request.param}://{where}", {})

    def test_what_is_put_is_there(self, source: FolderSource, made: Path) -> None:
        for _ in range(2):
            source.put(f"results/ab/abc/{OUTCOME_FILE}", made)
        assert fetched(source, f"results/ab/abc/{OUTCOME_FILE}") == made.read_bytes()
        assert source.names("results/ab/abc") == [OUTCOME_FILE]

    def test_what_is_not_there_is_named(self, source: FolderSource) -> None:
        assert source.names("calibration/none") == []
        with pytest.raises(FilesUnavailable, match=r"instances/1\.dcm is no longer"):
            fetched(source, "instances/1.dcm")

    def test_a_url_that_nothing_is_known_for_is_a_fault_of_the_settings(self) -> None:
        with pytest.raises(ConfigError, match=r"files\.url"):
            FolderSource("carrier-pigeon://loft", {})

    def test_whatever_goes_wrong_below_is_an_error_that_passes(
        self, tmp_path: Path, made: Path
    ) -> None:
        (tmp_path / "results").write_text("a file where a folder should be")
        with pytest.raises(FilesError) as caught:
            FolderSource(f"file://{tmp_path}", {}).put("results/ab/abc/a.dcm", made)
        assert caught.value.retryable
