"""A worker that does not see the node's data folder: over HTTPS from another network, by fsspec."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.domain.access import Role
from dicomnode.domain.identifiers import JobId
from dicomnode.store.accounts import add_account
from dicomnode.store.jobs import rerun_job
from dicomnode.store.sessions import add_token
from dicomnode.testing.certificates import Authority
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.web.passwords import new_token, token_hash
from tests.acceptance.running_node import (
    NodeUnderTest,
    as_installed_at_a_site,
    destination,
    eventually,
    free_port,
)
from tests.acceptance.studies_on_disk import ct_study, send
from tests.unit.web_site import QUICK

pytestmark = pytest.mark.timeout(1800)

SETTINGS = """\
data_dir = "own"
[flow]
devices = ["cpu"]
retry_s = 0.5
take_over_s = 10.0
[algorithms]
roots = ["{bundles}"]
[web]
enabled = false
[files]
url = "{url}"
cache_gb = {cache_gb}
{more}
"""


@dataclass
class Elsewhere:
    """A worker with a folder of its own."""

    folder: Path
    node: NodeUnderTest
    environment: dict[str, str]
    within: Sequence[str] = ()

    def configure(self, url: str, *, cache_gb: float = 1.0, more: str = "") -> None:
        self.folder.mkdir(exist_ok=True)
        bundles = self.node.folder / "bundles"
        text = SETTINGS.format(bundles=bundles, url=url, cache_gb=cache_gb, more=more)
        (self.folder / "worker.toml").write_text(text, encoding="utf-8")

    @contextmanager
    def working(self) -> Iterator["subprocess.Popen[bytes]"]:
        command = [sys.executable, "-m", "dicomnode", "work", "--name", "far"]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*self.within, *command, "-s", str(self.folder / "worker.toml")],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": as_installed_at_a_site(self.folder),
                    **self.environment,
                },
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def waits_for_the_node(self) -> None:
        """Return once it has met, from now on, that the node does not answer."""
        before = self.log.count("files.waiting")
        eventually(
            lambda: self.log.count("files.waiting") > before,
            what="the worker waits for the node",
            timeout_s=600,
        )

    def held(self) -> list[Path]:
        """What it keeps of the node's images."""
        return sorted((self.folder / "own" / "fetched" / "far" / "instances").rglob("*.dcm"))


