"""The slice-wise detector: shapes, gradients, what its losses forgive, and a tiny set learned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dicomnode.networks.deep_lesion import Part, read_deep_lesion, slab_of
from dicomnode.networks.slice_detector import (
    SliceDetections,
    SliceDetector,
    SliceOutputs,
    decode,
    overlap,
    places_of,
)
from dicomnode.networks.slice_lesions import join_slices
from dicomnode.networks.slice_losses import UNKNOWN_TYPE, MarkedSlice, detection_loss

SIZE = (64, 64)
PLACES = 16 * 16 + 8 * 8 + 4 * 4


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small(types: int = 2) -> SliceDetector:
    return SliceDetector(types, slices=3, features=(8, 8, 12, 12, 16), width=12)


def marked(
    *boxes: tuple[float, float, float, float],
    types: list[int] | None = None,
    complete: bool = False,
) -> MarkedSlice:
    """Boxes with their diagonals' middle cross as axes."""
    told = torch.tensor(boxes).reshape(-1, 4)
    x1, y1, x2, y2 = told.T
    middle = (told[:, :2] + told[:, 2:]) / 2
    ends = torch.stack(
        [
            torch.stack([x1, middle[:, 1]], 1),
            torch.stack([x2, middle[:, 1]], 1),
            torch.stack([middle[:, 0], y1], 1),
            torch.stack([middle[:, 0], y2], 1),
        ],
        1,
    )
    kinds = torch.tensor(types if types is not None else [0] * len(told), dtype=torch.long)
    return MarkedSlice(boxes=told, types=kinds, ends=ends, complete=complete)


def test_every_place_of_three_levels_says_type_box_and_ends() -> None:
    outputs = small()(torch.randn(2, 3, *SIZE) * 300)
    assert outputs.scores.shape == (2, PLACES, 2)
    assert outputs.reaches.shape == (2, PLACES, 4)
    assert outputs.ends.shape == (2, PLACES, 8)
    assert (outputs.reaches > 0).all()
    points, strides = places_of(*SIZE)
    assert len(points) == len(strides) == PLACES
    assert points[0].tolist() == [2, 2]
    with pytest.raises(ValueError, match="is not"):
        small()(torch.randn(1, 3, 60, 64))
    with pytest.raises(ValueError, match="either side"):
        SliceDetector(slices=4)


def test_every_weight_gets_a_gradient_and_without_a_mark_nothing_breaks() -> None:
    network = small()
    outputs = network(torch.randn(2, 3, *SIZE) * 300)
    losses = detection_loss(outputs, [marked((10, 10, 30, 26)), marked()], SIZE)
    torch.stack(list(losses.values())).sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    alone = detection_loss(network(torch.zeros(1, 3, *SIZE)), [marked()], SIZE)
    assert alone["boxes"] == alone["ends"] == 0
    assert torch.isfinite(alone["scores"])


def told(scores: torch.Tensor) -> SliceOutputs:
    return SliceOutputs(
        scores=scores, reaches=torch.ones(1, PLACES, 4), ends=torch.zeros(1, PLACES, 8)
    )


def test_what_looks_surely_like_a_lesion_without_a_mark_is_forgiven_unless_all_are_marked() -> None:
    calm = torch.full((1, PLACES, 2), -8.0)
    sure = calm.clone()
    sure[0, 0, 0] = 6.0  # far from the mark
    mark = marked((36, 36, 60, 60))
    whole = marked((36, 36, 60, 60), complete=True)

    def loss(scores: torch.Tensor, of: MarkedSlice) -> float:
        return float(detection_loss(told(scores), [of], SIZE)["scores"])

    assert loss(sure, mark) == pytest.approx(loss(calm, mark), rel=1e-3)
    assert loss(sure, whole) > loss(calm, whole) + 1


def test_a_lesion_of_unknown_type_may_be_of_any() -> None:
    mark = marked((8, 8, 24, 24), types=[UNKNOWN_TYPE])
    for kind in (0, 1):
        scores = torch.full((1, PLACES, 2), -8.0)
        scores[..., kind] = torch.where(_in_middle(), 6.0, -8.0)
        assert float(detection_loss(told(scores), [mark], SIZE)["scores"]) < 0.01


def _in_middle() -> torch.Tensor:
    points, strides = places_of(*SIZE)
    return ((points - 16).abs().amax(-1) <= 6.0) & (strides == 4)


def test_axes_may_be_drawn_from_either_end_and_may_be_missing() -> None:
    mark = marked((8, 8, 24, 24))
    points, _ = places_of(*SIZE)
    ends = (mark.ends[0].flatten() - points.repeat(1, 4))[None]
    turned = (mark.ends[0][[1, 0, 3, 2]].flatten() - points.repeat(1, 4))[None]
    scores, reaches = torch.zeros(1, PLACES, 2), torch.ones(1, PLACES, 4)
    for each in (ends, turned):
        outputs = SliceOutputs(scores=scores, reaches=reaches, ends=each)
        assert detection_loss(outputs, [mark], SIZE)["ends"] == pytest.approx(0, abs=1e-6)
    away = SliceOutputs(scores=scores, reaches=reaches, ends=ends + 5)
    assert detection_loss(away, [mark], SIZE)["ends"] > 0.1
    undrawn = MarkedSlice(
        boxes=mark.boxes, types=mark.types, ends=torch.full_like(mark.ends, torch.nan)
    )
    assert detection_loss(away, [undrawn], SIZE)["ends"] == 0


