"""`dicomnode evaluate` on marked lesions: a stand-in detector against figures counted by hand.

The detector marks bright balls, the largest .9, the next .8, then .7.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dicomnode.cli import main
from dicomnode.domain.codes import LONG_AXIS, MM, SHORT_AXIS, Code
from dicomnode.domain.errors import StudyError, UnsupportedImage
from dicomnode.domain.findings import LesionFinding, Mark, Measurement
from dicomnode.domain.results import ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.results import encode_results
from dicomnode.evaluate.lesion_figures import operating_points
from dicomnode.evaluate.lesion_images import read_case, read_cases
from dicomnode.evaluate.lesion_truths import lesions_of_case, read_lesion_truths
from dicomnode.evaluation.froc import FoundLesion, TrueLesion, mark, over_volumes
from dicomnode.settings import OutputSettings
from dicomnode.testing.detector import write_detector
from dicomnode.testing.findings import PHANTOM_ALGORITHM
from dicomnode.testing.studies import StudyIdentity, ct_series
from dicomnode.testing.volumes import written_volume

Array = npt.NDArray[np.int16]
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
"""RAS; voxel (column, row, slice) lies at (column, row, 2 * slice) in LPS mm."""


def with_balls(*balls: tuple[int, int, int, float]) -> Array:
    """(columns, rows, slices) of soft tissue with balls of 300 HU: x, y, z, radius."""
    values = np.full((64, 64, 20), 40, dtype=np.int16)
    x, y, z = np.indices(values.shape)
    for bx, by, bz, radius in balls:
        apart = (x - bx) ** 2 + (y - by) ** 2 + (2 * (z - bz)) ** 2
        values[apart <= radius**2] = 300
    return values


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Three volumes of two patients, in the layout of LUNA16.

    a: ball 1 (x 15, .9) is a lesion of 14 mm, ball 2 (x 45, .8) is none; one of 4 mm is missed.
    b: ball 1 (.9) is none, ball 2 (.8) is a lesion of 8 mm, ball 3 (.7) is to be ignored.
    c: no ball, no lesion.
    """
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    volumes = {
        "a": with_balls((15, 15, 10, 7), (45, 45, 10, 5)),
        "b": with_balls((15, 15, 10, 7), (45, 45, 10, 5), (45, 15, 10, 4)),
        "c": with_balls(),
    }
    for name, values in volumes.items():
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), data / "images" / f"{name}.nii.gz")
    (data / "annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
        "a,15,15,20,14\n"
        "a,15,50,20,4\n"
        "b,45,45,20,8\n"
        "elsewhere,1,2,3,9\n"
    )
    (data / "annotations_excluded.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\nb,45,15,20,-1\n"
    )
    (data / "patients.csv").write_text("image,patient\na,p1\nb,p2\nc,p2\n")
    return data


