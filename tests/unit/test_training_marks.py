"""A site's marks: divided by patient, looked at before training, operating points read anew."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.errors import StudyError
from dicomnode.evaluate.lesion_truths import read_lesion_truths
from dicomnode.pipeline.bundle import BundleAlgorithm, load_bundle
from dicomnode.pipeline.bundle_files import read_json
from dicomnode.testing.detector import write_detector
from dicomnode.testing.studies import StudyIdentity, ct_series
from dicomnode.testing.volumes import written_volume
from dicomnode.training.judging import Asked, Division
from dicomnode.training.marked import divide_marked
from dicomnode.training.marks import SiteMarks
from dicomnode.training.packing import pack
from dicomnode.training.patients import sides_of
from dicomnode.training.points import with_points

T = TypeVar("T")

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
"""RAS; voxel (column, row, slice) lies at (column, row, 2 * slice) in LPS mm."""
COLUMNS = "seriesuid,coordX,coordY,coordZ,diameter_mm,type\n"
BALLS = ((15, 15, 10, 7), (45, 45, 10, 5))
"""x, y, z, radius: the detector's first mark (.9) and its second (.8)."""


def every(sequence: Iterable[T]) -> Iterable[T]:
    return sequence


def write_volume(path: Path, balls: Sequence[tuple[int, int, int, int]] = BALLS) -> None:
    values = np.full((64, 64, 20), 40, dtype=np.int16)
    x, y, z = np.indices(values.shape)
    for bx, by, bz, radius in balls:
        values[(x - bx) ** 2 + (y - by) ** 2 + (2 * (z - bz)) ** 2 <= radius**2] = 300
    values[60:] = -1000
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Eight volumes; in each the first ball is a node and the second is none."""
    data = tmp_path / "site"
    for number in range(8):
        write_volume(data / "images" / f"v{number}.nii.gz")
    rows = "".join(f"v{number},15,15,20,14,Lymph node\n" for number in range(8))
    (data / "annotations.csv").write_text(COLUMNS + rows)
    return data


@pytest.fixture
def bundle(tmp_path: Path) -> BundleAlgorithm:
    return load_bundle(write_detector(tmp_path / "bundles"))


def asked(data: Path, out: Path, **changed: object) -> Asked:
    values = Asked(
        algorithm="bright_balls",
        data=data,
        out=out,
        hold_out=0.2,
        values={},
        dev=0.15,
        lesion_types={},
        draws=20,
        device="cpu",
    )
    return replace(values, **changed)  # type: ignore[arg-type]


def divided(data: Path, bundle: BundleAlgorithm, out: Path, **changed: object) -> Division:
    return divide_marked(asked(data, out, **changed), bundle, every)


def volumes_in(folder: Path) -> set[str]:
    return {path.name.split(".")[0] for path in (folder / "images").iterdir()}


def test_each_patient_is_on_one_side_with_the_marks_of_that_side(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    (site / "annotations_excluded.csv").write_text(COLUMNS + "v1,45,45,20,-1,\n")
    out = tmp_path / "out"
    division = divided(site, bundle, out, hold_out=0.3, dev=0.3)
    parts = [volumes_in(out / name) for name in ("learned", "dev", "held_out")]
    assert sum(map(len, parts)) == 8
    assert len(set.union(*parts)) == 8
    for name, part in zip(("learned", "dev", "held_out"), parts, strict=True):
        rows = read_lesion_truths(out / name).rows
        assert {row.volume for row in rows if not row.ignored} == part
    assert f"{len(parts[0])} marked lesions in {len(parts[0])} volumes" in division.said
    assert division.told[0].endswith(f"lesions: {len(parts[0])} Lymph node")


def test_a_growing_folder_keeps_all_three_sides_apart_from_what_was_learned() -> None:
    names = [f"patient {number}" for number in range(200)]
    learned: frozenset[str] = frozenset()
    for count in range(3, 201):
        sides = sides_of(names[:count], held_out=0.2, dev=0.15)
        assert not learned & (sides.dev | sides.held_out)
        assert sides.learned
        assert sides.dev
        assert sides.held_out
        learned = sides.learned
    assert len(sides.held_out) == pytest.approx(40, abs=15)
    assert len(sides.dev) == pytest.approx(30, abs=15)


def test_another_share_is_refused_where_it_would_take_whom_training_saw(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    divided(site, bundle, tmp_path / "out", hold_out=0.01, dev=0.0)
    with pytest.raises(StudyError, match="take another --out"):
        divided(site, bundle, tmp_path / "out", hold_out=0.01, dev=0.8)


def series(folder: Path, seed: str, patient: str, number: str = "1") -> None:
    folder.mkdir(parents=True)
    written_volume(ct_series(StudyIdentity(seed=seed, patient_id=patient), series=number), folder)


def test_two_series_of_one_patient_are_told_by_the_header_and_its_id_goes_nowhere(
    bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    site, out = tmp_path / "site", tmp_path / "out"
    rows = []
    for name, seed, patient in (("a", "1", "ID-77"), ("b", "2", "ID-77"), ("c", "3", "ID-78")):
        series(site / "images" / name, seed, patient)
        ds = dcmread(min((site / "images" / name).iterdir()))
        x, y, z = ds.ImagePositionPatient
        rows.append(f"{ds.SeriesInstanceUID},{x + 20},{y + 20},{z + 9},9,lymph node\n")
    (site / "lesions.csv").write_text(COLUMNS + "".join(rows))
    divided(site, bundle, out)
    assert {"a", "b"} in [volumes_in(out / name) for name in ("learned", "held_out")]
    for table in out.rglob("patients.csv"):
        assert "ID-7" not in table.read_text()
        with table.open() as file:
            assert all(row["patient"].startswith("patient ") for row in csv.DictReader(file))


def test_one_study_on_both_sides_is_refused(bundle: BundleAlgorithm, tmp_path: Path) -> None:
    site = tmp_path / "site"
    for number, name in enumerate("ab", start=1):
        series(site / "images" / name, "one", "ID", str(number))
    ds = dcmread(min((site / "images" / "a").iterdir()))
    x, y, z = ds.ImagePositionPatient
    (site / "lesions.csv").write_text(COLUMNS + f"a,{x + 20},{y + 20},{z + 9},9,lymph node\n")
    (site / "patients.csv").write_text("image,patient\na,anna\nb,berta\n")
    with pytest.raises(StudyError, match=r"a and b are of one study, but of two patients"):
        divided(site, bundle, tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("v0,-15,-15,20,14,Lymph node", r"v0: .*outside of the volume.*they may be RAS"),
        ("v0,40,50,400,14,Lymph node", r"outside of the volume: places are to be LPS, in mm\. M"),
        ("v0,62,15,20,3,Lymph node", r"v0: .*lies in air: places are to be LPS"),
        ("v0,15,15,20,,Lymph node", "annotations.csv, line 2: no value in the column diameter_mm"),
        ("v0,15,15,20,14,Tumour", "looks for .Lymph node., but 'Tumour': say which it is by --les"),
        ("1.2.3,15,15,20,14,Lymph node", "the first is about '1.2.3'.*its SeriesInstanceUID"),
    ],
)
def test_marks_that_cannot_be_meant_are_refused_before_training(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path, row: str, why: str
) -> None:
    (site / "annotations.csv").write_text(f"{COLUMNS}{row}\n")
    with pytest.raises(StudyError, match=why):
        divided(site, bundle, tmp_path / "out")
    assert not (tmp_path / "out" / "learned").exists()


def test_voxels_in_place_of_millimetres_are_told(
    bundle: BundleAlgorithm, site: Path, tmp_path: Path
) -> None:
    """A CT whose origin is not 0, as that of every scanner."""
    moved = AFFINE.copy()
    moved[:3, 3] = (150, 140, -300)
    file: Any = nibabel.load(site / "images" / "v0.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(file.dataobj), moved), site / "images/v0.nii.gz")
    with pytest.raises(StudyError, match="as column, row and slice it would lie inside"):
        divided_with(site, bundle, tmp_path, "v0,15,15,10,14,Lymph node")


def divided_with(site: Path, bundle: BundleAlgorithm, tmp_path: Path, row: str) -> Division:
    (site / "annotations.csv").write_text(f"{COLUMNS}{row}\n")
    return divided(site, bundle, tmp_path / "out")


def test_a_volume_that_the_bundle_would_refuse_is_refused_before_training(
    site: Path, tmp_path: Path
) -> None:
    root = write_detector(tmp_path / "bundles")
    dicom = read_json(root / "configs" / "dicom.json")
    dicom["inputs"] = {"image": {"modality": ["CT"], "dimensions": 3, "min_slices": 21}}
    (root / "configs" / "dicom.json").write_text(json.dumps(dicom))
    with pytest.raises(StudyError, match="v0: input 'image' has 20 slices, fewer than 21"):
        divided(site, load_bundle(root), tmp_path / "out")


def test_all_volumes_with_faults_are_named_at_once(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    rows = "".join(f"v{number},500,15,20,14,Lymph node\n" for number in range(7))
    (site / "annotations.csv").write_text(COLUMNS + rows)
    with pytest.raises(StudyError, match=r"v0: .*; v4: .*; and 2 more\. Mend"):
        divided(site, bundle, tmp_path / "out")


def test_rows_and_types_that_are_left_out_are_told(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    more = "other,15,15,20,14,Lymph node\nv1,45,45,20,10,scar\nv2,45,45,20,10,LN\n"
    with (site / "annotations.csv").open("a") as file:
        file.write(more)
    division = divided(site, bundle, tmp_path / "out", lesion_types={"LN": "lymph node"})
    told = "\n".join(division.told)
    assert "1 lesions of the type 'scar'" in told
    assert "1 rows about volumes that are not in the folder, the first about 'other'" in told
    said = json.loads((tmp_path / "out" / "learned" / "lesion_types.json").read_text())
    assert said == {"LN": "lymph node"}
    with pytest.raises(StudyError, match="'Spleen' is none of the bundle's types: Lymph node"):
        divided(site, bundle, tmp_path / "out", lesion_types={"scar": "Spleen"})


def test_each_part_has_its_masks_and_the_voxels_of_its_metaimages(
    bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    site, out = tmp_path / "site", tmp_path / "out"
    (site / "images").mkdir(parents=True)
    (site / "labels").mkdir()
    for number in range(4):
        write_volume(tmp_path / "ball.nii.gz", BALLS[:1])
        ball: Any = nibabel.load(tmp_path / "ball.nii.gz")
        values = np.asarray(ball.dataobj, np.int16)
        image = sitk.GetImageFromArray(values.transpose(2, 1, 0))
        image.SetSpacing((1.0, 1.0, 2.0))
        sitk.WriteImage(image, str(site / "images" / f"v{number}.mhd"))
        mask = nibabel.Nifti1Image((values > 200).astype(np.uint8), AFFINE)
        nibabel.save(mask, site / "labels" / f"v{number}.nii.gz")
    (site / "labels.json").write_text('{"1": "Lymph node"}')
    pred = bundle.manifest.outputs.pred
    assert pred.kind == "lesions"
    divided(site, bundle, out)
    for name in ("learned", "dev", "held_out"):
        part = SiteMarks(out / name, pred, {})
        for case in part.cases:
            volume, (lesion,) = part.read(case)
            assert volume.array.max() == 300
            assert lesion.kind == "Lymph node"
            assert lesion.low_mm == pytest.approx((7.5, 7.5, 13))
        labels = {path.name.split(".")[0] for path in (out / name / "labels").iterdir()}
        assert labels == {case.name for case in part.cases}


def test_a_type_that_nobody_has_who_is_learned_from_is_told_to_be_unknown_there(
    site: Path, tmp_path: Path
) -> None:
    code = ["1", "99X", "Any"]
    types = {"1": {"name": "Lymph node", "code": code}, "2": {"name": "Polyp", "code": code}}
    bundle = load_bundle(write_detector(tmp_path / "bundles", types=types))
    (held_out,) = sides_of([f"v{number}" for number in range(8)], held_out=0.01).held_out
    with (site / "annotations.csv").open("a") as file:
        file.write(f"{held_out},45,45,20,10,polyp\n")
    division = divided(site, bundle, tmp_path / "out", hold_out=0.01, dev=0.0)
    assert division.told[1] == "operating points from: nobody"
    assert division.told[2].endswith("lesions: 1 Lymph node, 1 Polyp")
    assert division.told[3] == "not marked there, so neither learned nor forbidden: Polyp"


def test_who_is_held_out_without_a_lesion_could_not_be_judged_by(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    held_out = sides_of([f"v{number}" for number in range(8)], held_out=0.2, dev=0.15).held_out
    rows = "".join(
        f"v{number},15,15,20,14,\n" for number in range(8) if f"v{number}" not in held_out
    )
    (site / "annotations.csv").write_text(COLUMNS + rows)
    with pytest.raises(StudyError, match=r"no lesion is marked in the .* held out"):
        divided(site, bundle, tmp_path / "out")


@pytest.mark.filterwarnings("ignore::FutureWarning:monai")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_operating_points_come_from_the_dev_part_alone(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    """There the second ball (.8) is false in every volume; held out and learned from it is gone."""
    names = [f"v{number}" for number in range(8)]
    sides = sides_of(names, held_out=0.01, dev=0.7)
    for name in set(names) - sides.dev:
        write_volume(site / "images" / f"{name}.nii.gz", BALLS[:1])
    out = tmp_path / "out"
    division = divided(site, bundle, out, hold_out=0.01, dev=0.7)
    assert division.settle is not None
    root = tmp_path / "bundles" / "bright_balls"
    said = division.settle(root, root, out / "changed")
    count = len(sides.dev)
    assert said.startswith(f"Operating points of Lymph node from {count} volumes of {count} ")
    (out / "changed" / "models").mkdir()
    (out / "changed" / "models" / "model.safetensors").write_bytes(
        (root / "models" / "model.safetensors").read_bytes()
    )
    version = pack(root, out / "changed", out / "bundle", said=f"{division.said} {said}")
    new = load_bundle(out / "bundle").manifest.outputs.pred
    assert new.kind == "lesions"
    assert new.points_of(1) == new.operating_points == {1.0: 0.8, 3.0: 0.8, 8.0: 0.8}
    use = str(read_json(out / "bundle" / "configs" / "dicom.json")["intended_use"])
    assert use.count("further") == 1
    # Other points make another version of the same weights.
    (out / "changed" / "configs" / "dicom.json").unlink()
    assert pack(root, out / "changed", out / "bundle", said="") != version


def test_too_few_volumes_leave_the_points_as_they_are(
    site: Path, bundle: BundleAlgorithm, tmp_path: Path
) -> None:
    stale = tmp_path / "out" / "changed" / "configs" / "dicom.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    division = divided(site, bundle, tmp_path / "out", dev=0.01)
    assert division.settle is None
    assert "Operating points and outlines are as shipped." in division.said
    assert "fewer than 4 volumes" in "\n".join(division.told)
    assert not stale.exists()


def test_points_of_all_types_follow_the_type_that_they_were_of() -> None:
    shipped = {
        "outputs": {
            "pred": {
                "types": {
                    "1": {"operating_points": {"1": 0.4}},
                    "2": {"operating_points": {"1": 0.3}},
                    "3": {},
                },
                "operating_points": {"1": 0.4},
            }
        }
    }
    second = with_points(shipped, {2: {1.0: 0.7}, 3: {1.0: 0.6}})["outputs"]["pred"]
    assert second["operating_points"] == {"1": 0.4}
    assert [one["operating_points"]["1"] for one in second["types"].values()] == [0.4, 0.7, 0.6]
    first = with_points(shipped, {1: {0.5: 0.9, 1.0: 0.8}})["outputs"]["pred"]
    assert first["operating_points"] == {"0.5": 0.9, "1": 0.8}