@pytest.mark.timeout(600)
def test_a_tiny_set_is_learned_with_type_box_and_axes() -> None:
    """Four slices, a bright or a dark block each."""
    boxes = [(8.0, 8, 28, 24), (30.0, 34, 46, 56), (36.0, 6, 56, 22), (10.0, 36, 26, 56)]
    kinds = [0, 1, 0, 1]
    slabs = torch.zeros(4, 3, *SIZE)
    for slab, (x1, y1, x2, y2), kind in zip(slabs, boxes, kinds, strict=True):
        slab[:, int(y1) : int(y2), int(x1) : int(x2)] = 220 if kind == 0 else -150
    marks = [
        marked(box, types=[kind], complete=True) for box, kind in zip(boxes, kinds, strict=True)
    ]
    network = small()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    for _ in range(150):
        losses = detection_loss(network(slabs), marks, SIZE)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    with torch.inference_mode():
        found = decode(network(slabs), SIZE, least=0.3)
    for one, box, kind, mark in zip(found, boxes, kinds, marks, strict=True):
        assert int(one.types[0]) == kind
        assert float(overlap(one.boxes[:1], torch.tensor([box]))[0, 0]) > 0.6
        long = (one.ends[0, 1] - one.ends[0, 0]).norm()
        wanted = (mark.ends[0, 1] - mark.ends[0, 0]).norm()
        assert float(long) == pytest.approx(float(wanted), rel=0.3)


def seen(*rows: tuple[float, int, tuple[float, float, float, float]]) -> SliceDetections:
    boxes = torch.tensor([box for _, _, box in rows]).reshape(-1, 4)
    ends = torch.stack([boxes[:, :2], boxes[:, 2:], boxes[:, :2], boxes[:, 2:]], 1)
    return SliceDetections(
        scores=torch.tensor([score for score, _, _ in rows]),
        types=torch.tensor([kind for _, kind, _ in rows], dtype=torch.long),
        boxes=boxes,
        ends=ends,
    )


def test_slices_are_joined_over_a_gap_and_measured_where_the_axis_is_longest() -> None:
    small_box, large_box, other = (10.0, 10, 20, 20), (9.0, 9, 22, 22), (40.0, 40, 50, 50)
    found = [
        seen((0.4, 0, small_box)),
        seen((0.6, 1, large_box), (0.5, 1, other)),
        seen(),
        seen((0.9, 0, small_box)),
    ]
    first, second = join_slices(found)
    assert (first.first, first.last, first.key) == (0, 3, 1)
    assert first.score == pytest.approx(0.9)
    assert first.type == 0
    assert first.box.tolist() == [9, 9, 22, 22]
    assert (second.first, second.last) == (1, 1)
    assert len(join_slices(found, gap=0)) == 3


ROW = (
    '000001_01_01_109.png,"226.2, 90.0, 241.3, 112.0",'
    '"233.5, 95.0, 234.1, 107.0, 231.2, 101.6, 236.3, 101.1",{type},0,"0.488, 0.488, 5",1\n'
)
HEAD = (
    "File_name,Bounding_boxes,Measurement_coordinates,Coarse_lesion_type,Possibly_noisy,"
    "Spacing_mm_px_,Train_Val_Test\n"
)


def test_the_table_of_deep_lesion_gives_slices_with_all_their_marks(tmp_path: Path) -> None:
    noisy = ROW.format(type=2).replace(",2,0,", ",2,1,")
    table = tmp_path / "DL_info.csv"
    table.write_text(HEAD + ROW.format(type=3) + ROW.format(type=-1) + noisy)
    (one,) = read_deep_lesion(table)
    assert (one.volume, one.number, one.patient, one.part) == (
        "000001_01_01",
        109,
        "000001",
        Part.TRAIN,
    )
    assert one.spacing_mm == (0.488, 0.488, 5)
    assert one.marks.types.tolist() == [2, UNKNOWN_TYPE]
    assert one.marks.boxes[0].tolist() == pytest.approx([226.7, 90.5, 241.8, 112.5])
    assert one.marks.ends[0, 0].tolist() == pytest.approx([234.0, 95.5])
    assert not one.marks.complete


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("241.3", "200.0", "line 2: a box ends before it begins"),
        (", 112.0", "", "line 2: .* is not 4 numbers"),
        (",3,0,", ",9,0,", "line 2: 9 is no type"),
        ("Bounding_boxes", "Boxes", "no column bounding_boxes"),
    ],
)
def test_a_table_that_cannot_be_meant_names_its_line(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    table = tmp_path / "DL_info.csv"
    table.write_text((HEAD + ROW.format(type=3)).replace(old, new))
    with pytest.raises(ValueError, match=why):
        read_deep_lesion(table)


def test_slabs_are_interpolated_and_end_with_the_last_slice(tmp_path: Path) -> None:
    folder = tmp_path / "images" / "000001_01_01"
    folder.mkdir(parents=True)
    for number, value in ((108, 100), (109, 200), (110, 300)):
        plane = np.full((20, 30), 32768 + value, dtype=np.uint16)
        Image.fromarray(plane).save(folder / f"{number}.png")
    table = tmp_path / "DL_info.csv"
    table.write_text(HEAD + ROW.format(type=3))
    (one,) = read_deep_lesion(table)
    slab = slab_of(tmp_path / "images", one, slices=7, apart_mm=2.5)
    assert slab.shape == (7, 32, 32)
    assert slab[:, 0, 0].tolist() == [100, 100, 150, 200, 250, 300, 300]
    assert (slab[:, 20:] == -1024).all()
    (folder / "109.png").unlink()
    with pytest.raises(FileNotFoundError):
        slab_of(tmp_path / "images", one, slices=3)