def evaluated(data: Path, tmp_path: Path, *options: str, code: int = 0) -> Path:
    write_detector(tmp_path / "bundles")
    settings, report = tmp_path / "dicomnode.toml", tmp_path / "report.html"
    settings.write_text('[algorithms]\nroots = ["bundles"]\n')
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("evaluate", "bright_balls", str(data), "--out", str(report), *options),
                *("--draws", "50", "--settings", str(settings)),
            ]
        )
    assert ended.value.code == code
    return report


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_bundle_of_lesions_is_evaluated_as_counted_by_hand(
    marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the top: .9 a hit and b false, .8 a false and b hit; .7 counts for nothing."""
    report = evaluated(marked, tmp_path)

    said = " ".join(capsys.readouterr().out.split())
    assert "Lymph node: 1/8 FP 0.000, 1/4 FP 0.000, 1/2 FP 0.333, 1 FP 0.667, 2 FP 0.667" in said
    assert "any 0.667 (0.500 to 1.000), n 3" in said

    figures = json.loads(report.with_suffix(".json").read_text())
    (nodes,) = figures["types"]
    assert (nodes["name"], nodes["lesions"], nodes["marks"]) == ("Lymph node", 3, 2)
    assert (nodes["volumes"], nodes["patients"]) == (3, 2)
    assert nodes["curve"]["score"] == [None, 0.9, 0.8]
    assert nodes["curve"]["false_positives"] == pytest.approx([0, 1 / 3, 2 / 3], abs=1e-4)
    assert nodes["curve"]["sensitivity"] == pytest.approx([0, 1 / 3, 2 / 3], abs=1e-4)
    at = {rate: one["value"] for rate, one in nodes["sensitivity"].items()}
    assert at["0.25"] == 0
    assert at["0.5"] == pytest.approx(1 / 3, abs=1e-4)
    assert at["1.0"] == at["8.0"] == pytest.approx(2 / 3, abs=1e-4)
    assert nodes["recall"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    # of patients p1 and p2: recall 1/2 in p1, 1 in p2
    assert (nodes["recall"]["low"], nodes["recall"]["high"]) == (0.5, 1)
    assert [(one["low_mm"], one["recall"]["value"]) for one in nodes["sizes"]] == [
        (0, 0),
        (5, 1),
        (10, 1),
    ]
    assert {rate: float(score) for rate, score in nodes["points"].items()} == {
        "0.5": 0.9,
        **dict.fromkeys(("1", "2", "3", "4", "8"), 0.8),
    }
    # dicom.json: .7 for 1 false positive, .5 for 3, .1 for 8
    assert [(one["score"], one["false_positives"]) for one in nodes["in_force"]] == [
        (score, pytest.approx(2 / 3, abs=1e-4)) for score in (0.7, 0.5, 0.1)
    ]
    worst = [(one["lesion"]["volume"], one["score"]) for one in nodes["worst"]]
    assert worst == [("a", None), ("b", 0.8), ("a", 0.9)]
    assert [one["volume"] for one in nodes["surest_false"]] == ["b", "a"]
    assert figures["rows_of_other_volumes"] == 1
    html = report.read_text()
    assert html.count("data:image/png") == 2
    assert "never hit" in html
    assert "over 2 patients" in html


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_types_are_named_or_left_out_and_a_place_in_another_frame_is_refused(
    marked: Path, tmp_path: Path
) -> None:
    (marked / "annotations.csv").unlink()
    (marked / "lesions.csv").write_text(
        "volume,coordX,coordY,coordZ,diameter_mm,type\n"
        "a,15,15,20,14,node\n"
        "b,45,45,20,8,polyp\n"
        "c,-15,-15,20,8,node\n"
    )
    report = evaluated(marked, tmp_path, "--lesion-type", "node=lymph node")

    figures = json.loads(report.with_suffix(".json").read_text())
    (nodes,) = figures["types"]
    assert nodes["lesions"] == 1
    assert nodes["marks"] == 2  # the polyp is ignored
    assert figures["not_sought"] == {"polyp": 1}
    refused = {one["name"]: one["refused"] for one in figures["volumes"]}
    assert "LPS" in refused["c"]
    assert not refused["a"] + refused["b"]


def test_a_label_map_gives_each_part_as_a_lesion(marked: Path) -> None:
    (marked / "annotations.csv").unlink()
    (marked / "annotations_excluded.csv").unlink()
    (marked / "labels").mkdir()
    balls = (with_balls((15, 15, 10, 7), (45, 45, 10, 5)) > 200).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(3 * balls, AFFINE), marked / "labels" / "a.nii.gz")
    (marked / "labels.json").write_text('{"3": "Lymph node"}')
    case = read_cases(marked)[0]
    large, small = lesions_of_case(read_lesion_truths(marked), case, read_case(case, "CT"))

    assert large.kind == small.kind == "Lymph node"
    assert large.low_mm == pytest.approx((7.5, 7.5, 13))
    assert large.high_mm == pytest.approx((22.5, 22.5, 27))
    assert large.size_mm == pytest.approx(15, abs=0.3)
    assert small.size_mm == pytest.approx(11, abs=0.3)


def reported(folder: Path, findings: tuple[LesionFinding, ...], volume: Volume) -> None:
    """The node's SR on `findings` as the truth of the volume `ct`."""
    encoded = encode_results(
        findings,
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=Derivation(
            job_key="job 1",
            revision=1,
            made_at=datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
            software_versions=("dicomnode 1.0.0",),
        ),
        out=folder / "out",
        settings=OutputSettings(),
    )
    (report,) = (one.path for one in encoded if one.kind is ResultKind.SR)
    (folder / "labels").mkdir(exist_ok=True)
    report.replace(folder / "labels" / "ct.dcm")


def test_a_report_gives_its_lesions_as_truth(tmp_path: Path) -> None:
    dicom = tmp_path / "images" / "ct"
    dicom.mkdir(parents=True)
    volume = written_volume(ct_series(StudyIdentity(seed="truth")), dicom)
    _, row, column = volume.grid.spacing_mm
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[9, 20:26, 30:40] = True
    lines = (np.array([[30.0, 23.0], [40.0, 23.0]]), np.array([[35.0, 20.0], [35.0, 26.0]]))
    marks = tuple(
        Mark(slice_index=9, points=points, measurement=Measurement(name=code, value=mm, unit=MM))
        for points, code, mm in zip(
            lines, (LONG_AXIS, SHORT_AXIS), (10 * column, 6 * row), strict=True
        )
    )
    nodule = LesionFinding(
        name="Lung nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=None,
        laterality=None,
        score=0.9,
        marks=marks,
        measurements=tuple(mark.measurement for mark in marks if mark.measurement),
        mask=mask,
    )
    any_lesion = replace(
        nodule, name="Bone lesion 1", type=Code("52988006", "SCT", "Lesion"), mask=None
    )
    reported(tmp_path, (nodule, any_lesion), volume)
    (case,) = read_cases(tmp_path)
    found = lesions_of_case(read_lesion_truths(tmp_path), case, read_case(case, "CT"))

    assert [one.kind for one in found] == ["Nodule", "Bone lesion"]
    centre = (np.asarray(found[0].low_mm) + np.asarray(found[0].high_mm)) / 2
    place = volume.grid.affine_lps_mm @ (9, 22.5, 34.5, 1)
    np.testing.assert_allclose(centre, place[:3], atol=1e-3)
    assert found[0].size_mm == pytest.approx(10 * column)
    assert found[0].is_sphere
    # A report without a finding holds no lesion, though a frame around an image is drawn.
    reported(tmp_path, (), volume)
    assert not lesions_of_case(read_lesion_truths(tmp_path), case, read_case(case, "CT"))


def test_a_report_on_another_series_is_refused(tmp_path: Path) -> None:
    for seed in ("one", "other"):
        (tmp_path / seed).mkdir()
    (tmp_path / "images" / "ct").mkdir(parents=True)
    written_volume(ct_series(StudyIdentity(seed="one")), tmp_path / "images" / "ct")
    other = written_volume(ct_series(StudyIdentity(seed="other")), tmp_path / "other")
    reported(tmp_path, (), other)
    (case,) = read_cases(tmp_path)
    with pytest.raises(UnsupportedImage, match="none of this volume"):
        lesions_of_case(read_lesion_truths(tmp_path), case, read_case(case, "CT"))


def test_metaimages_of_simpleitk_are_read_in_their_place(tmp_path: Path) -> None:
    """Oblique and flipped: the voxel that SimpleITK places at a point lies there."""
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "images").mkdir()
    (tmp_path / "lesions.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n")
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    for name, direction, compressed in (
        ("plain", (1, 0, 0, 0, 1, 0, 0, 0, 1), False),
        ("flipped", (-1, 0, 0, 0, -1, 0, 0, 0, 1), True),
        ("oblique", (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1), False),
    ):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-100.5, 20.25, -300.0))
        image.SetDirection(direction)
        sitk.WriteImage(image, str(tmp_path / "images" / f"{name}.mhd"), compressed)
        case = next(one for one in read_cases(tmp_path) if one.name == name)
        volume = read_case(case, "CT")
        assert np.array_equal(volume.array, array)
        point = image.TransformIndexToPhysicalPoint((5, 1, 3))
        np.testing.assert_allclose((volume.grid.affine_lps_mm @ (3, 1, 5, 1))[:3], point)


