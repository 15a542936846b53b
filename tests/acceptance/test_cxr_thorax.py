"""The shipped reader of frontal radiographs: what it reads, what it refuses, what it writes."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from dicomnode.algorithm import RunContext
from dicomnode.cli.main import app
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.findings import CaptionFinding, ClassFinding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.pictures import read_picture
from dicomnode.pipeline.radiograph import read_radiograph

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_thorax"
SAMPLES = Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph"

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own

Pixels = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def reader() -> BundleAlgorithm:
    return load_bundle(BUNDLE)


@pytest.fixture(scope="module")
def radiograph() -> Volume:
    (path,) = SAMPLES.glob("*.dcm")
    return read_radiograph(path)


def with_pixels(volume: Volume, pixels: Pixels) -> Volume:
    array = np.ascontiguousarray(pixels[np.newaxis], dtype=np.float32)
    return replace(volume, array=array, grid=replace(volume.grid, shape=array.shape))


def run(reader: BundleAlgorithm, volume: Volume, folder: Path) -> list[ClassFinding]:
    findings = reader.run({"image": volume}, RunContext(device="cpu", scratch=folder))
    assert all(isinstance(one, ClassFinding | CaptionFinding) for one in findings)
    return [one for one in findings if isinstance(one, ClassFinding)]


def test_only_classes_that_are_good_enough_leave_the_node(
    reader: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    found = run(reader, radiograph, tmp_path)
    scored = json.loads((BUNDLE / "docs" / "cross_validation.json").read_text())
    good = {one["name"].replace("_", " ").lower() for one in scored if one["gain"][1] > 0}
    names = {one.name.lower() for one in found}
    assert names
    assert names <= good
    assert {"cardiomegaly", "effusion"} <= names
    assert not {"pneumonia", "pneumothorax"} & names
    assert all(0 < one.probability < 1 for one in found)
    assert "Research use only" in reader.identity.intended_use


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (np.rot90, "quarter"),
        (lambda pixels: np.rot90(pixels, 3), "quarter"),
        (lambda pixels: np.rot90(pixels, 2), "upside down"),
        (lambda pixels: pixels.max() - pixels, "negative"),
        (np.zeros_like, "something else"),
        (lambda pixels: np.random.default_rng(0).random(pixels.shape), "something else"),
    ],
    ids=["quarter left", "quarter right", "half", "negative", "blank", "noise"],
)
def test_what_is_not_upright_is_refused_with_the_reason(
    reader: BundleAlgorithm,
    radiograph: Volume,
    tmp_path: Path,
    change: Callable[[Pixels], Pixels],
    word: str,
) -> None:
    with pytest.raises(InputRefused, match=word):
        run(reader, with_pixels(radiograph, change(radiograph.array[0])), tmp_path)


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (1, 2)])
def test_what_has_no_square_pixels_is_refused_rather_than_read_out_of_proportion(
    reader: BundleAlgorithm, radiograph: Volume, tmp_path: Path, rows: int, columns: int
) -> None:
    squeezed = with_pixels(radiograph, radiograph.array[0, ::rows, ::columns])
    affine = squeezed.grid.affine_lps_mm @ np.diag([1.0, rows, columns, 1.0])
    squeezed = replace(squeezed, grid=replace(squeezed.grid, affine_lps_mm=affine))
    with pytest.raises(InputRefused, match="not square"):
        run(reader, squeezed, tmp_path)


@pytest.mark.parametrize(
    ("stored", "orientation"),
    [
        (np.fliplr, ("R", "F")),
        (np.rot90, ("F", "R")),
    ],
    ids=["mirrored", "turned"],
)
def test_what_its_header_calls_mirrored_or_turned_is_read_upright(
    reader: BundleAlgorithm,
    radiograph: Volume,
    tmp_path: Path,
    stored: Callable[..., Pixels],
    orientation: tuple[str, str],
) -> None:
    """Without that a mirrored radiograph would get its right lung at the patient's left."""
    lying = replace(with_pixels(radiograph, stored(radiograph.array[0])), orientation=orientation)
    context = RunContext(device="cpu", scratch=tmp_path)
    for name in ("cxr_thorax", "cxr_heart_lung"):
        bundle = load_bundle(BUNDLE.with_name(name))
        plain = bundle.run({"image": replace(radiograph, orientation=None)}, context)
        turned = bundle.run({"image": lying}, context)
        assert len(plain) == len(turned)
        for one, other in zip(plain, turned, strict=True):
            if isinstance(one, SegmentFinding) and isinstance(other, SegmentFinding):
                np.testing.assert_array_equal(other.mask[0], stored(one.mask[0]))
            if isinstance(one, ClassFinding) and isinstance(other, ClassFinding):
                assert other.probability == one.probability
    assert "it was read upright, turned as its PatientOrientation says" in context.notes


