"""A LABELMAP is the masks, in the source's place, or it is not made or not sent."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import ResultKind
from dicomnode.domain.sop_classes import LABELMAP_SEGMENTATION
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.encode.gate import check_segmentation
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, heart_with_ratio, lungs
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="labelmap",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
    software_versions=("dicomnode 0.1.0",),
)
BOTH = frozenset({ResultKind.LABELMAP, ResultKind.LABELMAP_REPORT})


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    folder = tmp_path / "ct"
    folder.mkdir()
    images = ct_series(StudyIdentity(seed="labelmap"), SeriesGeometry(slices=6))
    return written_volume(images, folder)


def made(
    findings: tuple[Finding, ...],
    volume: Volume,
    out: Path,
    derivation: Derivation = DERIVATION,
) -> dict[ResultKind, Path]:
    return {
        each.kind: each.path
        for each in encode_results(
            findings,
            volume,
            identity=PHANTOM_ALGORITHM,
            derivation=derivation,
            out=out,
            settings=OutputSettings(),
            kinds=BOTH,
        )
    }


def test_its_pixels_are_the_numbers_of_the_segments(ct: Volume, tmp_path: Path) -> None:
    right, left = lungs(ct)
    path = made((right, left), ct, tmp_path)[ResultKind.LABELMAP]
    seg = segread(path)
    assert (seg.SOPClassUID, seg.SegmentationType) == (LABELMAP_SEGMENTATION, "LABELMAP")
    expected = np.where(right.mask, 1, np.where(left.mask, 2, 0))
    uids = [frame.sop_instance_uid for frame in ct.frames]
    decoded = seg.get_pixels_by_source_instance(uids, combine_segments=True, relabel=False)
    assert np.array_equal(decoded, expected)


def test_the_background_is_described_but_not_first(ct: Volume, tmp_path: Path) -> None:
    """OHIF 3.13 takes the n-th item for segment n."""
    seg = dcmread(made(lungs(ct), ct, tmp_path)[ResultKind.LABELMAP])
    assert [item.SegmentNumber for item in seg.SegmentSequence] == [1, 2, 0]
    assert seg.PixelPaddingValue == 0
    assert seg.SeriesDescription == "Phantom chest SEG, series 1"


def test_its_report_refers_to_it_and_the_other_to_the_seg(ct: Volume, tmp_path: Path) -> None:
    results = made(lungs(ct), ct, tmp_path)
    for report, segmentation in (
        (ResultKind.SR, ResultKind.SEG),
        (ResultKind.LABELMAP_REPORT, ResultKind.LABELMAP),
    ):
        uid = dcmread(results[segmentation]).SOPInstanceUID
        text = str(dcmread(results[report]))
        others = {ResultKind.SEG, ResultKind.LABELMAP} - {segmentation}
        assert uid in text
        assert all(dcmread(results[other]).SOPInstanceUID not in text for other in others)


def test_its_report_names_its_own_kind_of_predecessor(ct: Volume, tmp_path: Path) -> None:
    def earlier(kind: ResultKind) -> Predecessor:
        return Predecessor(
            study_uid=StudyUid("1.2.3"),
            series_uid=SeriesUid("1.2.3.4"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=InstanceUid(f"1.2.{len(kind.value)}"),
            kind=kind,
        )

    second = replace(
        DERIVATION,
        revision=2,
        predecessors=(earlier(ResultKind.SR), earlier(ResultKind.LABELMAP_REPORT)),
    )
    results = made(lungs(ct), ct, tmp_path, second)
    for kind, uid in ((ResultKind.SR, "1.2.2"), (ResultKind.LABELMAP_REPORT, "1.2.3")):
        (study,) = dcmread(results[kind]).PredecessorDocumentsSequence
        (image,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert image.ReferencedSOPInstanceUID == uid


def test_overlapping_segments_make_none(ct: Volume, tmp_path: Path) -> None:
    right, left = lungs(ct)
    both = replace(left, mask=left.mask | right.mask)
    assert set(made((right, both), ct, tmp_path)) == {ResultKind.SEG, ResultKind.SR}


def test_a_radiograph_has_one_too(tmp_path: Path) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="labelmap dx"))], tmp_path)
    seg = dcmread(made(heart_with_ratio(volume), volume, tmp_path / "o")[ResultKind.LABELMAP])
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]


def test_a_rerun_gives_the_same_bytes(ct: Volume, tmp_path: Path) -> None:
    first, second = (made(lungs(ct), ct, tmp_path / name) for name in ("first", "second"))
    for kind in BOTH:
        assert first[kind].read_bytes() == second[kind].read_bytes()


def flipped(seg: Dataset) -> None:
    pixels = np.frombuffer(seg.PixelData, np.uint8).reshape(-1, seg.Rows, seg.Columns)
    seg.PixelData = np.ascontiguousarray(pixels[:, :, ::-1]).tobytes()


def exchanged(seg: Dataset) -> None:
    pixels = np.frombuffer(seg.PixelData, np.uint8)
    seg.PixelData = np.array([0, 2, 1], np.uint8)[pixels].tobytes()


def of_an_unknown_segment(seg: Dataset) -> None:
    seg.PixelData = b"\x07" + seg.PixelData[1:]


def lifted(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = map(float, position.ImagePositionPatient)
        position.ImagePositionPatient = [x, y, z + 3]


@pytest.mark.parametrize("fault", [flipped, exchanged, of_an_unknown_segment, lifted])
def test_one_that_lies_elsewhere_is_refused(
    ct: Volume, tmp_path: Path, fault: Callable[[Dataset], None]
) -> None:
    path = made(lungs(ct), ct, tmp_path)[ResultKind.LABELMAP]
    check_segmentation(path, lungs(ct), ct)
    seg = dcmread(path)
    fault(seg)
    seg.save_as(path)
    with pytest.raises(GeometryMismatch):
        check_segmentation(path, lungs(ct), ct)
