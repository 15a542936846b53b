"""From files of odd geometry to SEG and SR: read back without this project's code, place by place.

The truth is the source files: a voxel belongs to the segment if its own stored value says so, and
lies where its own header says. Nothing here sorts slices or builds a grid.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.algorithm import AlgorithmIdentity, InputSpec, RunContext
from dicomnode.domain.codes import HEART, LUNG, MM, Code
from dicomnode.domain.errors import (
    DuplicateSlices,
    MissingSlices,
    MixedOrientation,
    TiltedGantry,
    VolumeError,
)
from dicomnode.domain.findings import Finding, Mark, Measurement, MeasurementFinding
from dicomnode.domain.outcomes import RunOutcome
from dicomnode.domain.results import USUAL_KINDS, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.settings import OutputSettings
from dicomnode.steps.inference import RunTask, run_task
from dicomnode.testing.findings import PHANTOM_ALGORITHM, outlined
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

Float = npt.NDArray[np.float64]

BRIGHT = 300
SPOTS = 3
LENGTH = Code("410668003", "SCT", "Length")
SAME_PLACE_MM = 0.002
"""Positions in a SEG are decimal strings of 16 characters."""


class Bright:
    """Marks what is brighter than BRIGHT, and draws a line from each of the brightest voxels."""

    identity: AlgorithmIdentity = PHANTOM_ALGORITHM
    needs: Mapping[str, InputSpec] = {
        "image": InputSpec(modalities=frozenset({"CT"}), dimensions=3)
    }
    time_limit_s = 60.0

    def run(self, inputs: Mapping[str, Volume], _context: RunContext) -> Sequence[Finding]:
        volume = inputs["image"]
        marks = []
        for flat in np.argsort(volume.array, axis=None)[-SPOTS:]:
            slice_, row, column = (int(at) for at in np.unravel_index(flat, volume.array.shape))
            centre = np.array([column + 0.5, row + 0.5])
            length = Measurement(name=LENGTH, value=1.0, unit=MM)
            ends = np.stack([centre, centre + np.array([2.0, 1.0])])
            marks.append(Mark(slice_index=slice_, points=ends, measurement=length))
        lines = MeasurementFinding(
            name="spots",
            finding=HEART,
            site=None,
            measurements=tuple(mark.measurement for mark in marks if mark.measurement)[:1],
            marks=tuple(marks[:1]),
        )
        others = tuple(
            MeasurementFinding(
                name=f"spot {number}", finding=HEART, site=None, measurements=(), marks=(mark,)
            )
            for number, mark in enumerate(marks[1:])
        )
        return (outlined(volume.array > BRIGHT, "bright", LUNG), lines, *others)


def noise(geometry: SeriesGeometry, seed: int = 0) -> npt.NDArray[np.int16]:
    """Every voxel its own value at random: no turn, flip or shift maps it onto itself."""
    count = geometry.slices * geometry.rows * geometry.columns
    values = np.random.default_rng(seed).permutation(count) * 900 // count
    flat = values.astype(np.int16)
    flat[np.random.default_rng(seed + 1).choice(count, SPOTS, replace=False)] = [2000, 2001, 2002]
    return flat.reshape(geometry.slices, geometry.rows, geometry.columns)


def turned(first: Sequence[float], second: Sequence[float]) -> tuple[float, ...]:
    """Direction cosines of two vectors, the second made square to the first."""
    row = np.array(first) / np.linalg.norm(first)
    column = np.array(second) - (np.array(second) @ row) * row
    return (*map(float, row), *map(float, column / np.linalg.norm(column)))


ORIENTATIONS = {
    "head first, supine": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "feet first, supine": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "head first, prone": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "feet first, on the side": (0.0, -1.0, 0.0, -1.0, 0.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "oblique": turned((0.9, 0.3, -0.2), (-0.2, 0.8, 0.5)),
    "nearly axial": turned((0.999, 0.02, 0.0), (-0.02, 0.99, 0.1)),
}


def series(orientation: tuple[float, ...] = ORIENTATIONS["head first, supine"]) -> list[Dataset]:
    """Nine slices, 11 x 13, of three different spacings, away from the origin."""
    geometry = SeriesGeometry(
        rows=11,
        columns=13,
        slices=9,
        spacing_mm=(2.7, 0.83, 0.61),
        orientation=orientation,
        origin_mm=(-151.37, 88.021, -1203.5),
    )
    return ct_series(StudyIdentity(seed="geometry"), geometry, noise(geometry))


def shuffled(slices: list[Dataset]) -> list[Dataset]:
    """Files and instance numbers in no order, slice locations that lie."""
    Random(3).shuffle(slices)
    numbers = list(range(1, len(slices) + 1))
    Random(4).shuffle(numbers)
    for ds, number in zip(slices, numbers, strict=True):
        ds.InstanceNumber = number
        ds.SliceLocation = -number
    return slices


def all_of_one_number(slices: list[Dataset]) -> list[Dataset]:
    for ds in slices:
        ds.InstanceNumber = 1
    return slices


def without_numbers(slices: list[Dataset]) -> list[Dataset]:
    for ds in slices[::2]:
        ds.InstanceNumber = None
    for ds in slices[1::2]:
        del ds.InstanceNumber
    return slices


def negative_spacing(slices: list[Dataset]) -> list[Dataset]:
    """As scanners write it that count downwards (PS3.3 C.8.4.15 allows a sign only there)."""
    for ds in slices:
        ds.SpacingBetweenSlices = -2.7
        ds.SliceThickness = 5
    return slices[::-1]


def uneven(slices: list[Dataset]) -> list[Dataset]:
    """Positions rounded to a tenth of a millimetre, a little shear besides."""
    for number, ds in enumerate(slices):
        x, y, z = (float(at) for at in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [round(x + 0.01 * number, 1), round(y, 1), round(z, 1)]
    return slices


def each_its_own_rescale(slices: list[Dataset]) -> list[Dataset]:
    for number, ds in enumerate(slices):
        stored = ds.pixel_array.astype(np.int32) - 1024
        ds.RescaleIntercept = -1024 - 10 * number
        ds.PixelData = (stored + 1024 + 10 * number).astype("<u2").tobytes()
    return slices


def as_multi_frame(slices: list[Dataset]) -> list[Dataset]:
    return [enhanced(slices, order=[4, 0, 8, 2, 7, 1, 6, 3, 5])]


def as_several_multi_frame(slices: list[Dataset]) -> list[Dataset]:
    """Two of several frames, which lie between each other, and one of a single frame."""
    return [
        enhanced(slices, order=[4, 0, 8, 2]),
        enhanced(slices, order=[7, 1, 6, 3]),
        enhanced(slices, order=[5]),
    ]


KEPT: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "in order": lambda slices: slices,
    "decreasing": lambda slices: slices[::-1],
    "shuffled": shuffled,
    "one number": all_of_one_number,
    "no numbers": without_numbers,
    "negative spacing": negative_spacing,
    "uneven": uneven,
    "own rescale": each_its_own_rescale,
    "multi-frame": as_multi_frame,
    "several multi-frame": as_several_multi_frame,
    "a frame in each multi-frame file": lambda slices: [enhanced([ds]) for ds in slices],
}


def run(
    slices: Sequence[Dataset], folder: Path, kinds: frozenset[ResultKind] = USUAL_KINDS
) -> dict[ResultKind, Dataset]:
    """Written, read by the node's pipeline, marked, encoded; what came out, by plain pydicom."""
    outcome = ran(Bright(), slices, folder, kinds)
    return {one.kind: pydicom.dcmread(one.path) for one in outcome.objects}