def test_heart_and_lungs_are_not_drawn_on_what_is_turned(
    radiograph: Volume, tmp_path: Path
) -> None:
    outlines = load_bundle(BUNDLE.with_name("cxr_heart_lung"))
    turned = with_pixels(radiograph, np.rot90(radiograph.array[0]))
    with pytest.raises(InputRefused, match="quarter"):
        outlines.run({"image": turned}, RunContext(device="cpu", scratch=tmp_path))


def test_size_aspect_and_borders_hardly_change_the_answer(
    reader: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    pixels = radiograph.array[0]
    plain = {one.name: one.probability for one in run(reader, radiograph, tmp_path)}
    bordered = with_pixels(radiograph, np.pad(pixels, ((0, 0), (60, 60))))
    for one in run(reader, bordered, tmp_path):
        assert abs(one.probability - plain[one.name]) < 0.15


def test_the_organs_lie_where_the_image_has_them(
    reader: BundleAlgorithm, radiograph: Volume, tmp_path: Path
) -> None:
    rows, columns = radiograph.array[0].shape
    reading = reader.reading({"image": radiograph}, RunContext(device="cpu", scratch=tmp_path))
    heart, right, left = (np.argwhere(organ > 0.5).mean(0) + 0.5 for organ in reading.organs)
    places = [
        (reading.to_image @ np.array([column, row, 1]))[:2] for row, column in (heart, right, left)
    ]
    assert places[1][0] < places[0][0] < places[2][0]
    assert all(0 < x < columns and 0 < y < rows for x, y in places)
    assert places[0][1] > places[1][1]
    corners = reading.to_image @ np.array([[0, 64], [0, 64], [1, 1]])
    side = max(rows, columns)
    assert np.ptp(corners[:2], axis=1) == pytest.approx([side, side], rel=0.01)


def test_a_labelled_folder_is_scored(radiograph: Volume, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    pixels = (radiograph.array[0] * 255).astype(np.uint8)
    with (data / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "patient", "split", "age", "sex", "view", "effusion"])
        for number in range(3):
            Image.fromarray(pixels[number:]).save(data / "images" / f"{number}.png")
            writer.writerow([f"{number}.png", number, "test", 50, "F", "PA", number % 2])
        Image.fromarray(pixels.T).save(data / "images" / "turned.png")
        writer.writerow(["turned.png", 9, "test", 50, "F", "PA", ""])
        writer.writerow(["missing.png", 9, "test", 50, "F", "PA", ""])
    out = tmp_path / "report" / "scores.html"
    words = ["evaluate", "cxr_thorax", str(data), "--split", "test", "--out", str(out)]
    result = CliRunner().invoke(app, [*words, "--draws", "20"])
    assert result.exit_code == 0, result.output
    figures = json.loads(out.with_suffix(".json").read_text())
    assert (figures["images"], figures["refused"]) == (4, 1)
    effusion = next(one for one in figures["classes"] if one["name"] == "Effusion")
    assert (effusion["known"], effusion["positive"], effusion["auc"]) == (3, 1, None)
    page = out.read_text()
    assert "Refused: 1 of 4" in page
    assert "<h2>Poolings and losses</h2>" in page
    heads = {one["head"] for one in figures["ablation"]["heads"]}
    assert {"lse r=10, w-cel", "max, w-cel", "average, w-cel", "lse r=10, cel"} <= heads
    assert figures["about"]["Model (SHA-256)"] in page


def test_a_picture_file_is_read_like_the_dicom_file(radiograph: Volume, tmp_path: Path) -> None:
    pixels = (radiograph.array[0] * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_picture(tmp_path / "a.png").array, radiograph.array, atol=0.01)
