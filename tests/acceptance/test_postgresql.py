"""The same node on PostgreSQL, with the model in a worker process of its own."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from dicomnode.receiving import now
from dicomnode.store.workers import ask_to_drain, queue_told
from dicomnode.testing.pacs import EmbeddedPacs
from tests.acceptance.running_node import NodeUnderTest, destination
from tests.acceptance.studies_on_disk import ct_study, send

pytestmark = pytest.mark.timeout(1200)


def _drain(node: NodeUnderTest, worker: "subprocess.Popen[bytes]") -> None:
    """Asked to end, a worker ends by itself."""
    database = node.database
    (told,) = queue_told(database, now()).workers
    assert (told.state, told.is_part_of_node) == ("works", False)
    ask_to_drain(database, told.name, now())
    assert worker.wait(timeout=60) == 0
    assert [one.state for one in queue_told(database, now()).workers] == ["left"]
    database.dispose()


def test_a_worker_of_its_own_runs_what_the_node_receives_and_survives_being_killed(
    tmp_path: Path, postgresql_url: str
) -> None:
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(
            folder=tmp_path / "node",
            environment={"DICOMNODE_DATABASE_URL": postgresql_url},
            serve_options=("--no-worker",),
        ).prepare([destination(pacs)])
        assert node.run("db upgrade").wait(timeout=120) == 0, node.log
        with node:
            identity, paths = ct_study("postgresql", tmp_path)
            send(node, paths)
            node.job_of(identity.study_uid, "queued")
            worker = node.run("work", "--name", "one")
            node.job_of(identity.study_uid, "running")
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            worker = node.run("work", "--name", "one")
            try:
                job = node.delivered(identity.study_uid, timeout_s=300)
                _drain(node, worker)
            finally:
                worker.terminate()
                worker.wait(timeout=60)
        assert {delivery.confirmed_by for delivery in job.deliveries} == {"c-find"}
        assert len(job.deliveries) == 2