def test_a_segmentation_of_the_node_gives_its_lesions_as_truth(tmp_path: Path) -> None:
    dicom = tmp_path / "images" / "ct"
    dicom.mkdir(parents=True)
    volume = written_volume(ct_series(StudyIdentity(seed="truth")), dicom)
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[8:11, 20:26, 30:40] = True
    step, row, column = volume.grid.spacing_mm
    nodule = LesionFinding(
        name="Lung nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=None,
        laterality=None,
        score=0.9,
        marks=(),
        mask=mask,
    )
    derivation = Derivation(
        job_key="job 1",
        revision=1,
        made_at=datetime(2026, 7, 1, 12, 0, tzinfo=UTC),
        software_versions=("dicomnode 1.0.0",),
    )
    encoded = encode_results(
        (nodule,),
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=derivation,
        out=tmp_path / "out",
        settings=OutputSettings(),
    )
    (tmp_path / "labels").mkdir()
    encoded[0].path.rename(tmp_path / "labels" / "ct.dcm")
    (case,) = read_cases(tmp_path)
    (lesion,) = lesions_of_case(read_lesion_truths(tmp_path), case, read_case(case, "CT"))

    assert lesion.kind == "Lung nodule"
    ends = np.array([[8, 20, 30, 1], [10, 25, 39, 1]]) @ volume.grid.affine_lps_mm.T
    centre = (np.asarray(lesion.low_mm) + np.asarray(lesion.high_mm)) / 2
    np.testing.assert_allclose(centre, ends[:, :3].mean(0), atol=1e-3)
    extent = np.sort(np.subtract(lesion.high_mm, lesion.low_mm))
    np.testing.assert_allclose(extent, np.sort([3 * step, 6 * row, 10 * column]), atol=1e-3)
    # from the middle of one side's outer edge to the last row of the other side
    assert lesion.size_mm == pytest.approx(np.hypot(10 * column, 5 * row))


