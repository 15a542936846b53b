"""OHIF on Orthanc draws the node's results, in their colours, where the network saw them."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import numpy.typing as npt
import pytest

from dicomnode.domain.codes import (
    DIAMETER,
    LONG_AXIS,
    LUNG,
    ML,
    MM,
    RIGHT,
    SHORT_AXIS,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import (
    CaptionFinding,
    LesionFinding,
    Mark,
    Measurement,
    SegmentFinding,
)
from dicomnode.domain.results import ResultKind
from dicomnode.domain.viewer import ViewerUnavailable
from dicomnode.domain.volumes import Volume
from dicomnode.testing.modality import send_study
from dicomnode.testing.orthanc import RunningOrthanc, orthanc_program
from dicomnode.viewer.configuration import app_config
from dicomnode.viewer.release import fetch
from dicomnode.viewer.site import Content, ViewerSite
from dicomnode.viewer.upstream import Upstream
from tests.acceptance.ohif_overlays import (
    LEAST_OVERLAP,
    flipped,
    largest,
    outlines_found,
    overlap,
    overlays,
    same_color,
    telltale,
)
from tests.acceptance.ohif_pages import OhifPage, Picture, Points, Viewport, chromium_on
from tests.acceptance.viewer_cases import Case, run_on_sample, with_findings

pytestmark = pytest.mark.timeout(1200)

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dicomnode" / "ohif"
PICTURES = os.environ.get("DICOMNODE_SAVE_PICTURES")
"""A folder; set it to renew the documentation's pictures."""

Mask = npt.NDArray[np.bool_]

MOST_OVERLAP_FLIPPED = 0.85
MOST_PIXELS_OFF = 2.0


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody at the viewer, with the studies that were sent to its PACS."""

    page: OhifPage
    url: str
    pacs: RunningOrthanc | None
    radiograph: Case
    ct: Case

    def send(self, case: Case) -> Case:
        """Store a study's files in the PACS."""
        assert self.pacs is not None
        answers = send_study(
            case.files,
            host=self.pacs.host,
            port=self.pacs.dicom_port,
            called_ae=self.pacs.ae_title,
        )
        assert {answer.status for answer in answers} == {0}
        return case

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
    content = Content(
        files=ohif,
        app_config=app_config(name="Orthanc", notice=False),
        pacs=Upstream.at(f"{orthanc.url}/dicom-web"),
    )
    with ViewerSite(content) as site, chromium_on(site.url, chromium) as page:
        at_work = Reader(page=page, url=site.url, pacs=orthanc, radiograph=radiograph, ct=ct)
        for case in (radiograph, ct):
            at_work.send(case)
        yield at_work


def check_overlays(
    reader: Reader,
    case: Case,
    slices: Sequence[int],
    picture_name: str,
    kind: ResultKind = ResultKind.SEG,
) -> None:
    """Open a segmentation; on each of `slices` every organ has to be where it was seen."""
    viewport = reader.open(case)
    before = {}
    for index in slices:
        reader.go_to(case, index)
        before[index] = reader.page.picture(viewport)
    assert reader.open(case, kind) == viewport
    names = [organ.name for organ in case.organs]
    if kind is ResultKind.LABELMAP:
        names.insert(0, "Background")
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


def check_outline(reader: Reader, viewport: Viewport, organ: SegmentFinding, index: int) -> None:
    """One of the drawn outlines is this organ's largest part on this slice."""
    found = reader.page.until(
        lambda: outlines_found(reader.page.lines(), viewport, organ.mask[index]),
        lambda overlaps: max(overlaps, default=0.0) >= LEAST_OVERLAP,
    )
    assert max(found, default=0.0) >= LEAST_OVERLAP, f"{organ.name}: {found}"


def check_line(drawn: list[Points], viewport: Viewport, mark: Mark) -> None:
    """One of the lines has its ends where the mark has them."""
    off = pixels_off(drawn, viewport, mark)
    assert min(off, default=np.inf) <= MOST_PIXELS_OFF, f"{mark.measurement}: {off}"


def are_drawn(drawn: list[Points], viewport: Viewport, marks: Sequence[Mark]) -> bool:
    """True if there is a line for each mark."""
    off = [pixels_off(drawn, viewport, mark) for mark in marks]
    return all(min(each, default=np.inf) <= MOST_PIXELS_OFF for each in off)


def pixels_off(drawn: list[Points], viewport: Viewport, mark: Mark) -> list[float]:
    """How far the ends of each line are from those of the mark."""
    ends = viewport.on_screen(mark.points)
    return [float(np.abs(line - ends).max()) for line in drawn if line.shape == ends.shape]


def check_label(reader: Reader, text: str) -> None:
    """One of the labels beside what is drawn has this line."""
    labels = reader.page.until(reader.page.labels, lambda found: text in "\n".join(found))
    assert text in "\n".join(labels)


def save(reader: Reader, name: str) -> None:
    save_page(reader.page, name)


def save_page(page: OhifPage, name: str) -> None:
    """Renew a picture of the documentation, if that was asked for."""
    if PICTURES:
        page.save(Path(PICTURES) / f"ohif_{name}.png")


def test_the_segmentation_of_a_radiograph_lies_on_heart_and_lungs(reader: Reader) -> None:
    check_overlays(reader, reader.radiograph, [0], "radiograph_seg")


def test_the_segmentation_of_a_ct_lies_on_the_lungs(reader: Reader) -> None:
    organs = reader.ct.organs
    check_overlays(reader, reader.ct, [largest(organs[0]), telltale(organs)], "ct_seg")


