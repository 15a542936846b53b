"""What may happen at night: nothing acknowledged is lost, results arrive exactly once."""

import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread

from dicomnode.domain.identifiers import JobId
from dicomnode.receiving import now
from dicomnode.store.jobs import cancel_job, rerun_job
from dicomnode.testing.bundles import Behaviour, BundleRecipe
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from tests.acceptance.running_node import (
    AE_TITLE,
    DESTINATION,
    NodeUnderTest,
    destination,
    eventually,
    free_port,
)
from tests.acceptance.studies_on_disk import ct_study, send

pytestmark = pytest.mark.timeout(1200)

STEPS = (
    "association.closed",
    "study.closed",
    "study.matched",
    "job.started",
    "job.succeeded",
    "result.sent",
)


def kept_objects(folder: Path, study_uid: str) -> list[str]:
    """SOPInstanceUIDs of a study's files below `folder`, one entry a file."""
    kept = [dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    return [str(ds.SOPInstanceUID) for ds in kept if ds.StudyInstanceUID == study_uid]


def has_event(node: NodeUnderTest, name: str) -> bool:
    """True once the node has written the event."""
    database = node.database
    with database.reading() as connection:
        found = connection.exec_driver_sql(
            f"SELECT count(*) FROM event WHERE name = '{name}'"
        ).scalar_one()
    database.dispose()
    return bool(found)


def test_a_node_killed_after_every_step_in_turn_still_delivers_exactly_once(
    tmp_path: Path,
) -> None:
    identity, paths = ct_study("killed", tmp_path)
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(folder=tmp_path / "node").prepare([destination(pacs)])
        node.start()
        send(node, paths)
        for name in STEPS:
            eventually(lambda name=name: has_event(node, name), what=name)  # type: ignore[misc]
            node.kill()
            node.start()
        try:
            job = node.delivered(identity.study_uid)
            told = node.story(identity.study_uid)
        finally:
            node.stop()
    assert told is not None
    assert (told.instances, len(told.revisions), len(told.jobs)) == (12, 1, 1)
    made = sorted(delivery.sop_instance_uid for delivery in job.deliveries)
    assert len(made) == 2
    assert sorted(kept_objects(tmp_path / "pacs", identity.study_uid)) == made


@pytest.mark.skipif(not Path("/usr/bin/storescu").exists(), reason="DCMTK is not installed")
def test_a_node_killed_in_the_middle_of_a_c_store_keeps_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    identity, paths = ct_study("mid-store", tmp_path)
    copies = tmp_path / "many"
    copies.mkdir()
    for number in range(40):
        for path in paths:
            ds = dcmread(path)
            ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:50]}.{number}"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.SeriesInstanceUID = f"{ds.SeriesInstanceUID[:50]}.{number}"
            ds.save_as(copies / f"{number}-{path.name}", enforce_file_format=True)
    node = NodeUnderTest(folder=tmp_path / "node", quiet_s=3.0, released_s=2.0).prepare()
    node.start()
    command = ["/usr/bin/storescu", "-v", "-aec", AE_TITLE, "+sd", "127.0.0.1", str(node.port)]
    with (tmp_path / "storescu.log").open("wb") as log:
        sender = subprocess.Popen([*command, str(copies)], stdout=log, stderr=log)
        said = tmp_path / "storescu.log"
        eventually(
            lambda: said.read_text(errors="replace").count("Success") >= 20,
            what="twenty images are acknowledged",
        )
        node.kill()
        sender.wait()
    acknowledged = said.read_text(errors="replace").count("Received Store Response (Success)")
    assert 20 <= acknowledged < 480
    with node:
        eventually(
            lambda: (told := node.story(identity.study_uid)) and not told.is_open,
            what="what was acknowledged is closed into a revision",
        )
        told = node.story(identity.study_uid)
    assert told is not None
    # One more may have been kept whose answer was lost with the process.
    assert told.instances >= acknowledged
    files = list((node.settings.data_dir / "instances").rglob("*.dcm"))
    assert len(files) == told.instances
    assert not list((node.settings.data_dir / "spool").rglob("*.part"))


def test_a_model_that_hangs_is_killed_and_the_next_job_runs(tmp_path: Path) -> None:
    recipe = BundleRecipe(behaviour=Behaviour.HANGS, time_limit_s=3.0)
    node = NodeUnderTest(folder=tmp_path / "node", recipe=recipe).prepare()
    identity, paths = ct_study("hang", tmp_path)
    with node:
        send(node, paths)
        job = node.job_of(identity.study_uid, "failed", timeout_s=180)
        assert job.error == "TimedOut"
        assert "3 s" in job.reason


