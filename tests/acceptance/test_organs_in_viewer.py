"""Two CTs of a belly are sent to the node: organs come back, drawn by OHIF where they were painted.

Nothing stands in for anything: storescu sends, shipped bundles read by rules, Orthanc keeps what
comes back, `dicomnode sql` is asked, and a browser shows it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from dicomnode.domain.codes import Code
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.phantom import Case, Organ, make_case
from dicomnode.shipped import shipped
from dicomnode.testing.studies import StudyIdentity
from tests.acceptance.ohif_overlays import LEAST_OVERLAP, flipped, overlap, overlays
from tests.acceptance.ohif_pages import OhifPage
from tests.acceptance.running_node import eventually
from tests.acceptance.test_viewer import chromium, ohif, save_page
from tests.acceptance.viewer_sites import NEEDS_PROGRAMS, Site, running_site, viewer_on

__all__ = ["chromium", "ohif"]  # fixtures

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow, NEEDS_PROGRAMS]

RULES = """\
[[rule]]
name = "organs"
algorithm = "body_ct"
[rule.series.image]
Modality = "CT"

[[rule]]
name = "pancreas"
algorithm = "pancreas"
[rule.series.image]
Modality = "CT"
"""
ALGORITHMS = ("body_ct", "pancreas")
PAINTED = {"liver": Organ.LIVER, "pancreas": Organ.PANCREAS, "left kidney": Organ.KIDNEY_LEFT}
DATES = ("20240131", "20250214")
REGION, SPACING = (70.0, 235.0), (5.0, 2.5, 2.5)
"""From below the kidneys to the dome: 34 slices."""
FARTHEST_MM = 15.0
"""Of the middle of what is drawn from the middle of what was painted; organs lie 60 mm apart."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Read:
    """A study that was sent, and what the PACS holds of the node's results for it."""

    case: Case
    images: tuple[InstanceUid, ...]
    study: StudyUid
    results: dict[tuple[str, str], Dataset]
    """By algorithm and modality."""


def ask(site: Site, *arguments: str) -> list[dict[str, Any]]:
    """`dicomnode sql`, as it is typed."""
    command = [sys.executable, "-m", "dicomnode", "sql", *arguments, "--format", "json"]
    told = subprocess.run(
        [*command, "-s", str(site.node.settings_path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [json.loads(line) for line in told.stdout.splitlines()]


def by_algorithm(results: list[Dataset]) -> dict[tuple[str, str], Dataset]:
    """By algorithm and modality."""
    return {
        (
            "pancreas" if "pancreas" in str(one.SeriesDescription).lower() else "body_ct",
            str(one.Modality),
        ): one
        for one in results
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), RULES) as running:
        yield running


@pytest.fixture(scope="module")
def read(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Read, ...]:
    """Both studies, sent one after the other and read at once."""
    case = make_case(2, region=REGION, spacing_mm=SPACING, detail=False)
    people = [StudyIdentity(seed=f"belly {date}", study_date=date) for date in DATES]
    images = [site.send(case, one, tmp_path_factory.mktemp("ct")) for one in people]
    for one in people:
        eventually(
            lambda study=one.study_uid: site.are_confirmed(study, set(ALGORITHMS)),  # type: ignore[misc]
            what=lambda: f"results of both algorithms: {site.node.log}",
            timeout_s=600.0,
        )
    return tuple(
        Read(
            case=case,
            images=shown,
            study=StudyUid(one.study_uid),
            results=by_algorithm(site.results(one.study_uid)),
        )
        for one, shown in zip(people, images, strict=True)
    )


@pytest.fixture(scope="module")
def page(site: Site, chromium: str, ohif: Path) -> Iterator[OhifPage]:
    with viewer_on(site, chromium, ohif) as opened:
        yield opened


def organs_of(read: Read, algorithm: str) -> tuple[SegmentFinding, ...]:
    """The segments of the SEG that the PACS holds, on the grid of the images."""
    seg = read.results[algorithm, "SEG"]
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns).astype(bool)
    masks = {
        int(one.SegmentNumber): np.zeros(read.case.grid.shape, bool) for one in seg.SegmentSequence
    }
    (shared,) = seg.SharedFunctionalGroupsSequence
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = read.images.index(InstanceUid(str(source.ReferencedSOPInstanceUID)))
        # A single segment is named once for all frames.
        named = group if "SegmentIdentificationSequence" in group else shared
        number = int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks[number][index] = frame
    root = shipped("algorithms") / algorithm / "configs/dicom.json"
    told = json.loads(root.read_text())["outputs"]["pred"]["segments"].values()
    colors = {one["name"]: tuple(one["color"]) for one in told}
    return tuple(
        SegmentFinding(
            name=str(one.SegmentLabel),
            category=Code("123037004", "SCT", "Anatomical Structure"),
            type=Code("123037004", "SCT", "Anatomical Structure"),
            laterality=None,
            color=colors[str(one.SegmentLabel)],
            mask=masks[int(one.SegmentNumber)],
        )
        for one in seg.SegmentSequence
    )


def middle(mask: Mask) -> npt.NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0), np.float64)


