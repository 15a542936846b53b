"""A disk that fails under the whole node: it waits, says so, and goes on where it was.

The system's own calls fail (`tests/integration/faulty_disk.c`), in every process of the node.
"""

import errno
from functools import partial
from pathlib import Path

import pytest

from dicomnode.testing.pacs import EmbeddedPacs
from tests.acceptance.running_node import NodeUnderTest, destination
from tests.acceptance.running_node import eventually as soon
from tests.acceptance.studies_on_disk import ct_study, send
from tests.acceptance.test_faults import has_event, kept_objects
from tests.integration.faulty_disk import FaultyDisk

pytestmark = pytest.mark.timeout(3600)


eventually = partial(soon, timeout_s=900.0)


def reasons(node: NodeUnderTest, table: str, name: str = "reason") -> list[str]:
    database = node.database
    with database.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT {name} FROM {table}").scalars().all()
    database.dispose()
    return [str(one) for one in found if one]


def is_indexed(node: NodeUnderTest, study_uid: str, count: int) -> bool:
    told = node.story(study_uid)
    return told is not None and told.instances == count


def test_a_study_gets_through_a_disk_that_fails_at_every_step_in_turn(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path / "disk")
    identity, paths = ct_study("disk", tmp_path)
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(folder=tmp_path / "node", quiet_s=4.0, released_s=4.0)
        node.environment = disk.environment
        node.prepare([destination(pacs)])
        with node:
            # Received, but not to be read: not in the study, and not taken for damaged.
            disk.breaks("read", errno.EIO, "/data/instances/")
            send(node, paths)
            eventually(lambda: has_event(node, "disk.fault"), what="the fault is told")
            assert reasons(node, "quarantine") == []
            assert "EIO" in reasons(node, "event WHERE name = 'disk.fault'", "facts")[0]
            disk.mends()
            eventually(lambda: is_indexed(node, identity.study_uid, 12), what="it is indexed")
            # Indexed, but not to be read by the job.
            disk.breaks("read", errno.EIO, "/data/instances/")
            eventually(
                lambda: any("EIO" in one for one in reasons(node, "job")), what="the job waits"
            )
            assert reasons(node, "job", "state") in (["queued"], ["running"])
            # Read, but its results find no room.
            disk.breaks("write", errno.ENOSPC, "/data/results/")
            eventually(
                lambda: any("ENOSPC" in one for one in reasons(node, "job")),
                what="the job waits for room",
            )
            # Written, but not to be read again by who sends them.
            disk.breaks("read", errno.EIO, "/SEG_")
            eventually(
                lambda: any("EIO" in one for one in reasons(node, "delivery")),
                what="the delivery waits",
            )
            # Read, but the index cannot be written for a while.
            disk.breaks("write", errno.EIO, "index.sqlite")
            eventually(lambda: "StoreUnavailable" in node.log, what="the index fails")
            disk.mends()
            job = node.delivered(identity.study_uid, timeout_s=900)
            told = node.story(identity.study_uid)
    assert told is not None
    assert (told.instances, len(told.revisions), len(told.jobs)) == (12, 1, 1)
    made = sorted(delivery.sop_instance_uid for delivery in job.deliveries)
    assert len(made) == 2
    assert sorted(kept_objects(tmp_path / "pacs", identity.study_uid)) == made


@pytest.mark.parametrize(
    ("database", "error"),
    [("index.sqlite", errno.EIO), ("flow.sqlite", errno.ENOSPC)],
    ids=["index", "engine"],
)
def test_a_study_gets_through_a_database_that_cannot_be_written_for_a_while(
    database: str, error: int, tmp_path: Path
) -> None:
    disk = FaultyDisk(tmp_path / "disk")
    identity, paths = ct_study("index", tmp_path)
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(folder=tmp_path / "node")
        node.environment = disk.environment
        node.prepare([destination(pacs)])
        with node:
            send(node, paths)
            eventually(lambda: has_event(node, "job.started"), what="the job runs")
            before = len(node.log)
            disk.breaks("write", error, database)
            eventually(lambda: len(node.log) > before, what="the node complains")
            eventually(
                lambda: list((node.settings.data_dir / "results").rglob("findings.json")),
                what="the model has run meanwhile",
            )
            disk.mends()
            job = node.delivered(identity.study_uid, timeout_s=900)
            told = node.story(identity.study_uid)
    assert told is not None
    assert (len(told.revisions), len(told.jobs)) == (1, 1)
    made = sorted(delivery.sop_instance_uid for delivery in job.deliveries)
    assert sorted(kept_objects(tmp_path / "pacs", identity.study_uid)) == made