def test_boxes_of_png_slices_count_towards_the_feet(tmp_path: Path) -> None:
    """Slices 103 to 105 of 5 mm: the last lies at 0, so slice 104 reaches from 2.5 to 7.5 mm."""
    folder = tmp_path / "images" / "000001_01_01"
    folder.mkdir(parents=True)
    for number in (103, 104, 105):
        plane = np.full((20, 30), 32768 + number, dtype=np.uint16)
        Image.fromarray(plane).save(folder / f"{number}.png")
    (tmp_path / "lesions.csv").write_text(
        "volume,x1,y1,x2,y2,z1,z2,source\n000001_01_01,10,4,20,12,104,104,manual_1k\n"
    )
    (tmp_path / "spacing.csv").write_text("volume,x_mm,y_mm,z_mm\n000001_01_01,0.5,0.8,5\n")
    (case,) = read_cases(tmp_path)
    volume = read_case(case, "CT")
    (box,) = lesions_of_case(read_lesion_truths(tmp_path), case, volume)

    assert volume.array[:, 0, 0].tolist() == [105, 104, 103]
    assert volume.grid.spacing_mm == (5, 0.8, 0.5)
    assert box.low_mm == pytest.approx((5, 3.2, 2.5))
    assert box.high_mm == pytest.approx((10, 9.6, 7.5))
    assert box.size_mm == pytest.approx(6.4)
    (tmp_path / "spacing.csv").unlink()
    with pytest.raises(UnsupportedImage, match=r"spacing\.csv"):
        read_case(read_cases(tmp_path)[0], "CT")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,2,3,0\n", "line 2: place and diameter"),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\na,1,,3,5\n", "line 2: no value"),
        ("volume,x1,y1,z1,x2,y2,z2\na,5,0,0,4,1,1\n", "line 2: a box ends before"),
        ("volume,x1,y1,z1,x2,y2,z2,source\na,0,0,0,1,1,1,s\na,0,0,0,1,1,1,t\n", "several sources"),
    ],
)
def test_a_table_that_cannot_be_meant_names_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "lesions.csv").write_text(text)
    with pytest.raises(StudyError, match=why):
        read_lesion_truths(tmp_path)


def test_without_a_truth_the_layout_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"neither lesions\.csv nor"):
        read_lesion_truths(tmp_path)


def test_an_operating_point_is_as_short_as_keeps_the_others_out() -> None:
    lesion = TrueLesion(
        volume="a", low_mm=(0, 0, 0), high_mm=(2, 2, 2), is_sphere=True, size_mm=2.0
    )
    scores = ((1.0, 0.712345), (50.0, 0.712341), (60.0, 0.3999), (70.0, 0.2))
    found = [FoundLesion(volume="a", point_mm=(x, 1, 1), score=score) for x, score in scores]
    points = operating_points(mark(["a"], [lesion], found))

    assert points[0.5] == 0.712345  # .7123 would show .712341 too
    assert points[1.0] == 0.712
    assert points[2.0] == 0.399


def test_volumes_of_one_patient_are_drawn_together() -> None:
    drawn: list[list[int]] = []

    def first_of_each(times: npt.NDArray[np.int_] | None) -> float:
        drawn.append([] if times is None else times.tolist())
        return 0.0

    over_volumes(first_of_each, 3, patients=["p", "q", "q"], draws=20)
    assert all(each[1] == each[2] and each[0] + each[1] == 2 for each in drawn if each)
