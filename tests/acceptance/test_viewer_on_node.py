"""OHIF straight from the node: its pages, its DICOMweb, its own results over the images."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dicomnode.domain.access import Role
from dicomnode.domain.findings import LesionFinding
from dicomnode.domain.outcomes import RunOutcome
from dicomnode.domain.results import ResultKind
from dicomnode.phantom.case import make_case
from dicomnode.phantom.lesions import LesionKind
from dicomnode.phantom.series import write_case
from dicomnode.settings import WebSettings
from dicomnode.store.jobs import load_job, start_job
from dicomnode.store.outcomes import record_outcome
from dicomnode.testing.studies import StudyIdentity
from tests.acceptance.ohif_overlays import largest, telltale
from tests.acceptance.ohif_pages import chromium_on
from tests.acceptance.test_viewer import (
    CACHE,
    Reader,
    are_drawn,
    check_label,
    check_line,
    check_outline,
    check_overlays,
    chromium,
    ohif,
)
from tests.acceptance.viewer_cases import Case, run_on, run_on_sample
from tests.contract.store_scenes import at, close, lung_match, match_lungs
from tests.integration.dicomweb_scenes import Archive, serving
from tests.unit.web_site import PASSWORD, Site

__all__ = ["chromium", "ohif"]
pytestmark = pytest.mark.timeout(1200)


def received(site: Site, algorithm: str, sample: str) -> Case:
    """A sample study received and closed, with its results; none was sent anywhere."""
    case = run_on_sample(algorithm, sample, site.folder / "results" / sample)
    return kept(site, Archive(database=site.database), algorithm, case)


def kept(site: Site, archive: Archive, algorithm: str, case: Case) -> Case:
    """The study received and closed, with the results a job made of it."""
    made = {one.path for one in case.results}
    archive.receive([path for path in case.files if path not in made])
    revision = close(site.database)
    job = match_lungs(
        site.database, revision, lung_match(case.volume.series_uid, algorithm=algorithm)
    )
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


def nodules(folder: Path) -> Case:
    """An invented chest with nodules, and what the detector of lesions marks in it."""
    chest = make_case(
        90_018,
        region=(300.0, 390.0),
        spacing_mm=(3.0, 2.0, 2.0),
        pathology={LesionKind.LUNG_NODULE: 8},
        detail=False,
    )
    images = write_case(chest, folder / "nodules", StudyIdentity(seed="nodules"))
    return run_on("universal_lesion", tuple(images), "nodules", folder / "results" / "nodules")


@pytest.fixture(scope="module")
def reader(
    chromium: str,
    ohif: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Reader]:
    site = Site(tmp_path_factory.mktemp("node"))
    site.settings = site.settings.model_copy(update={"web": WebSettings(viewer=CACHE)})
    archive = Archive(database=site.database)
    lungs = run_on_sample("lung_ct", "chest_ct", site.folder / "results" / "chest_ct")
    case = kept(site, archive, "lung_ct", lungs)
    found = kept(site, archive, "universal_lesion", nodules(site.folder))
    with (
        serving(site.restarted()) as service,
        chromium_on(service.url.removesuffix("/dicom-web"), chromium) as page,
    ):
        page.log_in(Role.VIEWER.value, PASSWORD)
        # The chest with nodules stands where other readers have a radiograph.
        yield Reader(page=page, url=service.url, pacs=None, radiograph=found, ct=case)


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


def test_marks_of_a_detector_are_drawn_on_their_slices_with_their_sizes(reader: Reader) -> None:
    case = reader.radiograph
    marked = [one for one in case.findings if isinstance(one, LesionFinding)]
    assert marked
    viewport = reader.open(case, ResultKind.SR)
    for lesion in marked[:3]:
        reader.go_to(case, lesion.marks[0].slice_index)
        drawn = reader.page.until(
            reader.page.lines, partial(are_drawn, viewport=viewport, marks=lesion.marks)
        )
        for mark, letter in zip(lesion.marks, "LW", strict=True):
            check_line(drawn, viewport, mark)
            assert mark.measurement is not None
            check_label(reader, f"{letter}: : {mark.measurement.value:.2f} mm")


def test_the_browser_had_nothing_to_complain_about(reader: Reader) -> None:
    """No file was missing, and nothing ran into the content security policy."""
    found = [
        said for said in reader.page.complaints() if "Failed to load" in said or "Polic" in said
    ]
    assert found == []
