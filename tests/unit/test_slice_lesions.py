"""From slices to lesions in patient millimetres, and DeepLesion's layout read and divided."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image
from torch import Tensor

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.key_slices import read_key_cases
from dicomnode.networks import ToWorkingGridd
from dicomnode.networks.deep_lesion import Part
from dicomnode.networks.slice_detector import SliceDetector, SliceOutputs, places_of
from dicomnode.networks.slice_inferer import SliceInferer
from dicomnode.networks.slice_placing import PlaceSlicesd
from dicomnode.pipeline.bundle import BundleAlgorithm
from dicomnode.training.judging import Asked
from dicomnode.training.key_slices import divide_key_slices

HEAD = (
    "File_name,Bounding_boxes,Measurement_coordinates,Coarse_lesion_type,Possibly_noisy,"
    "Spacing_mm_px_,Train_Val_Test"
)


class Boxes(SliceDetector):
    """Tells of each slice the box around what is brighter than 200 HU; ends across and down."""

    def __init__(self) -> None:
        super().__init__(2, slices=3, features=(4, 4, 4, 4, 4), width=4)
        self.told_slices: list[int] = []

    def forward(self, hu: Tensor) -> SliceOutputs:
        points, _ = places_of(hu.shape[2], hu.shape[3])
        scores = torch.full((len(hu), len(points), 2), -9.0)
        reaches, ends = torch.ones(len(hu), len(points), 4), torch.zeros(len(hu), len(points), 8)
        self.told_slices.append(len(hu))
        for n, plane in enumerate(hu[:, 1] > 200):
            where = torch.nonzero(plane)
            if not len(where):
                continue
            (top, left), (low, right) = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
            x, y = (left + right) / 2, (top + low) / 2
            at = int((points - torch.tensor([x, y])).norm(dim=1).argmin())
            px, py = points[at].tolist()
            scores[n, at, 1] = 3.0
            reaches[n, at] = torch.tensor([px - left, py - top, right - px, low - py])
            # The short axis is told first, and slanted.
            ends[n, at] = torch.tensor(
                [x - px, top - py, x - px, low - py, left - px, y - 2 - py, right - px, y + 2 - py]
            )
        return SliceOutputs(scores=scores, reaches=reaches, ends=ends)


def lesions_of(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> dict[str, Any]:
    """A CT `(i, j, k)` through the steps of the bundle."""
    image = MetaTensor(torch.from_numpy(array)[None], affine=torch.from_numpy(affine))
    data: dict[Any, Any] = ToWorkingGridd("image", spacing=(1.0, 1.0, 2.5))({"image": image})
    data["pred"] = SliceInferer(batch=4)(data["image"][None], Boxes())
    placed = PlaceSlicesd("pred", types=[1, 2], sites=[1, 2])(data)
    return cast("dict[str, Any]", placed["pred"])


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_axes_and_box_lie_where_the_lesion_is_however_the_ct_lies(flip: tuple[int, ...]) -> None:
    array = np.full((80, 64, 12), -1000, np.float32)
    array[4:76, 4:60] = 40
    array[20:50, 30:42, 4:8] = 400  # 30 x 12 pixels, 4 slices
    affine = np.diag([0.8 * flip[0], 0.8 * flip[1], 2.5 * flip[2], 1.0])
    affine[:3, 3] = (10, -20, 30)
    told = lesions_of(array, affine)
    assert told["scores"] == pytest.approx([1 / (1 + np.exp(-3.0))])
    assert told["types"].tolist() == told["sites"].tolist() == [2]
    corners = np.array([[19.5, 29.5, 3.5], [49.5, 41.5, 7.5]])
    world = (corners @ affine[:3, :3].T + affine[:3, 3]) * (-1, -1, 1)
    assert told["boxes"][0] == pytest.approx(np.sort(world, 0), abs=2.6)
    for axis, length in (("long_axes", 24.0), ("short_axes", 9.6)):
        line = told[axis][0]
        assert np.linalg.norm(line[1] - line[0]) == pytest.approx(length, abs=2.5)
        assert line.mean(0)[:2] == pytest.approx(world.mean(0)[:2], abs=1.5)
        planes = (line[:, 2] - affine[2, 3]) / affine[2, 2]
        assert planes == pytest.approx(np.rint(planes))
        assert planes[0] in (4, 5, 6, 7)
    across = np.diff(told["long_axes"][0], axis=0)[0] @ np.diff(told["short_axes"][0], axis=0)[0]
    assert across == pytest.approx(0, abs=1e-6)


def test_no_lesion_is_an_empty_answer_of_the_same_shape() -> None:
    array = np.full((40, 40, 10), 30, np.float32)
    told = lesions_of(array, np.diag([-1.0, -1, 2.5, 1]))
    assert [told[name].shape for name in ("scores", "long_axes", "boxes")] == [
        (0,),
        (0, 2, 3),
        (0, 2, 3),
    ]
    assert lesions_of(array - 1030, np.diag([-1.0, -1, 2.5, 1]))["scores"].shape == (0,)


def test_slices_are_read_in_batches_once_each() -> None:
    network = Boxes()
    SliceInferer(batch=4).detections(torch.full((10, 32, 32), 40.0), network)
    assert network.told_slices == [4, 4, 2]
    with pytest.raises(TypeError, match="runs a SliceDetector"):
        SliceInferer()(torch.zeros(1, 1, 8, 8, 8), torch.nn.Identity())


@pytest.mark.parametrize(
    "ends",
    [
        [[5, 5, 3], [5, 5, 3], [5, 5, 3], [5, 5, 3]],
        [[2, 5, 3], [9, 5, 3], [3, 5, 3], [6, 5, 3]],
        [[-4, 5, 3], [30, 5, 3], [5, -3, 3], [5, 30, 3]],
    ],
)
def test_ends_that_make_no_cross_still_make_axes_that_can_be_written(ends: list[list[int]]) -> None:
    found = {
        "scores": np.array([0.5]),
        "kinds": np.array([0]),
        "ends": np.array([ends], float),
        "boxes": np.array([[[1.0, 1, 2], [9, 9, 4]]]),
    }
    grid = np.diag([1.0, 1, 2.5, 1])
    told = PlaceSlicesd("pred", types=[1]).placed(found, grid, grid, (20, 20, 8))
    long, short = (np.diff(told[name][0], axis=0)[0] for name in ("long_axes", "short_axes"))
    assert np.linalg.norm(long) + 1e-6 >= np.linalg.norm(short) >= 0.5
    assert long @ short == pytest.approx(0, abs=1e-6)
    world = np.concatenate([told["long_axes"][0], told["short_axes"][0]]) * (-1, -1, 1)
    index = world / (1, 1, 2.5)
    assert (index >= -0.5 - 1e-6).all()
    assert (index <= np.array([19.5, 19.5, 7.5]) + 1e-6).all()


def row(patient: int, part: int, *, kind: int = 5) -> str:
    ends = "20, 30, 40, 30, 30, 26, 30, 34"
    return f'{patient:06d}_01_01_010.png,"16, 22, 44, 38","{ends}",{kind},0,"0.8, 0.8, 5",{part}'


def deep_lesion(folder: Path, *rows: str, without: int | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "DL_info.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    for patient in {int(one[:6]) for one in rows} - {without}:
        images = folder / "Images_png" / f"{patient:06d}_01_01"
        images.mkdir(parents=True)
        for number in (9, 10, 11):
            plane = np.full((64, 64), 32768 + 40, np.uint16)
            plane[24:37, 19:42] = 32768 + 200 + number
            Image.fromarray(plane).save(images / f"{number:03d}.png")
    return folder


def test_a_key_slice_is_a_volume_of_its_neighbours_with_its_marks(tmp_path: Path) -> None:
    data = deep_lesion(tmp_path, row(1, 1), row(2, 3, kind=-1), row(3, 2), without=3)
    cases, missing = read_key_cases(data)
    assert ([one.case.name for one in cases], missing) == (
        ["000001_01_01_010", "000002_01_01_010"],
        1,
    )
    one, other = cases
    volume = one.volume("CT")
    assert volume.array.shape == (11, 64, 64)
    # Slices of 5 mm: 2.5 mm towards the head half of slice 9, and beyond it repeated.
    assert volume.array[:, 30, 30].tolist()[3:9] == pytest.approx(
        [211, 210.5, 210, 209.5, 209, 209]
    )
    (lesion,) = one.lesions()
    assert lesion.kind == "lung lesion"
    assert lesion.low_mm == pytest.approx((16 * 0.8, 22 * 0.8, 11.25))
    assert lesion.size_mm == pytest.approx(16)
    assert other.lesions()[0].kind == ""
    assert [one.case.patient for one in read_key_cases(data, "test")[0]] == ["000002"]
    with pytest.raises(StudyError, match="'dev' is no part of DeepLesion: train, validation, test"):
        read_key_cases(data, "dev")


def test_a_table_without_axes_is_read_and_one_that_is_broken_names_its_line(tmp_path: Path) -> None:
    data = deep_lesion(tmp_path / "a", row(1, 1).replace("20, 30, 40, 30, 30, 26, 30, 34", ""))
    (one,), _ = read_key_cases(data)
    assert one.lesions()[0].size_mm == pytest.approx(28 * 0.8)
    data = deep_lesion(tmp_path / "b", row(1, 1), row(2, 7))
    with pytest.raises(StudyError, match=r"DL_info.csv, line 3: 7 is not a valid Part"):
        read_key_cases(data)
    data = deep_lesion(tmp_path / "c", row(1, 1), without=1)
    with pytest.raises(StudyError, match="Images_png holds no picture"):
        read_key_cases(data)


def asked(data: Path, out: Path) -> Asked:
    return Asked(
        algorithm="slice_lesion",
        data=data,
        out=out,
        hold_out=0.3,
        values={},
        dev=0.2,
        lesion_types={},
        draws=10,
        device="cpu",
    )


BUNDLE = cast("BundleAlgorithm", SimpleNamespace(identity=SimpleNamespace(name="slice_lesion")))


def parts_of(out: Path) -> dict[str, set[Part]]:
    found: dict[str, set[Part]] = {}
    for name in ("learned", "held_out"):
        for one in read_key_cases(out / name)[0]:
            found.setdefault(one.case.patient, set()).add(one.key.part)
    return found


def test_the_tables_own_division_holds(tmp_path: Path) -> None:
    data = deep_lesion(tmp_path / "data", row(1, 1), row(2, 3), row(3, 2), row(4, 1))
    division = divide_key_slices(asked(data, tmp_path / "out"), BUNDLE, tick=cast("Any", iter))
    assert parts_of(tmp_path / "out") == {
        "000001": {Part.TRAIN},
        "000004": {Part.TRAIN},
        "000003": {Part.VALIDATION},
        "000002": {Part.TEST},
    }
    assert "learned from: 2 key slices of 2 patients, 2 lesions" in division.told
    assert division.said.startswith("Trained further on 2 marked lesions of 2 patients.")
    assert division.judge is not None


def test_where_the_table_divides_nobody_patients_are_divided_by_their_names(tmp_path: Path) -> None:
    rows = [row(patient, 1) for patient in range(1, 9)]
    data = deep_lesion(tmp_path / "data", *rows)
    divide_key_slices(asked(data, tmp_path / "out"), BUNDLE, tick=cast("Any", iter))
    first = parts_of(tmp_path / "out")
    assert {part for parts in first.values() for part in parts} == set(Part)
    assert all(len(parts) == 1 for parts in first.values())
    # Who was learned from is not held out later.
    moved = next(name for name, parts in first.items() if parts == {Part.TRAIN})
    rows = [row(int(name), 3 if name == moved else 1) for name in first]
    other = deep_lesion(tmp_path / "moved", *rows)
    with pytest.raises(StudyError, match="learned from patients who would be held out"):
        divide_key_slices(asked(other, tmp_path / "out"), BUNDLE, tick=cast("Any", iter))


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    second = row(1, 3).replace("_010.png", "_011.png")
    data = deep_lesion(tmp_path / "data", row(1, 1), second)
    with pytest.raises(StudyError, match="the patient 000001 in two parts"):
        divide_key_slices(asked(data, tmp_path / "out"), BUNDLE, tick=cast("Any", iter))
    with pytest.raises(StudyError, match=r"lay DL_info\.csv and Images_png out"):
        divide_key_slices(asked(tmp_path, tmp_path / "out"), BUNDLE, tick=cast("Any", iter))
