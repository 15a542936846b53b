"""Quotas by age and by space; nothing goes that they do not ask for."""

from pathlib import Path
from typing import Any

import pytest

from dicomnode.domain.identifiers import JobId
from dicomnode.domain.instances import Landing
from dicomnode.steps.intake import index_landed
from dicomnode.steps.node import Node
from dicomnode.steps.quotas import apply_quotas, plan_discards, plan_removals, remove_images
from dicomnode.steps.running import run_job
from dicomnode.store.database import Database
from dicomnode.store.jobs import load_job, rerun_job
from dicomnode.store.quarantine import dismiss_quarantine, mark_quarantined
from dicomnode.store.quotas import mark_images
from tests.contract.store_scenes import STUDY, land
from tests.contract.test_store_quotas import delivered
from tests.unit.steps_node import column, event_names, open_test_node, tick
from tests.unit.test_steps_running import DoneAtOnce

DAY_S = 86_400


def site(folder: Path, **keep: Any) -> Node:
    """A node with one study that is through, and its three images of 1000 bytes."""
    node = open_test_node(folder, {"keep": keep})
    delivered(node.database)
    tick(node, 40 * DAY_S)
    return node


def images(database: Database) -> list[Path]:
    return list(database.path_root.rglob("instances/**/*.dcm"))


@pytest.mark.parametrize(
    ("keep", "free_bytes"),
    [
        ({}, 0),
        ({"images_days": 41}, 0),
        ({"images_gb": 0.000003}, 0),
        ({"free_gb": 0.001}, 1_000_000),
    ],
    ids=["no quota", "younger", "no more than allowed", "enough is free"],
)
def test_what_no_quota_asks_for_stays(
    keep: dict[str, float], free_bytes: int, tmp_path: Path
) -> None:
    node = site(tmp_path, **keep)
    assert plan_removals(node, free_bytes) == ()


@pytest.mark.parametrize(
    ("keep", "free_bytes", "because"),
    [
        ({"images_days": 39}, 10**12, "older than 39 days"),
        ({"images_gb": 0.000002}, 10**12, "space is needed"),
        ({"free_gb": 0.001}, 999_999, "space is needed"),
        ({"images_days": 39, "free_gb": 0.001}, 999_999, "older than 39 days"),
    ],
)
def test_what_a_quota_asks_for_is_planned_once_with_the_reason(
    keep: dict[str, float], free_bytes: int, because: str, tmp_path: Path
) -> None:
    node = site(tmp_path, **keep)
    (planned,) = plan_removals(node, free_bytes)
    assert (planned.study.study_uid, planned.because) == (STUDY, because)
    assert len(images(node.database)) == 3, "a plan changes nothing"
    assert "study.images-removed" not in event_names(node.database)


def test_images_go_and_their_folder_and_nothing_else(tmp_path: Path) -> None:
    node = site(tmp_path, images_days=1)
    folder = images(node.database)[0].parent
    assert not remove_images(node), "there is no more"
    assert not folder.exists()
    assert set(column(node.database, "instance", "state")) == {"removed"}
    assert not remove_images(node)
    assert event_names(node.database).count("study.images-removed") == 1


def test_files_that_a_crash_left_go_with_the_next_turn(tmp_path: Path) -> None:
    node = site(tmp_path)
    mark_images(node.database, STUDY, "for space", node.clock())
    assert len(images(node.database)) == 3
    remove_images(node)
    assert images(node.database) == []


def quarantined(folder: Path, **keep: Any) -> Node:
    """A node with two unreadable objects of 1000 bytes; a person has looked at the first."""
    node = open_test_node(folder, {"keep": keep})
    land(node.database, ["1.9.1", "1.9.2"], association="odd")
    index_landed(node)
    assert column(node.database, "instance", "state") == ["quarantined"] * 2
    dismiss_quarantine(node.database, 1, node.clock())
    tick(node, 40 * DAY_S)
    return node


@pytest.mark.parametrize(
    ("keep", "because"),
    [
        ({}, None),
        ({"quarantine_days": 41}, None),
        ({"quarantine_gb": 0.000002}, None),
        ({"quarantine_days": 39}, "older than 39 days"),
        ({"quarantine_gb": 0.0000005}, "space is needed"),
        ({"quarantine_days": 39, "quarantine_gb": 0.0000005}, "older than 39 days"),
    ],
)
def test_of_the_quarantine_goes_what_was_looked_at_and_a_quota_asks_for(
    keep: dict[str, float], because: str | None, tmp_path: Path
) -> None:
    node = quarantined(tmp_path, **keep)
    planned = plan_discards(node)
    assert [one.because for one in planned] == ([because] if because else [])
    assert len(images(node.database)) == 2, "a plan changes nothing"
    assert not apply_quotas(node), "there is no more"
    left = 1 if because else 2
    assert len(images(node.database)) == left
    assert column(node.database, "quarantine", "state").count("kept") == left
    assert event_names(node.database).count("quarantine.removed") == 2 - left


def test_an_image_whose_file_went_from_the_quarantine_is_read_anew_when_it_comes_again(
    tmp_path: Path,
) -> None:
    node = quarantined(tmp_path, quarantine_days=1)
    apply_quotas(node)
    assert not apply_quotas(node)
    assert land(node.database, ["1.9.1"], association="again") == [Landing.KEPT]
    assert column(node.database, "instance", "state") == ["landed", "quarantined"]
    index_landed(node)
    assert column(node.database, "instance", "state") == ["quarantined"] * 2
    assert column(node.database, "quarantine", "state") == ["kept"] * 2
    assert column(node.database, "quarantine", "dismissed_at") == [None] * 2
    assert len(images(node.database)) == 2


def test_files_of_the_quarantine_that_a_crash_left_go_with_the_next_turn(tmp_path: Path) -> None:
    node = quarantined(tmp_path)
    assert mark_quarantined(node.database, 1, "for space", node.clock())
    assert len(images(node.database)) == 2
    apply_quotas(node)
    assert len(images(node.database)) == 1


def test_a_rerun_without_images_says_what_to_do(tmp_path: Path) -> None:
    node = site(tmp_path, images_days=1)
    remove_images(node)
    job = JobId(column(node.database, "job", "id")[0])
    rerun_job(node.database, job, node.clock())
    run_job(node, DoneAtOnce(), job)
    assert load_job(node.database, job).state.value == "failed"
    assert "send the study again" in column(node.database, "job", "reason")[0]
