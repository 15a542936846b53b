"""A chest CT is sent to the node: OHIF draws the marks of its lesions, with their sizes.

Nothing stands in for anything: storescu sends, the shipped detector reads by a rule, Orthanc keeps
what comes back, and a browser shows it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomnode.domain.findings import Mark
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.phantom import Case, make_case
from dicomnode.phantom.lesions import LesionKind
from dicomnode.testing.studies import StudyIdentity
from tests.acceptance.ohif_pages import OhifPage
from tests.acceptance.running_node import eventually
from tests.acceptance.test_viewer import (
    are_drawn,
    check_line,
    chromium,
    ohif,
    save_page,
)
from tests.acceptance.viewer_sites import NEEDS_PROGRAMS, Site, running_site, viewer_on

__all__ = ["chromium", "ohif"]  # fixtures

pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow, NEEDS_PROGRAMS]

RULES = """\
[[rule]]
name = "lesions"
algorithm = "universal_lesion"
[rule.series.image]
Modality = "CT"
"""
NODULES = 8


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the report: on which image, what it measures."""

    image: InstanceUid
    mark: Mark
    millimetres: float


@dataclass(frozen=True, kw_only=True)
class Read:
    """The chest that was sent, and what the PACS holds of the node's report."""

    case: Case
    images: tuple[InstanceUid, ...]
    study: StudyUid
    report: Dataset


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), RULES) as running:
        yield running


@pytest.fixture(scope="module")
def read(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Read:
    chest = make_case(
        90_018,
        region=(300.0, 390.0),
        spacing_mm=(3.0, 2.0, 2.0),
        pathology={LesionKind.LUNG_NODULE: NODULES},
        detail=False,
    )
    identity = StudyIdentity(seed="chest with nodules")
    images = site.send(chest, identity, tmp_path_factory.mktemp("ct"))

    eventually(
        lambda: site.are_confirmed(identity.study_uid, {"universal_lesion"}),
        what=lambda: f"confirmed results: {site.node.log}",
        timeout_s=300.0,
    )
    (report,) = (one for one in site.results(identity.study_uid) if one.Modality == "SR")
    return Read(case=chest, images=images, study=StudyUid(identity.study_uid), report=report)


def lines(read: Read, item: Dataset) -> Iterator[Line]:
    """Every length with the line that was measured (TID 300), in the order of the report."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM":
            for drawn in child.get("ContentSequence", []):
                if drawn.ValueType != "SCOORD":
                    continue
                (selected,) = drawn.ContentSequence
                (reference,) = selected.ReferencedSOPSequence
                image = InstanceUid(str(reference.ReferencedSOPInstanceUID))
                points = np.array(drawn.GraphicData, np.float64).reshape(-1, 2)
                yield Line(
                    image=image,
                    mark=Mark(slice_index=read.images.index(image), points=points),
                    millimetres=float(child.MeasuredValueSequence[0].NumericValue),
                )
        yield from lines(read, child)


@pytest.fixture(scope="module")
def page(site: Site, chromium: str, ohif: Path) -> Iterator[OhifPage]:
    with viewer_on(site, chromium, ohif) as opened:
        yield opened


def is_said(text: str, labels: list[str]) -> bool:
    return text in "\n".join(labels)


def test_the_marks_that_came_back_lie_on_nodules_that_were_planted(read: Read) -> None:
    marked = list(lines(read, read.report))
    assert len(marked) >= 2
    hit = set()
    for line in marked:
        column, row = line.mark.points.mean(0).astype(int)
        near = read.case.lesion_map[
            line.mark.slice_index, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3
        ]
        hit |= set(np.unique(near[near > 0]).tolist())
    assert len(hit) >= len(read.case.lesions) // 2


def test_the_viewer_draws_each_mark_on_its_slice_with_its_size(read: Read, page: OhifPage) -> None:
    rows, columns = read.case.grid.shape[1:]
    page.open(read.study, SeriesUid(str(read.report.SeriesInstanceUID)))
    viewport = page.viewport(rows, columns)
    for line in list(lines(read, read.report))[:4]:
        page.go_to(line.image)
        assert page.until(lambda image=line.image: page.shows(image), bool)  # type: ignore[misc]
        drawn = page.until(page.lines, partial(are_drawn, viewport=viewport, marks=[line.mark]))
        check_line(drawn, viewport, line.mark)
        ends = line.mark.points * read.case.grid.spacing_mm[1]
        assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(line.millimetres, abs=0.05)
        text = f"{line.millimetres:.2f} mm"
        labels = page.until(page.labels, partial(is_said, text))
        assert is_said(text, labels)
    save_page(page, "phantom_nodules")
