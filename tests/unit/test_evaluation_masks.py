"""How well masks fit, against figures that can be worked out by hand."""

import json
from math import isnan
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicomnode.cli.main import main
from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.names import meanings_for, unmeant
from dicomnode.evaluate.pairs import read_image, read_pairs, read_truth
from dicomnode.evaluation.masks import fit_of, limits_of_agreement, mean_interval
from dicomnode.pipeline.tensors import grid_of_ras, ras_affine
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.bundles import BundleRecipe, write_bundle
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

SPACING = (3.0, 2.0, 1.0)


def box(*sides: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def test_equal_masks_have_no_distance() -> None:
    fit = fit_of(box((2, 9), (3, 9), (4, 9)), box((2, 9), (3, 9), (4, 9)), SPACING, 6.0)

    assert (fit.dice, fit.asd_mm, fit.hd95_mm, fit.error_ml) == (1, 0, 0, 0)
    assert fit.true_ml == pytest.approx(7 * 6 * 5 * 6 / 1000)


@pytest.mark.parametrize(("axis", "apart"), [(0, 3.0), (1, 2.0), (2, 1.0)])
def test_a_sheet_moved_by_one_voxel_is_one_spacing_away(axis: int, apart: float) -> None:
    sides = [(0, 20)] * 3
    sides[axis] = (9, 10)
    true = box(*sides)

    fit = fit_of(np.roll(true, 1, axis), true, SPACING, 6.0)

    assert fit.dice == 0
    assert fit.asd_mm == pytest.approx(apart)
    assert fit.hd95_mm == pytest.approx(apart)


def test_half_of_a_box_has_the_dice_of_its_share_and_its_volume_error() -> None:
    fit = fit_of(box((0, 5), (0, 20), (0, 20)), box((0, 10), (0, 20), (0, 20)), SPACING, 6.0)

    assert fit.dice == pytest.approx(2 * 5 / 15)
    assert fit.error_ml == pytest.approx(-5 * 400 * 6 / 1000)


def test_concentric_balls_are_as_far_apart_as_their_radii() -> None:
    z, y, x = np.indices((60, 60, 60)) - 30
    radius = np.sqrt(z**2 + y**2 + x**2)

    fit = fit_of(radius <= 20, radius <= 15, (1.0, 1.0, 1.0), 1.0)

    assert fit.asd_mm == pytest.approx(5, abs=0.25)
    assert fit.hd95_mm == pytest.approx(5, abs=0.5)
    ball = 4 / 3 * np.pi
    assert fit.error_ml == pytest.approx(ball * (20**3 - 15**3) / 1000, rel=0.02)


def test_nothing_found_has_dice_0_and_nothing_there_has_none() -> None:
    nothing, something = box((0, 0), (0, 0), (0, 0)), box((1, 2), (1, 2), (1, 2))

    missed = fit_of(nothing, something, SPACING, 6.0)
    wrong = fit_of(something, nothing, SPACING, 6.0)
    neither = fit_of(nothing, nothing, SPACING, 6.0)

    assert missed.dice == wrong.dice == 0
    assert isnan(missed.asd_mm)
    assert isnan(neither.dice)
    with pytest.raises(ValueError, match="different grids"):
        fit_of(nothing, nothing[:3], SPACING, 6.0)


def test_the_interval_of_a_mean_draws_patients_and_leaves_out_what_is_unknown() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0, np.nan])
    interval = mean_interval(values, ["a", "a", "b", "b", "c"])

    assert (interval.value, interval.low, interval.high) == (0.5, 0, 1)
    single = mean_interval(np.full(50, 0.3), [str(n) for n in range(50)])
    assert (single.low, single.high) == pytest.approx((0.3, 0.3))
    assert isnan(mean_interval(values[:2], ["a", "a"]).low)
    assert isnan(mean_interval(values[4:], ["c"]).value)


def test_limits_of_agreement_are_bias_and_1_96_deviations() -> None:
    limits = limits_of_agreement(np.array([11.0, 9, 13]), np.array([10.0, 10, 10]))

    assert limits.bias == pytest.approx(1)
    assert limits.high - limits.bias == pytest.approx(1.96 * 2)
    assert isnan(limits_of_agreement(np.array([1.0]), np.array([1.0])).high)