def test_a_labelmap_lies_on_the_lungs_in_their_own_colours(reader: Reader, tmp_path: Path) -> None:
    """Its background is described too, and must not take the first lung's colour."""
    kinds = frozenset({ResultKind.LABELMAP})
    case = with_findings(reader.ct, reader.ct.findings, "labelmap", tmp_path, kinds)
    assert reader.pacs is not None
    # By C-STORE this Orthanc does not know the class.
    for path in case.files:
        request = Request(f"{reader.pacs.url}/instances", data=path.read_bytes())
        with urlopen(request, timeout=60) as answer:
            assert answer.status == 200
    check_overlays(reader, case, [largest(case.organs[0])], "ct_labelmap", ResultKind.LABELMAP)


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
        check_line(drawn, viewport, mark)
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


def nodule(volume: Volume) -> LesionFinding:
    """A box of 4 x 3 x 2 voxels with its diameter, off the middle in every direction."""
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[50:52, 20:23, 13:17] = True
    diameter = Measurement(name=DIAMETER, value=4 * volume.grid.spacing_mm[2], unit=MM)
    return LesionFinding(
        name="Nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(
            Mark(
                slice_index=51,
                points=np.array([[13.0, 21.5], [17.0, 21.5]]),
                measurement=diameter,
            ),
        ),
        measurements=(diameter, Measurement(name=VOLUME, value=1.63, unit=ML)),
        mask=mask,
    )


def test_a_nodule_is_opened_on_its_slice_with_diameter_volume_and_score(
    reader: Reader, tmp_path: Path
) -> None:
    lesion = nodule(reader.ct.volume)
    told = CaptionFinding(name="caption", text="One nodule.")
    case = reader.send(with_findings(reader.ct, (lesion, told), "nodule", tmp_path))
    viewport = reader.open(case, ResultKind.SR)
    (mark,) = lesion.marks
    image = case.images[mark.slice_index]
    assert reader.page.until(lambda: reader.page.shows(image), bool)
    check_line(reader.page.until(reader.page.lines, bool), viewport, mark)
    for text in ("Diameter: 16.69 mm", "Volume: 1.63 ml", "Score: 0.90 1"):
        check_label(reader, text)


def nodes(volume: Volume) -> tuple[LesionFinding, LesionFinding]:
    """Two lymph nodes with both axes, one of them slanted; only the first has a mask."""
    slanted = np.array([[20.0, 30.0], [28.0, 36.0]]), np.array([[22.5, 35.0], [25.5, 31.0]])
    upright = np.array([[40.5, 18.0], [40.5, 25.0]]), np.array([[38.0, 21.5], [43.0, 21.5]])
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[29:32, 30:36, 20:28] = True
    return (
        two_axes("Lymph node 1", volume, 30, slanted, mask),
        two_axes("Lymph node 2", volume, 12, upright, None),
    )


def two_axes(
    name: str, volume: Volume, index: int, axes: Sequence[Points], mask: Mask | None
) -> LesionFinding:
    pixel = np.array(volume.grid.spacing_mm)[[2, 1]]
    marks = tuple(
        Mark(
            slice_index=index,
            points=points,
            measurement=Measurement(
                name=axis, value=float(np.linalg.norm((points[1] - points[0]) * pixel)), unit=MM
            ),
        )
        for axis, points in zip((LONG_AXIS, SHORT_AXIS), axes, strict=True)
    )
    return LesionFinding(
        name=name,
        type=Code("30746006", "SCT", "Lymph node structure"),
        site=Code("72410000", "SCT", "Mediastinum"),
        laterality=None,
        score=0.8,
        marks=marks,
        measurements=tuple(mark.measurement for mark in marks if mark.measurement),
        mask=mask,
    )


def test_both_axes_of_each_lesion_are_drawn_on_its_slice(reader: Reader, tmp_path: Path) -> None:
    found = nodes(reader.ct.volume)
    case = reader.send(with_findings(reader.ct, found, "nodes", tmp_path))
    viewport = reader.open(case, ResultKind.SR)
    for lesion in found:
        reader.go_to(case, lesion.marks[0].slice_index)
        # Lines of the slice before may still be there.
        drawn = reader.page.until(
            reader.page.lines, partial(are_drawn, viewport=viewport, marks=lesion.marks)
        )
        for mark in lesion.marks:
            check_line(drawn, viewport, mark)
            assert mark.measurement is not None
            # OHIF shortens these two names, and no others.
            letter = "L" if mark.measurement.name == LONG_AXIS else "W"
            check_label(reader, f"{letter}: : {mark.measurement.value:.2f} mm")
        if lesion is found[0]:
            save(reader, "ct_lesion")


def test_a_report_without_a_finding_opens_on_an_image_with_a_frame_around_it(
    reader: Reader, tmp_path: Path
) -> None:
    case = reader.send(with_findings(reader.ct, (), "nothing", tmp_path))
    viewport = reader.open(case, ResultKind.SR)
    middle = len(case.images) // 2
    assert reader.page.until(lambda: reader.page.shows(case.images[middle]), bool)
    # Two points: the line that leads to the label.
    (frame,) = (line for line in reader.page.until(reader.page.lines, bool) if len(line) > 2)
    rows, columns = case.shape
    corners = viewport.on_screen(np.array([[0.5, 0.5], [columns - 0.5, rows - 0.5]]))
    drawn = np.array([frame.min(axis=0), frame.max(axis=0)])
    assert np.abs(drawn - corners).max() <= MOST_PIXELS_OFF