def test_a_killed_inference_child_costs_one_try_and_a_cancelled_job_ends(tmp_path: Path) -> None:
    recipe = BundleRecipe(behaviour=Behaviour.HANGS, time_limit_s=300.0)
    node = NodeUnderTest(folder=tmp_path / "node", recipe=recipe).prepare()
    identity, paths = ct_study("child", tmp_path)
    with node:
        before = {child.pid for child in node.children()}
        send(node, paths)
        node.job_of(identity.study_uid, "running")

        def killed_and_tried_again() -> bool:
            # A child that is killed before its call begins is replaced without a word.
            for child in node.children():
                with suppress(psutil.Error):
                    is_settled = time.time() - child.create_time() > 3
                    is_child = "spawn_main" in " ".join(child.cmdline())
                    if child.pid not in before and is_child and is_settled:
                        child.send_signal(signal.SIGKILL)
            return has_event(node, "job.retrying")

        eventually(killed_and_tried_again, what="the job is tried again")
        running = node.job_of(identity.study_uid, "running")
        assert running.attempt == 2
        database = node.database
        cancel_job(database, JobId(running.id), now())
        database.dispose()
        job = node.job_of(identity.study_uid, "cancelled")
        assert job.reason == "cancelled by a person"


def test_a_bundle_whose_digest_is_wrong_is_refused_and_runs_once_it_is_right(
    tmp_path: Path,
) -> None:
    recipe = BundleRecipe(behaviour=Behaviour.WRONG_DIGEST)
    identity, paths = ct_study("digest", tmp_path)
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        node = NodeUnderTest(folder=tmp_path / "node", recipe=recipe).prepare([destination(pacs)])
        with node:
            send(node, paths)
            job = node.job_of(identity.study_uid, "failed")
            assert job.error == "BundleInvalid"
        shutil.rmtree(tmp_path / "node" / "bundles")
        node.recipe = BundleRecipe(time_limit_s=300.0)
        node.prepare([destination(pacs)])
        with node:
            database = node.database
            rerun_job(database, JobId(job.id), now())
            database.dispose()
            node.delivered(identity.study_uid)


def test_a_dead_pacs_holds_up_nobody_and_gets_its_results_when_it_is_back(
    tmp_path: Path,
) -> None:
    identity, paths = ct_study("down", tmp_path)
    port = free_port()
    dead = DESTINATION.format(name="dead", ae_title="DEAD", port=port, confirm="read-back")
    with EmbeddedPacs(tmp_path / "alive") as alive:
        node = NodeUnderTest(folder=tmp_path / "node")
        node.prepare([destination(alive, name="alive"), dead])
        with node:
            send(node, paths)

            def states() -> dict[str, set[str]]:
                told = node.story(identity.study_uid)
                found: dict[str, set[str]] = {}
                for delivery in told.jobs[0].deliveries if told and told.jobs else ():
                    found.setdefault(delivery.destination, set()).add(delivery.state)
                return found

            eventually(lambda: states().get("alive") == {"confirmed"}, what="alive has results")
            assert states()["dead"] == {"waiting"}
            with EmbeddedPacs(tmp_path / "back", ae_title="DEAD", port=port):
                node.delivered(identity.study_uid)
    assert len(kept_objects(tmp_path / "back", identity.study_uid)) == 2
    assert len(kept_objects(tmp_path / "alive", identity.study_uid)) == 2


def test_every_answer_of_a_pacs_is_taken_for_what_it_is(tmp_path: Path) -> None:
    identity, paths = ct_study("answers", tmp_path)
    busy = Misbehaviour(store_status=0xA700, only_first=2)
    failing = Misbehaviour(store_status=0x0110, only_first=1)
    warning = Misbehaviour(store_status=0xB000)
    refusing = Misbehaviour(store_status=0xC000)
    forgetful = Misbehaviour(forget=True)
    with (
        EmbeddedPacs(tmp_path / "busy", misbehaviour=busy) as one,
        EmbeddedPacs(tmp_path / "failing", misbehaviour=failing) as two,
        EmbeddedPacs(tmp_path / "warning", misbehaviour=warning) as three,
        EmbeddedPacs(tmp_path / "refusing", misbehaviour=refusing) as four,
        EmbeddedPacs(tmp_path / "forgetful", misbehaviour=forgetful) as five,
    ):
        node = NodeUnderTest(folder=tmp_path / "node").prepare(
            [
                destination(one, name="busy"),
                destination(two, name="failing"),
                destination(three, name="warning"),
                destination(four, name="refusing"),
                destination(five, name="forgetful", confirm="none"),
            ]
        )
        expected = {
            "busy": ("confirmed", 0x0000),
            "failing": ("confirmed", 0x0000),
            "warning": ("confirmed", 0xB000),
            "refusing": ("refused", 0xC000),
            "forgetful": ("sent-unconfirmed", 0x0000),
        }

        def as_expected() -> bool:
            told = node.story(identity.study_uid)
            deliveries = told.jobs[0].deliveries if told and told.jobs else ()
            found = {(d.destination, (d.state, d.status)) for d in deliveries}
            return found == set(expected.items())

        with node:
            send(node, paths)
            eventually(as_expected, what=f"each destination ends as {expected}")
    for name in ("busy", "failing", "warning"):
        assert len(kept_objects(tmp_path / name, identity.study_uid)) == 2