def ran(
    algorithm: Bright,
    slices: Sequence[Dataset],
    folder: Path,
    kinds: frozenset[ResultKind] = USUAL_KINDS,
) -> RunOutcome:
    paths = []
    for number, ds in enumerate(slices):
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    task = RunTask(
        inputs={"image": tuple(paths)},
        derivation=Derivation(
            job_key="geometry",
            revision=1,
            made_at=datetime(2024, 1, 31, 12, tzinfo=UTC),
            software_versions=("dicomnode test",),
        ),
        out=folder / "results",
        output=OutputSettings(),
        kinds=kinds,
    )
    return run_task(algorithm, task, "cpu", lambda _fraction, _stage: None)


class Frame:
    """One frame of a source image by its own header: values, and where its pixels lie."""

    def __init__(self, ds: Dataset, index: int) -> None:
        found = Dataset()
        found.update({element.tag: element for element in ds if element.VR != "SQ"})
        if "PerFrameFunctionalGroupsSequence" in ds:
            own = ds.PerFrameFunctionalGroupsSequence[index]
            for group in (*ds.SharedFunctionalGroupsSequence[0], *own):
                found.update(group.value[0])
        count = int(ds.get("NumberOfFrames", 1))
        pixels = ds.pixel_array.reshape(count, ds.Rows, ds.Columns)[index]
        self.key = (str(ds.SOPInstanceUID), index + 1 if count > 1 else None)
        self.values = pixels * float(found.RescaleSlope) + float(found.RescaleIntercept)
        self.place = Place(found)


