"""An SEG that came back is compared with ours voxel by voxel, however it was written."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.judgements import SegmentComparison
from dicomnode.domain.results import ResultKind
from dicomnode.encode.comparison import compare_segmentations
from dicomnode.testing.findings import heart_with_ratio, random_segments
from dicomnode.testing.studies import StudyIdentity, radiograph
from dicomnode.testing.volumes import written_volume
from tests.unit.test_encode_gate import ct_volume, encode

Mask = npt.NDArray[np.bool_]


@pytest.fixture
def findings(tmp_path: Path) -> tuple[SegmentFinding, ...]:
    return random_segments(ct_volume(tmp_path / "images"), seed=5)


@pytest.fixture
def ours(tmp_path: Path, findings: tuple[SegmentFinding, ...]) -> Path:
    volume = ct_volume(tmp_path / "images")
    return encode(findings, volume, tmp_path / "ours")[ResultKind.SEG]


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / "theirs.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def rewritten(
    ours: Path, images: Path, masks: Sequence[Mask], kind: SegmentationTypeValues, folder: Path
) -> Path:
    """As another program writes it: every frame, numbers of its own, no tracking UID of ours."""
    first = dcmread(ours)
    described = []
    for number, item in enumerate(first.SegmentSequence, start=1):
        copied = deepcopy(item)
        copied.SegmentNumber = number
        del copied.TrackingUID
        del copied.TrackingID
        described.append(SegmentDescription.from_dataset(copied))
    sources = sorted(
        (dcmread(path) for path in images.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2]
    )
    values = np.stack(masks, axis=-1)
    if kind is SegmentationTypeValues.LABELMAP:
        pixels = (values * np.arange(1, len(masks) + 1)).sum(axis=-1).astype(np.uint8)
    elif kind is SegmentationTypeValues.FRACTIONAL:
        pixels = values.astype(np.float32)
    else:
        pixels = values.astype(np.uint8)
    return saved(
        Segmentation(
            source_images=sources,
            pixel_array=pixels,
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid="1.2.3.1",
            series_number=1,
            sop_instance_uid="1.2.3.1.1",
            instance_number=1,
            manufacturer="Viewer Works",
            manufacturer_model_name="Viewer",
            software_versions="1",
            device_serial_number="1",
            omit_empty_frames=False,
        ),
        folder,
    )


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def by_name(found: Sequence[SegmentComparison]) -> dict[str, SegmentComparison]:
    return {one.name: one for one in found}


def test_what_came_back_unchanged_is_the_same(ours: Path) -> None:
    for one in compare_segmentations(ours, ours):
        assert one.dice == 1.0
        assert one.ours_voxels == one.theirs_voxels > 0
        assert one.ours_ml == one.theirs_ml


@pytest.mark.parametrize("kind", list(SegmentationTypeValues), ids=lambda kind: kind.value)
def test_what_another_program_wrote_is_compared_voxel_by_voxel(
    ours: Path,
    findings: tuple[SegmentFinding, ...],
    tmp_path: Path,
    kind: SegmentationTypeValues,
) -> None:
    volume = ct_volume(tmp_path / "images")
    masks = [np.array(one.mask) for one in findings]
    masks[0][:2] = False
    theirs = rewritten(ours, tmp_path / "images", masks, kind, tmp_path)
    found = by_name(compare_segmentations(ours, theirs))
    for finding, mask in zip(findings, masks, strict=True):
        one = found[finding.name]
        assert one.dice == pytest.approx(dice(finding.mask, mask))
        assert (one.ours_voxels, one.theirs_voxels) == (finding.mask.sum(), mask.sum())
        assert one.ours_ml == pytest.approx(one.ours_voxels * volume.grid.voxel_mm3 / 1000)


def test_segments_that_only_one_side_has_are_told(ours: Path, tmp_path: Path) -> None:
    ds = dcmread(ours)
    ds.SegmentSequence[1].SegmentLabel = "drawn anew"
    del ds.SegmentSequence[1].TrackingUID
    found = by_name(compare_segmentations(ours, saved(ds, tmp_path)))
    assert found["part 1"].dice == 1.0
    assert (found["part 2"].theirs_voxels, found["part 2"].dice) == (0, 0.0)
    assert (found["drawn anew"].ours_voxels, found["drawn anew"].dice) == (0, 0.0)
    assert found["drawn anew"].theirs_voxels == found["part 2"].ours_voxels


def test_a_radiograph_has_an_overlap_and_no_volume(tmp_path: Path) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="back"))], tmp_path)
    ours = encode(heart_with_ratio(volume), volume, tmp_path / "ours")[ResultKind.SEG]
    (one,) = compare_segmentations(ours, ours)
    assert (one.dice, one.ours_ml, one.theirs_ml) == (1.0, None, None)


def test_other_grids_and_turned_frames_are_refused(ours: Path, tmp_path: Path) -> None:
    smaller = dcmread(ours)
    smaller.Rows -= 1
    with pytest.raises(EncodeError, match="another pixel grid"):
        compare_segmentations(ours, saved(smaller, tmp_path))
    turned = dcmread(ours)
    shared = turned.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    with pytest.raises(EncodeError, match="turned or shifted"):
        compare_segmentations(ours, saved(turned, tmp_path))


@pytest.mark.parametrize("keyword", ["SegmentSequence", "NumberOfFrames", "PixelData"])
def test_what_cannot_be_read_is_refused_in_words(ours: Path, tmp_path: Path, keyword: str) -> None:
    ds = dcmread(ours)
    delattr(ds, keyword)
    with pytest.raises(EncodeError, match="cannot be read"):
        compare_segmentations(ours, saved(ds, tmp_path))
