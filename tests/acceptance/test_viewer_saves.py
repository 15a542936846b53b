"""What a radiologist corrects in the node's own viewer comes back to the node as a correction."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from dicomnode.domain.access import Role
from dicomnode.domain.judgements import WHOLE_RESULT, Verdict
from dicomnode.domain.results import ResultKind
from dicomnode.settings import WebSettings
from dicomnode.steps.correcting import Correcting
from dicomnode.store.results_told import result_told
from dicomnode.store.tables import InstanceRow, JobRow
from tests.acceptance.ohif_pages import OhifPage, chromium_on
from tests.acceptance.test_viewer import CACHE, chromium, ohif
from tests.acceptance.test_viewer_on_node import received
from tests.acceptance.viewer_cases import Case
from tests.integration.dicomweb_scenes import Archive, serving
from tests.unit.steps_node import open_test_node
from tests.unit.web_site import PASSWORD, Site

__all__ = ["chromium", "ohif"]
pytestmark = pytest.mark.timeout(3600)


@dataclass(frozen=True, kw_only=True)
class Room:
    """A reading room: a node, its viewer, one study."""

    site: Site
    page: OhifPage
    case: Case


@pytest.fixture(scope="module")
def room(chromium: str, ohif: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    site = Site(tmp_path_factory.mktemp("node"))
    site.settings = site.settings.model_copy(update={"web": WebSettings(viewer=CACHE)})
    case = received(site, "lung_ct", "chest_ct")
    with (
        serving(site.restarted()) as service,
        chromium_on(service.url.removesuffix("/dicom-web"), chromium) as page,
    ):
        page.log_in(Role.READER.value, PASSWORD)
        yield Room(site=site, page=page, case=case)


def stored(room: Room) -> int:
    """Instances the node has, indexed or not."""
    with room.site.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(InstanceRow)) or 0


def test_a_segmentation_that_is_edited_and_saved_is_known_as_a_correction(room: Room) -> None:
    page = room.page
    page.open(room.case.study, room.case.series[ResultKind.SEG])
    page.until(page.segments, lambda found: len(found) >= 2)
    there, wanted = page.until(page.loaded, lambda counts: counts[0] == counts[1])
    assert there == wanted == len(room.case.images)
    page.erase_a_slice()

    before = stored(room)
    page.forget_an_image()
    (told,) = page.store_segmentation()
    assert told.startswith("error: Referenced source image not in cache"), told
    assert stored(room) == before
    page.remember_it()

    (told,) = page.store_segmentation()
    assert told.startswith("success:"), told
    database = room.site.database
    Archive(database=database).index()
    node = open_test_node(room.site.folder / "steps")
    Correcting(replace(node, database=database)).take()
    with database.reading() as connection:
        job = connection.scalar(select(JobRow.id))
    assert job is not None
    result = result_told(database, job)
    (back,) = result.corrections
    assert (back.kind, back.sent_by) == ("SEG", "reader")
    assert [one.name for one in back.segments] == ["right lung", "left lung"]
    assert 0.8 < min(one.dice for one in back.segments) < 1.0
    assert result.in_force[WHOLE_RESULT].verdict is Verdict.CORRECTED
