"""Images in, results back: an Orthanc that forwards by its plug-in, and the node, both as they are.

The algorithms that segment read their sample studies and send every form there is.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.deliver.negotiate import accepts
from dicomnode.domain.identifiers import SeriesUid, StudyUid
from dicomnode.domain.sop_classes import LABELMAP_SEGMENTATION
from dicomnode.store.story import Story
from dicomnode.testing.modality import send_study
from dicomnode.testing.orthanc import (
    MODALITY_NAME,
    PYTHON_PLUGIN,
    RunningOrthanc,
    orthanc_program,
)
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.viewer.configuration import app_config
from dicomnode.viewer.site import Content, ViewerSite
from dicomnode.viewer.upstream import Upstream
from tests.acceptance.ohif_pages import chromium_on
from tests.acceptance.running_node import AE_TITLE, DESTINATION, NodeUnderTest, eventually
from tests.acceptance.test_viewer import DICOMWEB_PLUGIN, chromium, ohif
from tests.acceptance.viewer_cases import SAMPLES

__all__ = ["chromium", "ohif"]  # fixtures

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.slow,
    pytest.mark.skipif(
        not (orthanc_program() and PYTHON_PLUGIN.exists() and DICOMWEB_PLUGIN.exists()),
        reason="Orthanc or one of its plug-ins is not installed",
    ),
]

PLUGIN = Path(__file__).parents[2] / "orthanc_plugins" / "dicomnode_forward.py"
RULES = """\
[[rule]]
name = "radiographs"
algorithm = "cxr_heart_lung"
[rule.series.image]
Modality = "DX"

[[rule]]
name = "chest CT"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""
FORMS = """\
send = ["SEG", "SR", "SC", "GSPS", "KOS"]
segmentation = "labelmap"
"""
STUDIES = {"cxr_heart_lung": "chest_radiograph", "lung_ct": "chest_ct"}
PATIENCE_S = 400.0

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Site:
    """A PACS, and a node that reads what is stored there."""

    pacs: RunningOrthanc
    node: NodeUnderTest

    def send(self, algorithm: str) -> StudyUid:
        """Store the sample study of an algorithm in the PACS; nothing else is done by hand."""
        files = sorted((SAMPLES / STUDIES[algorithm]).glob("*.dcm"))
        answers = send_study(
            files,
            host=self.pacs.host,
            port=self.pacs.dicom_port,
            called_ae=self.pacs.ae_title,
        )
        assert {answer.status for answer in answers} == {0}
        return StudyUid(str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID))

    def done(self, study: StudyUid) -> Story:
        """The study's story once everything that is to be sent has been confirmed."""

        def look() -> Story | None:
            told = self.node.story(study)
            if told is None or not told.jobs or not told.jobs[-1].deliveries:
                return None
            states = {one.state for one in told.jobs[-1].deliveries}
            return told if states <= {"confirmed", "dismissed"} else None

        return eventually(look, what=f"results of {study}: {self.node.log}", timeout_s=PATIENCE_S)

    def held(self, study: StudyUid) -> dict[str, Dataset]:
        """What the PACS holds of ours, by modality."""
        found: dict[str, Dataset] = {}
        for known in cast("list[dict[str, Any]]", self.pacs.get("/series?expand")):
            instance = known["Instances"][0]
            if known["MainDicomTags"]["Modality"] in {"SEG", "SR", "OT", "PR", "KO"}:
                with urlopen(f"{self.pacs.url}/instances/{instance}/file", timeout=60) as answer:
                    ds = dcmread(io.BytesIO(answer.read()))
                if ds.StudyInstanceUID == study:
                    found[str(ds.Modality)] = ds
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    node = NodeUnderTest(folder=folder / "node")
    pacs = RunningOrthanc(
        folder / "orthanc",
        modality=ReportTo(ae_title=AE_TITLE, host="127.0.0.1", port=node.port),
        extra={
            "Plugins": [str(PYTHON_PLUGIN), str(DICOMWEB_PLUGIN)],
            "PythonScript": str(PLUGIN),
            "StableAge": 1,
            "DicomNode": {"Modality": MODALITY_NAME, "FirstRetrySeconds": 0.2},
        },
    )
    destination = DESTINATION.format(
        name="archive", ae_title=pacs.ae_title, port=pacs.dicom_port, confirm="read-back"
    )
    node.prepare([destination + FORMS])
    (node.folder / "rules.toml").write_text(RULES, encoding="utf-8")
    with pacs, node:
        yield Site(pacs=pacs, node=node)