@contextmanager
def another_network() -> Iterator[tuple[Sequence[str], str]]:
    """(how to run a command in it, this machine's address there)."""
    name, near, far = f"dn-{os.getpid()}", f"dna{os.getpid()}", f"dnb{os.getpid()}"
    added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    if added.returncode:
        pytest.skip("a network namespace cannot be made here (needs root and iproute2)")
    try:
        for line in (
            f"link add {near} type veth peer name {far} netns {name}",
            f"addr add 10.203.77.1/30 dev {near}",
            f"link set {near} up",
            f"-n {name} addr add 10.203.77.2/30 dev {far}",
            f"-n {name} link set {far} up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        yield ("ip", "netns", "exec", name), "10.203.77.1"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def cut(within: Sequence[str], state: str) -> None:
    subprocess.run(["ip", "link", "set", f"dna{os.getpid()}", state], check=True)


@dataclass
class Web:
    """The node's pages, by a process of their own."""

    node: NodeUnderTest
    process: "subprocess.Popen[bytes] | None" = None

    def begin(self) -> None:
        self.process = self.node.run("web")

    def end(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(node: NodeUnderTest) -> Iterator[Web]:
    web = Web(node)
    web.begin()
    try:
        yield web
    finally:
        web.end()


def worker_token(node: NodeUnderTest) -> str:
    """Of a new account; one of an administrator lets the node open its port to others."""
    database, now = node.database, datetime.now(UTC)
    token = new_token("dn_")
    for name, role in (("boss", Role.ADMIN), ("far", Role.WORKER)):
        add_account(database, name=name, role=role, password_hash=QUICK.hash("x" * 12), now=now)
    add_token(database, "far", token_hash(token), "worker", now, lasts=None)
    database.dispose()
    return token


def test_over_https_from_another_network_killed_cut_off_and_with_a_node_that_restarts(
    tmp_path: Path, postgresql_url: str
) -> None:
    environment = {"DICOMNODE_DATABASE_URL": postgresql_url}
    with another_network() as (within, address), EmbeddedPacs(tmp_path / "pacs") as pacs:
        authority = Authority(tmp_path)
        issued = authority.issue("node", addresses=[address])
        port = free_port()
        node = NodeUnderTest(
            folder=tmp_path / "node",
            environment=environment,
            serve_options=("--no-worker",),
            web_lines=f'host = "{address}"\nport = {port}\n'
            f'certificate = "{issued.certificate}"\nkey = "{issued.key}"',
        ).prepare([destination(pacs)])
        assert node.run("db upgrade").wait(timeout=300) == 0, node.log
        secret = {"DICOMNODE_FILES_TOKEN": worker_token(node)}
        far = Elsewhere(tmp_path / "far", node, {**environment, **secret}, within)
        far.configure(f"https://{address}:{port}", more=f'authorities = "{authority.certificate}"')
        with node, serving(node) as web:
            first, paths = ct_study("first", tmp_path)
            send(node, paths)
            with far.working() as worker:
                node.job_of(first.study_uid, "running", timeout_s=600)
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
            cut(within, "down")
            with far.working():
                far.waits_for_the_node()
                second, paths = ct_study("second", tmp_path)
                send(node, paths)
                node.job_of(second.study_uid, "queued", timeout_s=600)
                cut(within, "up")
                job = node.delivered(first.study_uid, timeout_s=600)
                node.delivered(second.study_uid, timeout_s=600)
                cut(within, "down")
                third, paths = ct_study("third", tmp_path)
                send(node, paths)
                node.job_of(third.study_uid, "queued", timeout_s=600)
                node.kill()
                web.end()
                cut(within, "up")
                far.waits_for_the_node()
                node.start()
                web.begin()
                node.delivered(third.study_uid, timeout_s=600)
        assert len(far.held()) == 3 * len(paths)
        assert {one.confirmed_by for one in job.deliveries} == {"c-find"}
        assert len(list((tmp_path / "node" / "data" / "results").rglob("findings.json"))) == 3
        # What is recorded is not kept twice.
        assert not list((tmp_path / "far" / "own" / "fetched" / "far").rglob("findings.json"))
        assert len({one.sop_instance_uid for one in pacs.stored}) == len(pacs.stored) == 6


def test_by_fsspec_a_damaged_image_and_a_cache_that_is_too_small_fail_with_words(
    tmp_path: Path, postgresql_url: str
) -> None:
    environment = {"DICOMNODE_DATABASE_URL": postgresql_url}
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(
            folder=tmp_path / "node", environment=environment, serve_options=("--no-worker",)
        ).prepare([destination(pacs)])
        assert node.run("db upgrade").wait(timeout=300) == 0, node.log
        far = Elsewhere(tmp_path / "far", node, environment)
        with node:
            identity, paths = ct_study("one", tmp_path)
            send(node, paths)
            node.job_of(identity.study_uid, "queued")
            image = sorted((node.folder / "data" / "instances").rglob("*.dcm"))[0]
            right = image.read_bytes()
            far.configure(f"file://{node.folder / 'data'}", cache_gb=len(right) / 1e9)
            with far.working():
                job = node.job_of(identity.study_uid, "failed", timeout_s=600)
            assert (job.error, job.attempt) == ("CacheTooSmall", 1)
            assert "files.cache_gb" in job.reason
            far.configure(f"file://{node.folder / 'data'}")
            image.write_bytes(right[:-2] + bytes([right[-2] ^ 1]) + right[-1:])
            again(node, job.id)
            with far.working():
                job = node.job_of(identity.study_uid, "failed", timeout_s=600)
                assert job.error == "FilesUnavailable"
                assert "came damaged" in job.reason
                assert job.attempt == 3
                assert image.name not in [path.name for path in far.held()]
                image.write_bytes(right)
                again(node, job.id)
                node.delivered(identity.study_uid, timeout_s=600)
        assert len(pacs.stored) == 2


def again(node: NodeUnderTest, job: str) -> None:
    """A person has it run once more."""
    database = node.database
    rerun_job(database, JobId(job), datetime.now(UTC))
    database.dispose()