class Place:
    """The plane of a frame (PS3.3 C.7.6.2.1.1)."""

    def __init__(self, ds: Dataset) -> None:
        self.corner = np.array(ds.ImagePositionPatient, float)
        self.row = np.array(ds.ImageOrientationPatient[:3], float)
        self.column = np.array(ds.ImageOrientationPatient[3:], float)
        self.between_rows, self.between_columns = map(float, ds.PixelSpacing)

    def of(self, rows: Float, columns: Float) -> Float:
        """Patient coordinates (n, 3) of pixel centres; row and column count from 0."""
        across = columns[:, None] * self.between_columns * self.row
        down = rows[:, None] * self.between_rows * self.column
        return np.asarray(self.corner + across + down)


def frames_of(slices: Sequence[Dataset]) -> list[Frame]:
    return [Frame(ds, index) for ds in slices for index in range(int(ds.get("NumberOfFrames", 1)))]


def marked_places(seg: Dataset) -> list[tuple[tuple[str, int | None], Float]]:
    """Of each frame of a SEG: which image it refers to, and where its marked voxels lie."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    size = seg.NumberOfFrames * seg.Rows * seg.Columns
    masks = bits[:size].reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)
    found = []
    for group, mask in zip(seg.PerFrameFunctionalGroupsSequence, masks, strict=True):
        ds = Dataset()
        ds.ImagePositionPatient = group.PlanePositionSequence[0].ImagePositionPatient
        ds.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        ds.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        number = image.get("ReferencedFrameNumber")
        key = str(image.ReferencedSOPInstanceUID), None if number is None else int(number)
        rows, columns = np.nonzero(mask)
        found.append((key, Place(ds).of(rows.astype(float), columns.astype(float))))
    return found


def referred_classes(seg: Dataset) -> set[str]:
    """Of the images that the frames of a SEG refer to."""
    return {
        str(image.ReferencedSOPClassUID)
        for group in seg.PerFrameFunctionalGroupsSequence
        for image in group.DerivationImageSequence[0].SourceImageSequence
    }


def lines_of(item: Dataset) -> list[tuple[tuple[str, int | None], Float]]:
    """Of each SCOORD below: the image it is drawn on, and its points (column, row)."""
    found = []
    for child in item.get("ContentSequence", []):
        if child.ValueType == "SCOORD":
            (image,) = (one for one in child.ContentSequence if one.ValueType == "IMAGE")
            (referred,) = image.ReferencedSOPSequence
            number = referred.get("ReferencedFrameNumber")
            key = str(referred.ReferencedSOPInstanceUID), None if number is None else int(number)
            found.append((key, np.array(child.GraphicData, float).reshape(-1, 2)))
        found += lines_of(child)
    return found


@pytest.mark.parametrize(
    ("orientation", "order"),
    [
        *((orientation, order) for orientation in ORIENTATIONS for order in ("shuffled",)),
        *(("oblique", order) for order in KEPT if order != "shuffled"),
    ],
)
def test_every_marked_voxel_lies_where_the_voxel_it_came_from_lies(
    tmp_path: Path, orientation: str, order: str
) -> None:
    slices = KEPT[order](series(ORIENTATIONS[orientation]))
    frames = {frame.key: frame for frame in frames_of(slices)}
    made = run(slices, tmp_path)

    told = marked_places(made[ResultKind.SEG])
    assert len({key for key, _ in told}) == len(told)
    bright = {key for key, frame in frames.items() if (frame.values > BRIGHT).any()}
    assert {key for key, _ in told} == bright
    classes = {ds.SOPClassUID for ds in slices}
    assert referred_classes(made[ResultKind.SEG]) == classes
    for key, places in told:
        rows, columns = np.nonzero(frames[key].values > BRIGHT)
        truth = frames[key].place.of(rows.astype(float), columns.astype(float))
        np.testing.assert_allclose(places, truth, atol=SAME_PLACE_MM)

    spots = {
        (frame.key, int(column), int(row))
        for frame in frames.values()
        for row, column in zip(*np.nonzero(frame.values >= 2000), strict=True)
    }
    assert len(spots) == SPOTS
    assert len(spots) == SPOTS
    drawn = lines_of(made[ResultKind.SR])
    lines = [(key, points) for key, points in drawn if len(points) == 2]
    # From the middle of its pixel; the middle of the first pixel is (0.5, 0.5) (PS3.3 C.18.6).
    assert {(key, *(int(at) for at in points[0] - 0.5)) for key, points in lines} == spots
    for _, points in lines:
        np.testing.assert_allclose(points[1] - points[0], (2, 1))
    # The segment is shown by its outline on the image that has most of it.
    ((outlined_on, _),) = ((key, points) for key, points in drawn if len(points) > 2)
    most = max((frame.values > BRIGHT).sum() for frame in frames.values())
    assert (frames[outlined_on].values > BRIGHT).sum() == most


def test_a_label_map_beside_the_seg_lies_where_it_does(tmp_path: Path) -> None:
    """Of a multi-frame image, of which neither the first nor the last slices are marked."""
    slices = series(ORIENTATIONS["oblique"])
    for ds in (*slices[:3], *slices[7:]):
        ds.PixelData = bytes(len(ds.PixelData))
    (image,) = as_multi_frame(slices)
    frames = {frame.key: frame for frame in frames_of([image])}
    made = run([image], tmp_path, kinds=frozenset({*USUAL_KINDS, ResultKind.LABELMAP}))

    told = marked_places(made[ResultKind.SEG])
    assert len(told) == 4
    label_map = made[ResultKind.LABELMAP]
    groups = label_map.PerFrameFunctionalGroupsSequence
    marked = [
        np.nonzero(pixels == 1)
        for pixels in label_map.pixel_array.reshape(-1, label_map.Rows, label_map.Columns)
    ]
    corners = [one.PlanePositionSequence[0].ImagePositionPatient for one in groups]
    assert len(groups) == len(told)
    for (key, places), corner, (rows, columns) in zip(told, corners, marked, strict=True):
        plane = frames[key].place
        np.testing.assert_allclose(plane.corner, np.array(corner, float), atol=SAME_PLACE_MM)
        truth = plane.of(rows.astype(float), columns.astype(float))
        np.testing.assert_allclose(places, truth, atol=SAME_PLACE_MM)


def tilted(slices: list[Dataset]) -> list[Dataset]:
    """Sheared by 12 degrees, as a tilted gantry leaves them."""
    for number, ds in enumerate(slices):
        x, y, z = (float(at) for at in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y + number * 2.7 * 0.2126, z]
    return slices


def sent_twice(slices: list[Dataset]) -> list[Dataset]:
    again = copy.deepcopy(slices[4])
    again.SOPInstanceUID += ".1"
    again.file_meta.MediaStorageSOPInstanceUID = again.SOPInstanceUID
    return [*slices, again]


def two_orientations(slices: list[Dataset]) -> list[Dataset]:
    for ds in slices[5:]:
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
    return slices


def turned_end_to_end(slices: list[Dataset]) -> list[Dataset]:
    """Half of the slices with the normal the other way round: rows mirrored."""
    for ds in slices[5:]:
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    return slices


def moved_table(slices: list[Dataset]) -> list[Dataset]:
    slices[3].ImagePositionPatient = [0, 0, float(slices[3].ImagePositionPatient[2])]
    return slices


REFUSED: dict[str, tuple[Callable[[list[Dataset]], list[Dataset]], type[VolumeError]]] = {
    "tilted gantry": (tilted, TiltedGantry),
    "one slice missing": (lambda slices: slices[:4] + slices[5:], MissingSlices),
    "one slice twice": (sent_twice, DuplicateSlices),
    "two orientations": (two_orientations, MixedOrientation),
    "mirrored within": (turned_end_to_end, MixedOrientation),
    "moved": (moved_table, VolumeError),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_has_no_one_place_makes_no_result(tmp_path: Path, fault: str) -> None:
    change, error = REFUSED[fault]
    with pytest.raises(error):
        run(shuffled(change(series())), tmp_path)
    assert list((tmp_path / "results").glob("*.dcm")) == []


def test_a_calibration_is_told_with_the_outcome_and_once_in_the_report(tmp_path: Path) -> None:
    told = "Recalibrated at a site on 400 studies."
    algorithm = Bright()
    algorithm.identity = replace(
        PHANTOM_ALGORITHM, intended_use=f"Research use only. {told}", calibrated=told
    )
    outcome = ran(algorithm, series(), tmp_path)
    assert outcome.warnings[-1] == told
    (report,) = (one.path for one in outcome.objects if one.kind is ResultKind.SR)
    assert report.read_bytes().count(b"Recalibrated") == 1
    assert told not in ran(Bright(), series(), tmp_path).warnings