@pytest.fixture(scope="module", params=sorted(STUDIES))
def case(request: pytest.FixtureRequest, site: Site) -> tuple[Story, dict[str, Dataset]]:
    study = site.send(request.param)
    told = site.done(study)
    assert told.jobs[-1].algorithm == request.param
    return told, site.held(study)


def masks(seg: Dataset) -> dict[str, Mask]:
    """SOPInstanceUID of the image -> what any segment marks on it."""
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns).astype(bool)
    marked: dict[str, Mask] = {}
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        uid = str(source.ReferencedSOPInstanceUID)
        marked[uid] = marked.get(uid, np.zeros(frame.shape, dtype=bool)) | frame
    return marked


def test_every_form_comes_back_and_is_proven_and_nothing_is_read_again(
    case: tuple[Story, dict[str, Dataset]], site: Site
) -> None:
    told, held = case
    assert set(held) == {"SEG", "SR", "OT", "PR", "KO"}
    assert len(told.jobs) == 1
    sent = {one.kind: one.state for one in told.jobs[0].deliveries}
    assert {kind for kind, state in sent.items() if state == "confirmed"} == {
        "SEG",
        "SR",
        "SC",
        "PR",
        "KO",
    }


def test_an_orthanc_that_knows_no_labelmap_gets_binary_and_it_is_told(
    case: tuple[Story, dict[str, Dataset]], site: Site
) -> None:
    told, held = case
    (destination,) = site.node.settings.destinations
    assert not accepts(LABELMAP_SEGMENTATION, destination, own_ae=AE_TITLE)
    assert held["SEG"].SegmentationType == "BINARY"
    (fell_back,) = (event for event in told.events if event.name == "delivery.fell-back")
    assert fell_back.facts["destination"] == "archive"


def test_the_capture_in_the_pacs_is_coloured_where_the_segmentation_in_the_pacs_is(
    case: tuple[Story, dict[str, Dataset]],
) -> None:
    _, held = case
    capture, marked = held["OT"], masks(held["SEG"])
    rows, columns = int(held["SEG"].Rows), int(held["SEG"].Columns)
    frames = capture.pixel_array.reshape(-1, capture.Rows, capture.Columns, 3).astype(int)
    for frame, source in zip(frames, capture.SourceImageSequence, strict=True):
        image = frame[:rows, :columns]
        colored = image.max(axis=-1) - image.min(axis=-1) > 2
        mask = marked[str(source.ReferencedSOPInstanceUID)]
        assert colored[mask].all()
        # The rest are the two lines of a radiograph.
        assert (colored & ~mask).sum() < 0.01 * mask.size
        assert (colored & mask[:, ::-1]).sum() < 0.95 * mask.sum()


def test_the_key_objects_and_the_presentation_state_refer_to_images_that_are_there(
    case: tuple[Story, dict[str, Dataset]], site: Site
) -> None:
    _, held = case
    there = site.pacs.instance_uids()
    flagged = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in held["KO"].ContentSequence
        if item.ValueType == "IMAGE"
    }
    drawn = {
        str(image.ReferencedSOPInstanceUID)
        for series in held["PR"].ReferencedSeriesSequence
        for image in series.ReferencedImageSequence
    }
    assert flagged
    assert flagged <= drawn <= there
    marked = masks(held["SEG"])
    assert all(marked[uid].any() for uid in flagged)


def test_the_viewer_opens_what_was_routed(
    case: tuple[Story, dict[str, Dataset]],
    site: Site,
    chromium: str,
    ohif: Path,
) -> None:
    _, held = case
    seg = held["SEG"]
    content = Content(
        files=ohif,
        app_config=app_config(name="Orthanc", notice=False),
        pacs=Upstream.at(f"{site.pacs.url}/dicom-web"),
    )
    with ViewerSite(content) as viewer, chromium_on(viewer.url, chromium) as page:
        page.open(StudyUid(seg.StudyInstanceUID), SeriesUid(seg.SeriesInstanceUID))
        names = [str(item.SegmentLabel) for item in seg.SegmentSequence]
        assert page.until(page.segments, lambda found: found == names) == names
        listed = "\n".join(page.listed_series())
        assert f"{held['OT'].SeriesDescription}" in listed