def outlined(folder: Path) -> Path:
    """Two oblique CTs, as DICOM and as NIfTI; truth: the air, half of it in the second."""
    (folder / "labels").mkdir(parents=True)
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.3)), float(np.sin(0.3)))
    geometry = SeriesGeometry(rows=24, columns=20, slices=12, orientation=tilted)
    hounsfield = np.full((12, 24, 20), 40, dtype=np.int16)
    hounsfield[3:9, 4:20, 5:15] = -1000
    dicom = folder / "images" / "first"
    dicom.mkdir(parents=True)
    for index, ds in enumerate(ct_series(StudyIdentity(seed="eval"), geometry, hounsfield)):
        ds.save_as(dicom / f"{index}.dcm", enforce_file_format=True)
    volume = read_series(sorted(dicom.iterdir()))
    affine = ras_affine(volume.grid)
    nibabel.save(nibabel.Nifti1Image(volume.array.T, affine), folder / "images" / "second.nii.gz")
    air = (volume.array < -500).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(7 * air.T, affine), folder / "labels" / "first.nii.gz")
    half = air.copy()
    half[6:] = 0
    # the same place with its first axis reversed: only the affine tells
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = half.shape[2] - 1
    turned = nibabel.Nifti1Image(7 * half.T[::-1], affine @ flip)
    nibabel.save(turned, folder / "labels" / "second.nii.gz")
    (folder / "labels.json").write_text('{"7": "air", "8": "something else"}')
    return folder


def test_a_grid_survives_the_way_to_nifti_and_back(tmp_path: Path) -> None:
    pairs, labels = read_pairs(outlined(tmp_path))
    first, second = (read_image(pair, "CT") for pair in pairs)

    assert labels[7] == "air"
    np.testing.assert_allclose(second.grid.affine_lps_mm, first.grid.affine_lps_mm, atol=1e-3)
    np.testing.assert_array_equal(second.array, first.array)
    assert grid_of_ras(ras_affine(first.grid), first.grid.shape, "1.2").spacing_mm == (
        pytest.approx(first.grid.spacing_mm)
    )
    truth = read_truth(pairs[1].truth, second.grid)
    assert (truth[:6] == 7).sum() == (first.array[:6] < -500).sum()
    assert not (truth[6:]).any()


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_bundle_of_segments_is_evaluated_on_dicom_and_nifti(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "bundles", BundleRecipe())
    settings = tmp_path / "dicomnode.toml"
    settings.write_text('[algorithms]\nroots = ["bundles"]\n')
    data, report = outlined(tmp_path / "data"), tmp_path / "report.html"

    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("evaluate", "test_air", str(data), "--out", str(report.with_suffix(""))),
                *("--draws", "50", "--settings", str(settings)),
            ]
        )

    printed = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0, printed
    assert "air: Dice 0.83" in printed
    assert "not scored: something else" in printed
    figures = json.loads(report.with_suffix(".json").read_text())
    (air,) = figures["segments"]
    cases = {case["name"]: case["segments"]["air"] for case in figures["cases"]}
    assert cases["first"]["dice"] == 1
    assert cases["second"]["dice"] == pytest.approx(2 / 3, abs=1e-3)
    assert air["dice"]["value"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-3)
    assert air["limits_ml"]["bias"] > 0
    html = report.read_text()
    assert html.count("data:image/png") == 3
    assert "not scored: something else" in html
    assert figures["not_scored"] == ["something else"]
    assert html.index("second: Dice") < html.index("first: Dice")


SPINE = {1: "vertebrae_L1", 2: "sacrum"}


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        ({1: "kidney_right", 2: "kidney_left"}, {1: "right kidney", 2: "left kidney"}),
        ({1: "right kidney", 9: "scar"}, {1: "right kidney"}),
        (SPINE | {3: "rib_left_7", 4: "liver"}, {1: "bone", 2: "bone", 3: "bone", 4: "liver"}),
        (SPINE | {4: "liver"}, {4: "liver"}),
        ({1: "bone", 2: "rib_left_7"}, {1: "bone"}),
    ],
    ids=["sides", "unknown", "all bone", "the spine alone", "bone itself"],
)
def test_labels_called_as_totalsegmentator_does_mean_the_bundles_segments(
    labels: dict[int, str], meant: dict[int, str]
) -> None:
    segments = {"right kidney", "left kidney", "bone", "liver"}
    assert meanings_for(labels, segments) == meant
    assert set(unmeant(labels, meant)) == {
        labels[number] for number in labels if number not in meant
    }
    with pytest.raises(StudyError, match=r"none of the bundle's segments: spleen"):
        meanings_for(labels, {"spleen"})


@pytest.mark.parametrize("option", ["--box-label", "--lesion-type"])
def test_a_pair_that_is_none_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    given = ["evaluate", "none", str(tmp_path), "--out", "r.html", option, "Lung nodule"]
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert f"{option} Lung nodule: " in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("missing", "why"),
    [("images", "has no images"), ("labels/first.nii.gz", "one of images and labels")],
)
def test_a_folder_that_is_not_whole_says_what_is_missing(
    tmp_path: Path, missing: str, why: str
) -> None:
    data = outlined(tmp_path / "data")
    (data / missing).rename(tmp_path / "gone")
    with pytest.raises(StudyError, match=why):
        read_pairs(data)


def test_a_list_of_labels_that_names_nothing_is_an_error(tmp_path: Path) -> None:
    data = outlined(tmp_path / "data")
    for text, why in (("{}", "names no label"), ("[1]", "not of the form")):
        (data / "labels.json").write_text(text)
        with pytest.raises(StudyError, match=why):
            read_pairs(data)
