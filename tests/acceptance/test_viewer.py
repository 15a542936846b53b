"""OHIF on Orthanc draws the node's results, in their colours, where the network saw them."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
import pytest
from skimage.draw import polygon2mask

from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.results import ResultKind
from dicomnode.domain.viewer import ViewerUnavailable
from dicomnode.testing.modality import send_study
from dicomnode.testing.orthanc import RunningOrthanc, orthanc_program
from dicomnode.viewer.configuration import app_config
from dicomnode.viewer.release import fetch
from dicomnode.viewer.site import Content, ViewerSite
from dicomnode.viewer.upstream import Upstream
from tests.acceptance.ohif_pages import OhifPage, Picture, Points, Viewport, chromium_on
from tests.acceptance.viewer_cases import Case, run_on_sample

pytestmark = pytest.mark.timeout(1200)

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dicomnode" / "ohif"
PICTURES = os.environ.get("DICOMNODE_SAVE_PICTURES")
"""A folder; set it to renew the documentation's pictures."""

LEAST_OVERLAP = 0.97
MOST_OVERLAP_FLIPPED = 0.85
MOST_PIXELS_OFF = 2.0
LEAST_COLORFULNESS = 12
"""Largest minus smallest of R, G, B. The images are grey."""

Seen = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody at the viewer, with the studies that were sent to its PACS."""

    page: OhifPage
    url: str
    radiograph: Case
    ct: Case

    def open(self, case: Case, kind: ResultKind | None = None) -> Viewport:
        """Open the study of `case`, with its SEG or SR."""
        self.page.open(case.study, case.series[kind] if kind else None)
        return self.page.viewport(*case.shape)

    def go_to(self, case: Case, index: int) -> None:
        """Show one slice."""
        image = case.images[index]
        self.page.go_to(image)
        assert self.page.until(lambda: self.page.shows(image), bool)


@pytest.fixture(scope="module")
def chromium() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    return program


@pytest.fixture(scope="module")
def ohif() -> Path:
    try:
        return fetch(CACHE)
    except ViewerUnavailable as exc:
        pytest.skip(f"OHIF is not installed: {exc}")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningOrthanc]:
    if orthanc_program() is None or not DICOMWEB_PLUGIN.exists():
        pytest.skip("Orthanc or its DICOMweb plug-in is not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    with RunningOrthanc(folder, extra={"Plugins": [str(DICOMWEB_PLUGIN)]}) as running:
        yield running


@pytest.fixture(scope="module")
def reader(
    chromium: str, ohif: Path, orthanc: RunningOrthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    out = tmp_path_factory.mktemp("results")
    radiograph = run_on_sample("cxr_heart_lung", "chest_radiograph", out / "radiograph")
    ct = run_on_sample("lung_ct", "chest_ct", out / "ct")
    for case in (radiograph, ct):
        answers = send_study(
            case.files, host=orthanc.host, port=orthanc.dicom_port, called_ae=orthanc.ae_title
        )
        assert {answer.status for answer in answers} == {0}
    content = Content(
        files=ohif,
        app_config=app_config(name="Orthanc", notice=False),
        pacs=Upstream.at(f"{orthanc.url}/dicom-web"),
    )
    with ViewerSite(content) as site, chromium_on(site.url, chromium) as page:
        yield Reader(page=page, url=site.url, radiograph=radiograph, ct=ct)


def colorfulness(picture: Picture) -> npt.NDArray[np.int16]:
    channels = picture.astype(np.int16)
    return np.asarray(channels.max(axis=-1) - channels.min(axis=-1))


def overlays(before: Picture, after: Picture, organs: tuple[SegmentFinding, ...]) -> list[Seen]:
    """Which pixels turned from grey to the hue of which organ.

    A colour laid over grey keeps its direction once the grey part of it is taken away.
    """
    painted = colorfulness(after) - colorfulness(before) >= LEAST_COLORFULNESS
    hues = after.astype(np.float64) - after.min(axis=-1, keepdims=True)
    wanted = np.array([organ.color for organ in organs], dtype=np.float64)
    wanted -= wanted.min(axis=1, keepdims=True)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    nearest = (hues @ wanted.T).argmax(axis=-1)
    return [painted & (nearest == number) for number in range(len(organs))]


def overlap(one: Seen, other: Seen) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def flipped(mask: Seen) -> Mapping[str, Seen]:
    return {"left-right": mask[:, ::-1], "up-down": mask[::-1], "both": mask[::-1, ::-1]}


def same_color(picture: Picture, color: tuple[int, int, int]) -> Seen:
    """Display colours go through CIELab in 16 bits and back; that costs a level or two."""
    return np.asarray(np.abs(picture.astype(np.int16) - color).max(axis=-1) <= 4)


def check_overlays(reader: Reader, case: Case, slices: Sequence[int], picture_name: str) -> None:
    """Open a segmentation; on each of `slices` every organ has to be where it was seen."""
    viewport = reader.open(case)
    before = {}
    for index in slices:
        reader.go_to(case, index)
        before[index] = reader.page.picture(viewport)
    assert reader.open(case, ResultKind.SEG) == viewport
    names = [organ.name for organ in case.organs]
    assert reader.page.until(reader.page.segments, lambda found: found == names) == names
    for index in slices:
        reader.go_to(case, index)
        check_overlay(reader, case, index, viewport, before[index])
        if index == slices[0]:
            save(reader, picture_name)


def check_overlay(
    reader: Reader, case: Case, index: int, viewport: Viewport, before: Picture
) -> None:
    expected = [viewport.projected(organ.mask[index]) for organ in case.organs]

    def overlaps(picture: Picture) -> list[float]:
        return list(map(overlap, overlays(before, picture, case.organs), expected))

    after = reader.page.until(
        lambda: reader.page.picture(viewport),
        lambda picture: min(overlaps(picture)) >= LEAST_OVERLAP,
    )
    assert min(overlaps(after)) >= LEAST_OVERLAP, overlaps(after)
    for organ, seen in zip(case.organs, overlays(before, after, case.organs), strict=True):
        for turn, mask in flipped(organ.mask[index]).items():
            assert overlap(seen, viewport.projected(mask)) < MOST_OVERLAP_FLIPPED, (
                f"{organ.name} may as well be flipped {turn}"
            )
        # Segments have a rim in their plain colour.
        assert (same_color(after, organ.color) & seen).sum() > 50, f"{organ.name}: another colour"


def telltale(organs: tuple[SegmentFinding, ...]) -> int:
    """The slice on which every organ is least like on the next ones, and still not small."""
    alike = {}
    for index in range(1, len(organs[0].mask) - 1):
        if all(organ.mask[index].sum() >= 150 for organ in organs):
            alike[index] = max(
                overlap(organ.mask[index], organ.mask[index + step])
                for organ in organs
                for step in (-1, 1)
            )
    index = min(alike, key=alike.__getitem__)
    assert alike[index] < LEAST_OVERLAP - 0.05, "a shift by a slice would go unnoticed"
    return index


def outlines_found(lines: list[Points], viewport: Viewport, mask: Seen) -> list[float]:
    """How well each closed outline on the screen encloses a mask (row, column)."""
    shape = (round(viewport.height), round(viewport.width))
    wanted = viewport.projected(mask)
    closed = [line for line in lines if len(line) > 2]
    # skimage has no types.
    enclosed: Callable[..., Seen] = polygon2mask
    return [overlap(enclosed(shape, line[:, ::-1]), wanted) for line in closed]


def check_outline(reader: Reader, viewport: Viewport, organ: SegmentFinding, index: int) -> None:
    """One of the drawn outlines is this organ's largest part on this slice."""
    found = reader.page.until(
        lambda: outlines_found(reader.page.lines(), viewport, organ.mask[index]),
        lambda overlaps: max(overlaps, default=0.0) >= LEAST_OVERLAP,
    )
    assert max(found, default=0.0) >= LEAST_OVERLAP, f"{organ.name}: {found}"