# A thin organ has much border for its area: half a pixel of it is three hundredths of overlap.
@pytest.mark.parametrize(
    ("algorithm", "name", "least", "apart"),
    [("pancreas", "pancreas", 0.95, 0.05), ("body_ct", "liver", LEAST_OVERLAP, 0.005)],
)
def test_the_viewer_draws_the_organ_where_it_was_painted(
    read: tuple[Read, ...], page: OhifPage, algorithm: str, name: str, least: float, apart: float
) -> None:
    one = read[0]
    organs = organs_of(one, algorithm)
    drawn = next(organ for organ in organs if organ.name == name)
    painted = one.case.labels == PAINTED[name]
    index = int(drawn.mask.sum(axis=(1, 2)).argmax())
    rows, columns = one.case.grid.shape[1:]

    def look_at(series: SeriesUid | None) -> None:
        page.open(one.study, series)
        page.go_to(one.images[index])
        assert page.until(lambda: page.shows(one.images[index]), bool)

    look_at(None)
    viewport = page.viewport(rows, columns)
    before = page.picture(viewport)
    look_at(SeriesUid(str(one.results[algorithm, "SEG"].SeriesInstanceUID)))
    names = [organ.name for organ in organs]
    assert page.until(page.segments, lambda found: found == names) == names
    at = names.index(name)
    wanted = viewport.projected(drawn.mask[index])
    after = page.until(
        lambda: page.picture(viewport),
        lambda seen: overlap(overlays(before, seen, organs)[at], wanted) >= least,
    )
    save_page(page, f"phantom_{name}")
    seen = overlays(before, after, organs)[at]
    assert overlap(seen, wanted) >= least
    for axis, step in product((0, 1), (-1, 1)):
        moved = viewport.projected(np.roll(drawn.mask[index], step, axis))
        assert overlap(seen, moved) < overlap(seen, wanted) - apart, "moved by a voxel"
    truth = viewport.projected(painted[index])
    off_mm = np.linalg.norm(middle(seen) - middle(truth)) / viewport.scale * SPACING[1]
    assert off_mm < FARTHEST_MM
    assert overlap(seen, truth) > 0.4
    for turn, mask in flipped(painted[index]).items():
        assert overlap(seen, viewport.projected(mask)) < overlap(seen, truth) - 0.1, turn


def test_every_organ_that_came_back_lies_where_it_was_painted(read: tuple[Read, ...]) -> None:
    for one in read:
        found = {o.name: o for algorithm in ALGORITHMS for o in organs_of(one, algorithm)}
        for name, organ in PAINTED.items():
            off = (middle(found[name].mask) - middle(one.case.labels == organ)) * SPACING
            assert np.linalg.norm(off) < FARTHEST_MM, name


def test_reports_give_volume_and_density_of_what_was_drawn(read: tuple[Read, ...]) -> None:
    one = read[0]
    (organ,) = organs_of(one, "pancreas")
    numbers = measured(one.results["pancreas", "SR"])
    millilitres = float(organ.mask.sum()) * one.case.grid.voxel_mm3 / 1000
    assert numbers["Volume", None] == pytest.approx(millilitres, rel=0.001)
    density = float(one.case.hu[organ.mask].mean())
    assert numbers["Attenuation Coefficient", "Mean"] == pytest.approx(density, abs=1)


def measured(report: Dataset) -> dict[tuple[str, str | None], float]:
    """Numbers of an SR by what they measure and how it was derived."""
    found: dict[tuple[str, str | None], float] = {}

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence", []):
            if child.ValueType == "NUM":
                how = [
                    str(each.ConceptCodeSequence[0].CodeMeaning)
                    for each in child.get("ContentSequence", [])
                    if each.ConceptNameCodeSequence[0].CodeMeaning == "Derivation"
                ]
                name = str(child.ConceptNameCodeSequence[0].CodeMeaning)
                value = float(child.MeasuredValueSequence[0].NumericValue)
                found[name, how[0] if how else None] = value
            walk(child)

    walk(report)
    return found


def test_sql_tells_the_volume_of_the_pancreas_over_time(site: Site, read: tuple[Read, ...]) -> None:
    rows = ask(
        site, "volume_over_time", "--param", "patient=PHANTOM-1", "--param", "finding=pancreas"
    )
    assert [row["study_date"] for row in rows] == list(DATES)
    for row, one in zip(rows, read, strict=True):
        (organ,) = organs_of(one, "pancreas")
        millilitres = float(organ.mask.sum()) * one.case.grid.voxel_mm3 / 1000
        assert row["study_uid"] == one.study
        assert row["unit"] == "ml"
        assert row["value"] == pytest.approx(millilitres, rel=0.001)
