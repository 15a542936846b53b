"""The gate lets through what lies right and stops everything else."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import Finding
from dicomnode.domain.identifiers import InstanceUid, derived_uid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.volumes import SourceFrame, Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.gate import check_segmentation
from dicomnode.encode.report_gate import check_report
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import (
    PHANTOM_ALGORITHM,
    heart_with_ratio,
    lungs,
    random_segments,
)
from dicomnode.testing.studies import (
    SeriesGeometry,
    StudyIdentity,
    ct_series,
    forty_eight_orientations,
    radiograph,
)
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="job",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
    software_versions=("dicomnode test",),
)
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
SMALL = SeriesGeometry(rows=7, columns=10, slices=5, spacing_mm=(3.0, 1.5, 0.8))


def encode(findings: tuple[Finding, ...], volume: Volume, out: Path) -> dict[ResultKind, Path]:
    encoded: tuple[EncodedObject, ...] = encode_results(
        findings,
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=DERIVATION,
        out=out,
        settings=OutputSettings(),
    )
    return {each.kind: each.path for each in encoded}


def ct_volume(folder: Path, geometry: SeriesGeometry = SMALL, *, reverse: bool = False) -> Volume:
    folder.mkdir(parents=True, exist_ok=True)
    images = ct_series(StudyIdentity(seed="gate"), geometry)
    return written_volume(images[::-1] if reverse else images, folder)


def test_masks_in_all_48_orientations_and_both_file_orders_pass(tmp_path: Path) -> None:
    for number, (orientation, reverse) in enumerate(forty_eight_orientations()):
        geometry = replace(SMALL, rows=4, columns=6, slices=3, orientation=orientation)
        folder = tmp_path / str(number)
        volume = ct_volume(folder, geometry, reverse=reverse)
        findings = random_segments(volume, seed=number, count=1)
        written = dcmread(encode(findings, volume, folder)[ResultKind.SEG])
        assert_voxels_lie_where_the_masks_do(written, findings, volume)


def test_only_images_that_a_frame_refers_to_are_read_again(tmp_path: Path) -> None:
    volume = ct_volume(tmp_path)
    (finding,) = random_segments(volume, seed=0, count=1)
    mask = np.zeros(volume.grid.shape, bool)
    mask[2, 1:4, 2:5] = True
    findings = (replace(finding, mask=mask),)
    written = encode(findings, volume, tmp_path)[ResultKind.SEG]
    for index in (0, 1, 3, 4):
        volume.frames[index].path.unlink()
    check_segmentation(written, findings, volume)
    volume.frames[2].path.unlink()
    with pytest.raises(FileNotFoundError):
        check_segmentation(written, findings, volume)


@pytest.mark.parametrize("reverse", [False, True])
def test_an_oblique_series_passes(tmp_path: Path, reverse: bool) -> None:
    volume = ct_volume(tmp_path, replace(SMALL, orientation=OBLIQUE), reverse=reverse)
    findings = random_segments(volume, seed=1)
    written = dcmread(encode(findings, volume, tmp_path)[ResultKind.SEG])
    assert_voxels_lie_where_the_masks_do(written, findings, volume)


def assert_voxels_lie_where_the_masks_do(
    seg: Dataset, findings: tuple[Finding, ...], volume: Volume
) -> None:
    """Patient coordinates of every voxel of the file, point by point, without the gate."""
    orientation = np.array(
        seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient,
        dtype=float,
    )
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    found: dict[int, list[np.ndarray]] = {}
    for pixels, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        segment = group.get("SegmentIdentificationSequence")
        number = segment[0].ReferencedSegmentNumber if segment else 1
        for row, column in zip(*np.nonzero(pixels), strict=True):
            across = orientation[:3] * column * spacing[1]
            found.setdefault(number, []).append(
                corner + across + orientation[3:] * row * spacing[0]
            )
    for number, finding in enumerate(findings, start=1):
        mask = getattr(finding, "mask")  # noqa: B009
        voxels = np.stack([*np.nonzero(mask), np.ones(mask.sum())])
        expected = (volume.grid.affine_lps_mm @ voxels)[:3].T
        assert sorted(np.round(expected, 3).tolist()) == sorted(
            np.round(np.array(found[number]), 3).tolist()
        )


def test_slices_a_little_uneven_pass(tmp_path: Path) -> None:
    images = ct_series(StudyIdentity(seed="uneven"), SMALL)
    for ds, lift in zip(images, (0.0, 0.1, -0.1, 0.05, 0.0), strict=True):
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + lift]
    volume = written_volume(images, tmp_path)
    written = dcmread(encode(random_segments(volume, seed=6), volume, tmp_path)[ResultKind.SEG])
    heights = {
        float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        for group in written.PerFrameFunctionalGroupsSequence
    }
    assert heights == {float(ds.ImagePositionPatient[2]) for ds in images}


def test_overlapping_segments_pass(tmp_path: Path) -> None:
    volume = ct_volume(tmp_path)
    first, second = random_segments(volume, seed=2)
    both = replace(second, mask=second.mask | first.mask)
    written = dcmread(encode((first, both), volume, tmp_path)[ResultKind.SEG])
    assert written.SegmentsOverlap == "YES"


def test_frames_of_a_multi_frame_source_are_named_by_their_own_numbers(tmp_path: Path) -> None:
    classic = ct_volume(tmp_path / "classic")
    stored_order = [3, 0, 4, 2, 1]
    enhanced = enhanced_ct(stored_order)
    path = tmp_path / "enhanced.dcm"
    enhanced.save_as(path, enforce_file_format=True)
    volume = replace(
        classic,
        frames=tuple(
            SourceFrame(
                path=path,
                sop_instance_uid=InstanceUid(enhanced.SOPInstanceUID),
                sop_class_uid=EnhancedCTImageStorage,
                frame_number=stored_order.index(index) + 1,
            )
            for index in range(5)
        ),
    )
    segment = random_segments(volume, seed=3, count=1)[0]
    segment.mask[1] = False
    seg = dcmread(encode((segment,), volume, tmp_path)[ResultKind.SEG])
    named = [
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for group in seg.PerFrameFunctionalGroupsSequence
    ]
    assert sorted(named) == [1, 2, 3, 4]
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def enhanced_ct(stored_order: list[int]) -> Dataset:
    slices = ct_series(StudyIdentity(seed="gate"), SMALL)
    ds = deepcopy(slices[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.SOPInstanceUID = derived_uid("testing", "enhanced")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.NumberOfFrames = len(stored_order)
    ds.PixelData = b"".join(slices[index].PixelData for index in stored_order)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ds.PixelSpacing, ds.SliceThickness
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for index in stored_order:
        group, position, orientation = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = slices[index].ImagePositionPatient
        orientation.ImageOrientationPatient = slices[index].ImageOrientationPatient
        group.PlanePositionSequence = [position]
        group.PlaneOrientationSequence = [orientation]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del ds[keyword]
    return ds


def flip_columns(seg: Dataset) -> None:
    repack(seg, seg.pixel_array[:, :, ::-1])


def flip_rows(seg: Dataset) -> None:
    repack(seg, seg.pixel_array[:, ::-1, :])


def repack(seg: Dataset, frames: np.ndarray) -> None:
    bits = np.packbits(np.ascontiguousarray(frames).reshape(-1), bitorder="little").tobytes()
    seg.PixelData = bits + b"\0" * (len(bits) % 2)


def reverse_slices(seg: Dataset) -> None:
    groups = seg.PerFrameFunctionalGroupsSequence
    positions = [group.PlanePositionSequence for group in groups]
    for group, position in zip(groups, reversed(positions), strict=True):
        group.PlanePositionSequence = position


def shift_one_slice(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(value) for value in position.ImagePositionPatient)
        position.ImagePositionPatient = [x, y, z + SMALL.spacing_mm[0]]


def shift_half_a_pixel(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = (float(value) for value in position.ImagePositionPatient)
        position.ImagePositionPatient = [x + SMALL.spacing_mm[2] / 2, y, z]


def flip_orientation(seg: Dataset) -> None:
    group = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    group.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def swap_spacing(seg: Dataset) -> None:
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing = list(measures.PixelSpacing)[::-1]


def swap_references(seg: Dataset) -> None:
    first, *_, last = seg.PerFrameFunctionalGroupsSequence
    first.DerivationImageSequence, last.DerivationImageSequence = (
        last.DerivationImageSequence,
        first.DerivationImageSequence,
    )


def refer_to_a_strange_image(seg: Dataset) -> None:
    group = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    group.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def drop_references(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence


def swap_segment_numbers(seg: Dataset) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        segment = group.SegmentIdentificationSequence[0]
        segment.ReferencedSegmentNumber = 3 - segment.ReferencedSegmentNumber


def swap_labels(seg: Dataset) -> None:
    first, second = seg.SegmentSequence
    first.SegmentLabel, second.SegmentLabel = second.SegmentLabel, first.SegmentLabel


def drop_a_frame(seg: Dataset) -> None:
    frames = seg.pixel_array
    repack(seg, np.concatenate([frames[:1] * 0, frames[1:]]))


def change_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "1.2.3"


def recode(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "80891009"


FAULTS: list[Callable[[Dataset], None]] = [
    flip_columns,
    flip_rows,
    reverse_slices,
    shift_one_slice,
    shift_half_a_pixel,
    flip_orientation,
    swap_spacing,
    swap_references,
    refer_to_a_strange_image,
    drop_references,
    swap_segment_numbers,
    swap_labels,
    drop_a_frame,
    change_frame_of_reference,
    recode,
]


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_a_segmentation_that_lies_wrong_is_stopped(
    tmp_path: Path, spoil: Callable[[Dataset], None]
) -> None:
    volume = ct_volume(tmp_path)
    findings = random_segments(volume, seed=4)
    path = encode(findings, volume, tmp_path)[ResultKind.SEG]
    check_segmentation(path, findings, volume)
    seg = dcmread(path)
    spoil(seg)
    seg.save_as(path)
    with pytest.raises(GeometryMismatch):
        check_segmentation(path, findings, volume)


def test_the_figures_of_a_mismatch_are_told(tmp_path: Path) -> None:
    volume = ct_volume(tmp_path)
    findings = random_segments(volume, seed=4)
    path = encode(findings, volume, tmp_path)[ResultKind.SEG]
    seg = dcmread(path)
    flip_columns(seg)
    seg.save_as(path)
    with pytest.raises(GeometryMismatch, match=r"Dice 0\.\d+.*missing.*centroid \d.*extent"):
        check_segmentation(path, findings, volume)


def test_a_volume_that_was_sorted_wrongly_is_stopped_before_anything_is_written(
    tmp_path: Path,
) -> None:
    volume = ct_volume(tmp_path)
    wrong = replace(volume, frames=volume.frames[::-1])
    out = tmp_path / "out"
    with pytest.raises(GeometryMismatch):
        encode(random_segments(volume, seed=5), wrong, out)
    assert list(out.iterdir()) == []


def test_a_flipped_radiograph_mask_is_stopped(tmp_path: Path) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="dx"))], tmp_path)
    findings = heart_with_ratio(volume)
    path = encode(findings, volume, tmp_path)[ResultKind.SEG]
    seg = dcmread(path)
    repack(seg, seg.pixel_array[None, :, ::-1])
    seg.save_as(path)
    with pytest.raises(GeometryMismatch):
        check_segmentation(path, findings, volume)


def coordinates(sr: Dataset) -> list[Dataset]:
    return [
        item
        for container in sr.ContentSequence
        for group in container.get("ContentSequence", [])
        for item in group.get("ContentSequence", [])
        if item.ValueType == "SCOORD"
    ]


def mirror_lines(sr: Dataset) -> None:
    for item in coordinates(sr):
        points = np.array(item.GraphicData, dtype=float).reshape(-1, 2)
        points[:, 0] = 48 - points[:, 0]
        item.GraphicData = points.reshape(-1).tolist()


def shrink_outline(sr: Dataset) -> None:
    item = coordinates(sr)[0]
    points = np.array(item.GraphicData, dtype=float).reshape(-1, 2)
    centre = points.mean(axis=0)
    item.GraphicData = (centre + 0.5 * (points - centre)).reshape(-1).tolist()


def half_an_outline(sr: Dataset) -> None:
    item = coordinates(sr)[0]
    points = np.array(item.GraphicData, dtype=float).reshape(-1, 2)
    item.GraphicData = points[points[:, 1] < points[:, 1].mean()].reshape(-1).tolist()


def run_outside(sr: Dataset) -> None:
    coordinates(sr)[0].GraphicData = [0.0, 0.0, 1e4, 1e4]


def draw_on_a_strange_image(sr: Dataset) -> None:
    image = coordinates(sr)[0].ContentSequence[0].ReferencedSOPSequence[0]
    image.ReferencedSOPInstanceUID = "1.2.3"


def swap_names(sr: Dataset) -> None:
    texts = [
        item
        for container in sr.ContentSequence
        for group in container.get("ContentSequence", [])
        for item in group.get("ContentSequence", [])
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Tracking Identifier"
    ]
    for item in texts:
        item.TextValue = "left lung" if item.TextValue == "right lung" else "right lung"


@pytest.mark.parametrize(
    "spoil",
    [
        mirror_lines,
        shrink_outline,
        half_an_outline,
        run_outside,
        draw_on_a_strange_image,
        swap_names,
    ],
    ids=lambda fault: fault.__name__,
)
def test_a_report_that_draws_wrong_is_stopped(
    tmp_path: Path, spoil: Callable[[Dataset], None]
) -> None:
    volume = ct_volume(tmp_path, SeriesGeometry())
    findings = lungs(volume)
    path = encode(findings, volume, tmp_path)[ResultKind.SR]
    check_report(path, findings, volume)
    sr = dcmread(path)
    spoil(sr)
    sr.save_as(path)
    with pytest.raises(GeometryMismatch):
        check_report(path, findings, volume)


def test_a_line_moved_by_a_pixel_is_stopped(tmp_path: Path) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="dx"))], tmp_path)
    findings = heart_with_ratio(volume)
    path = encode(findings, volume, tmp_path)[ResultKind.SR]
    sr = dcmread(path)
    line = coordinates(sr)[-1]
    line.GraphicData = [float(line.GraphicData[0]) + 1.0, *line.GraphicData[1:]]
    sr.save_as(path)
    with pytest.raises(GeometryMismatch, match=r"drawn 1\.00 pixels off"):
        check_report(path, findings, volume)