def check_label(reader: Reader, text: str) -> None:
    """One of the labels beside what is drawn has this line."""
    labels = reader.page.until(reader.page.labels, lambda found: text in "\n".join(found))
    assert text in "\n".join(labels)


def save(reader: Reader, name: str) -> None:
    if PICTURES:
        reader.page.save(Path(PICTURES) / f"ohif_{name}.png")


def largest(organ: SegmentFinding) -> int:
    return int(organ.mask.sum(axis=(1, 2)).argmax())


def test_the_segmentation_of_a_radiograph_lies_on_heart_and_lungs(reader: Reader) -> None:
    check_overlays(reader, reader.radiograph, [0], "radiograph_seg")


def test_the_segmentation_of_a_ct_lies_on_the_lungs(reader: Reader) -> None:
    organs = reader.ct.organs
    check_overlays(reader, reader.ct, [largest(organs[0]), telltale(organs)], "ct_seg")


def test_both_lines_of_a_cardiothoracic_ratio_are_drawn_with_their_numbers(
    reader: Reader,
) -> None:
    case = reader.radiograph
    viewport = reader.open(case, ResultKind.SR)
    (ratio,) = case.measured
    drawn = reader.page.until(reader.page.lines, lambda lines: len(lines) >= 5)
    save(reader, "radiograph_sr")
    assert len(ratio.marks) == 2
    for mark in ratio.marks:
        ends = viewport.on_screen(mark.points)
        off = [np.abs(line - ends).max() for line in drawn if line.shape == ends.shape]
        assert min(off, default=np.inf) <= MOST_PIXELS_OFF, f"{mark.measurement}: {off}"
    for number in ratio.measurements:
        check_label(reader, f"{number.name.meaning}: {number.value:.2f} {number.unit.value}")
    listed = reader.page.listed_series()
    assert sum(text.startswith("SR") for text in listed) == 1


def test_the_report_on_a_radiograph_outlines_each_organ_with_its_area(reader: Reader) -> None:
    case = reader.radiograph
    viewport = reader.open(case, ResultKind.SR)
    for organ in case.organs:
        check_outline(reader, viewport, organ, 0)
        (area,) = organ.measurements
        check_label(reader, f"Area: {area.value:.2f} {area.unit.value}")


def test_the_report_on_a_ct_opens_at_its_first_finding_and_outlines_each_lung(
    reader: Reader,
) -> None:
    case = reader.ct
    viewport = reader.open(case, ResultKind.SR)
    first = case.images[largest(case.organs[0])]
    assert reader.page.until(lambda: reader.page.shows(first), bool)
    for organ in case.organs:
        index = largest(organ)
        reader.go_to(case, index)
        check_outline(reader, viewport, organ, index)
        volume = organ.measurements[0]
        check_label(reader, f"Volume: {volume.value:.2f} ml")
        if organ is case.organs[0]:
            save(reader, "ct_sr")


def test_links_of_the_pacs_lead_through_the_site(reader: Reader) -> None:
    """Else the browser would ask the PACS itself, on another origin, and get nothing."""
    case = reader.ct
    path = f"/dicom-web/studies/{case.study}/series/{case.series[ResultKind.SEG]}/metadata"
    with urlopen(reader.url + path, timeout=60) as answer:
        (seg,) = json.load(answer)
    link = seg["7FE00010"]["BulkDataURI"]
    assert link.startswith(f"{reader.url}/dicom-web/studies/")
    with urlopen(link, timeout=60) as answer:
        assert answer.status == 200
