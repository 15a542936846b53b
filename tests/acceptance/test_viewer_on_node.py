"""OHIF straight from the node: its pages, its DICOMweb, its own results over the images."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.domain.access import Role
from dicomnode.domain.outcomes import RunOutcome
from dicomnode.domain.results import ResultKind
from dicomnode.settings import WebSettings
from dicomnode.store.jobs import load_job, start_job
from dicomnode.store.outcomes import record_outcome
from tests.acceptance.ohif_overlays import largest, telltale
from tests.acceptance.ohif_pages import chromium_on
from tests.acceptance.test_viewer import (
    CACHE,
    Reader,
    check_label,
    check_outline,
    check_overlays,
    chromium,
    ohif,
)
from tests.acceptance.viewer_cases import Case, run_on_sample
from tests.contract.store_scenes import at, close, lung_match, match_lungs
from tests.integration.dicomweb_scenes import Archive, serving
from tests.unit.web_site import PASSWORD, Site

__all__ = ["chromium", "ohif"]
pytestmark = pytest.mark.timeout(1200)


def received(site: Site, algorithm: str, sample: str) -> Case:
    """A study received and closed, with the results a job made of it; none was sent anywhere."""
    out = site.folder / "results" / sample
    case = run_on_sample(algorithm, sample, out)
    made = {one.path for one in case.results}
    Archive(database=site.database).receive([path for path in case.files if path not in made])
    revision = close(site.database)
    job = match_lungs(site.database, revision, lung_match(case.volume.series_uid))
    assert start_job(site.database, job, deadline=at(600), now=at(1))
    outcome = RunOutcome(
        algorithm=algorithm,
        algorithm_version="1.0.0",
        model_digest="5a" * 32,
        device="cpu",
        findings=(),
        objects=case.results,
        preview=None,
        warnings=(),
        seconds={},
    )
    assert record_outcome(site.database, load_job(site.database, job), outcome, at(5))
    return case


@pytest.fixture(scope="module")
def reader(
    chromium: str,
    ohif: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reader]:
    site = Site(tmp_path_factory.mktemp("node"))
    site.settings = site.settings.model_copy(update={"web": WebSettings(viewer=CACHE)})
    case = received(site, "lung_ct", "chest_ct")
    with (
        serving(site.restarted()) as service,
        chromium_on(service.url.removesuffix("/dicom-web"), chromium) as page,
    ):
        page.log_in(Role.VIEWER.value, PASSWORD)
        yield Reader(page=page, url=service.url, pacs=None, radiograph=case, ct=case)


def test_the_study_page_leads_into_the_viewer(reader: Reader) -> None:
    reader.page.follow(f"/studies/{reader.ct.study}", "Open in viewer")
    assert reader.page.until(reader.page.listed_series, lambda found: len(found) >= 3)


def test_the_nodes_own_segmentation_lies_on_the_lungs(reader: Reader) -> None:
    organs = reader.ct.organs
    check_overlays(reader, reader.ct, [largest(organs[0]), telltale(organs)], "node_ct_seg")


def test_the_nodes_own_report_outlines_each_lung_with_its_volume(reader: Reader) -> None:
    case = reader.ct
    viewport = reader.open(case, ResultKind.SR)
    for organ in case.organs:
        index = largest(organ)
        reader.go_to(case, index)
        check_outline(reader, viewport, organ, index)
        check_label(reader, f"Volume: {organ.measurements[0].value:.2f} ml")


def test_the_browser_had_nothing_to_complain_about(reader: Reader) -> None:
    """No file was missing, and nothing ran into the content security policy."""
    found = [
        said for said in reader.page.complaints() if "Failed to load" in said or "Polic" in said
    ]
    assert found == []
