"""`dicomnode train`: a site's labelled folder in, a bundle to add out."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from pydicom import dcmread
from safetensors.torch import load_file

from dicomnode.cli.main import main
from dicomnode.domain.errors import StudyError
from dicomnode.phantom import Organ, make_case
from dicomnode.phantom.lesions import LesionKind
from dicomnode.phantom.masks import organ_of
from dicomnode.phantom.series import write_case
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.tensors import ras_affine
from dicomnode.testing.studies import StudyIdentity
from dicomnode.training.parts import divide
from dicomnode.training.patients import sides_of
from dicomnode.training.stocks import site_stocks

SPACING = (6.0, 4.0, 4.0)
SEGMENTS = {1: "liver", 2: "left kidney"}
LABELS = {
    1: "liver",
    2: "kidney_left",
    3: "scar",
    4: "pancreas",
    5: "lung_lower_lobe_right",
    6: "lung_lower_lobe_left",
}
ORGANS = {
    1: Organ.LIVER,
    2: Organ.KIDNEY_LEFT,
    4: Organ.PANCREAS,
    5: Organ.LUNG_RIGHT,
    6: Organ.LUNG_LEFT,
}


def site(folder: Path, *, people: int, labels: dict[int, str] | None = None) -> Path:
    """Upper bellies of phantoms as a researcher might hand them over: NIfTI, some organs."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed in range(people):
        case = make_case(seed, region=(60.0, 210.0), spacing_mm=SPACING, pathology={}, detail=False)
        drawn = np.zeros(case.labels.shape, np.uint8)
        for number, organ in ORGANS.items():
            drawn[case.labels == organ] = number
        affine = ras_affine(case.grid)
        for kind, values in (("images", case.hu.astype(np.int16)), ("labels", drawn)):
            file = nibabel.Nifti1Image(values.T, affine)
            nibabel.save(file, folder / kind / f"case{seed}.nii.gz")
    (folder / "labels.json").write_text(json.dumps(labels or LABELS))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site(tmp_path_factory.mktemp("site"), people=3)


def test_patients_are_kept_apart_and_a_growing_folder_keeps_them_there(
    tmp_path: Path, data: Path
) -> None:
    (data / "patients.csv").write_text("image,patient\ncase0,A\ncase1,B\ncase2,A\n")
    try:
        parts = divide(data, tmp_path, meanings=SEGMENTS, share=0.4)
    finally:
        (data / "patients.csv").unlink()
    assert parts.held_out is not None
    assert {parts.learned.patients, parts.held_out.patients} == {1}
    assert parts.learned.images + parts.held_out.images == 3
    names = [
        {path.name for path in (part.folder / "images").iterdir()}
        for part in (parts.learned, parts.held_out)
    ]
    assert not names[0] & names[1]
    both_of_a = {"case0.nii.gz", "case2.nii.gz"}
    assert both_of_a in names


def test_nobody_who_was_learned_from_is_held_out_later() -> None:
    names = [f"patient {number}" for number in range(200)]
    held_out: frozenset[str] = frozenset()
    for count in range(10, 201, 10):
        now = sides_of(names[:count], held_out=0.2).held_out
        assert not (now - held_out) & set(names[: count - 10])
        held_out = now
    assert 25 < len(held_out) < 55


def test_another_share_is_refused_where_it_would_hold_out_whom_training_saw(
    tmp_path: Path, data: Path
) -> None:
    first = divide(data, tmp_path, meanings=SEGMENTS, share=0.01)
    assert divide(data, tmp_path, meanings=SEGMENTS, share=0.01) == first
    with pytest.raises(StudyError, match="take another --out"):
        divide(data, tmp_path, meanings=SEGMENTS, share=0.9)


def test_one_patient_is_not_both_learned_from_and_judged_by(tmp_path: Path, data: Path) -> None:
    (data / "patients.csv").write_text("image,patient\ncase0,A\ncase1,A\ncase2,A\n")
    try:
        with pytest.raises(StudyError, match="labelled images of others"):
            divide(data, tmp_path, meanings=SEGMENTS, share=0.2)
        assert divide(data, tmp_path, meanings=SEGMENTS, share=0).held_out is None
    finally:
        (data / "patients.csv").unlink()


def test_a_ct_is_the_same_anatomy_however_its_axes_lie(tmp_path: Path, data: Path) -> None:
    turned = tmp_path / "turned"
    for kind in ("images", "labels"):
        (turned / kind).mkdir(parents=True)
        file: Any = nibabel.load(data / kind / "case0.nii.gz")
        other = nibabel.orientations.axcodes2ornt(("I", "A", "R"))
        here = nibabel.io_orientation(file.affine)
        moved = file.as_reoriented(nibabel.orientations.ornt_transform(here, other))
        nibabel.save(moved, turned / kind / "case0.nii.gz")
    (turned / "labels.json").write_text(json.dumps(LABELS))
    plain, organs = site_stocks(data, organ_of, (3.0, 3.0, 3.0), tmp_path / "a")
    other_way, _ = site_stocks(turned, organ_of, (3.0, 3.0, 3.0), tmp_path / "b")
    assert organs == set(ORGANS.values())
    assert len(plain) == 3
    first, second = plain[0], other_way[0]
    assert first.labels.shape == second.labels.shape == (50, 112, 140)
    assert np.array_equal(first.labels, second.labels)
    assert first.hu is not None
    assert second.hu is not None
    assert np.array_equal(first.hu, second.hu)
    # The patient's left is where columns rise, the back where rows do.
    middle = np.argwhere(first.labels == Organ.LIVER).mean(0)
    kidney = np.argwhere(first.labels == Organ.KIDNEY_LEFT).mean(0)
    assert kidney[2] > middle[2] + 20
    assert kidney[1] > middle[1]
    assert first.unlabelled is not None
    assert not (first.unlabelled & (first.labels == Organ.LIVER)).any()


def test_labels_as_totalsegmentator_names_them_are_judged_as_the_bundles_segments(
    tmp_path: Path, data: Path
) -> None:
    parts = divide(data, tmp_path, meanings=SEGMENTS, share=0.3)
    assert parts.held_out is not None
    names = [
        json.loads((part.folder / "labels.json").read_text())["2"]
        for part in (parts.learned, parts.held_out)
    ]
    assert names == ["kidney_left", "left kidney"]
    with pytest.raises(StudyError, match="none of the bundle's segments: spleen"):
        divide(data, tmp_path, meanings={1: "spleen"}, share=0.3)


def test_labels_that_name_no_organ_are_refused(tmp_path: Path, data: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for kind in ("images", "labels"):
        (odd / kind).symlink_to(data / kind)
    (odd / "labels.json").write_text(json.dumps({"1": "scar"}))
    with pytest.raises(StudyError, match="no known organ: scar"):
        site_stocks(odd, organ_of, (3.0, 3.0, 3.0), tmp_path / "kept")


@pytest.mark.parametrize(
    ("name", "quick"),
    [
        ("body_ct", {"seconds": 2, "people": 1, "workers": 0}),
        ("pancreas", {"seconds": 1, "people": 1, "workers": 0}),
        (
            "lung_ct",
            {"steps": 2, "phantoms": 1, "batch_size": 2, "validation_samples": 4, "workers": 0},
        ),
    ],
)
def test_a_bundle_is_trained_further_judged_and_ready_to_be_added(
    tmp_path: Path,
    data: Path,
    name: str,
    quick: dict[str, int],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "trained"
    options = [word for key, value in quick.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as ended:
        main(["train", name, str(data), "--out", str(out), *options])
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err[-3000:]
    assert "Dice on patients held out" in said.out
    for judged in ("before", "after"):
        assert len(json.loads((out / f"{judged}.json").read_text())["cases"]) == 1
    learned = {path.name for path in (out / "learned" / "images").iterdir()}
    held_out = {path.name for path in (out / "held_out" / "images").iterdir()}
    assert len(learned) == 2
    assert not learned & held_out

    new = load_bundle(out / "bundle")
    assert "2 labelled images of 2 patients of this site" in new.identity.intended_use
    assert "+site." in new.identity.version
    shipped = Path(__file__).parents[2] / "algorithms" / name / "models" / "model.safetensors"
    weights = (out / "bundle" / "models" / "model.safetensors").read_bytes()
    assert weights != shipped.read_bytes()
    assert (out / "bundle" / "docs" / "README.md").read_text().startswith("> **Trained further")

    with pytest.raises(SystemExit) as added:
        main(["models", "add", str(out / "bundle"), "--activate"])
    assert added.value.code == 0, capfd.readouterr().err
    assert new.identity.version in capfd.readouterr().out


def marked_site(folder: Path, *, people: int) -> Path:
    """Chests of phantoms as a site might hand them over: DICOM, and a table like LUNA16's."""
    wanted = {LesionKind.LUNG_NODULE: 4, LesionKind.MEDIASTINAL_NODE: 3}
    names = {LesionKind.LUNG_NODULE: "Lung nodule", LesionKind.MEDIASTINAL_NODE: "LN"}
    rows = ["seriesuid,coordX,coordY,coordZ,diameter_mm,type"]
    for seed in range(people):
        case = make_case(
            seed, region=(320.0, 380.0), spacing_mm=(4.0, 4.0, 4.0), pathology=wanted, detail=False
        )
        images = folder / "images" / f"case{seed}"
        images.mkdir(parents=True)
        identity = StudyIdentity(seed=f"marked {seed}", patient_id=f"P{seed}")
        uid = dcmread(write_case(case, images, identity)[0]).SeriesInstanceUID
        rows += [
            ",".join(map(str, (uid, *one.centre_lps_mm, one.diameter_mm, names[one.kind])))
            for one in case.lesions
            if one.kind in names
        ]
    (folder / "annotations.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.timeout(400)
def test_a_bundle_of_lesions_is_trained_further_on_marks_and_judged_by_froc(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    site, out = marked_site(tmp_path / "site", people=3), tmp_path / "trained"
    quick = {"steps": 2, "view_steps": 2, "people": 1, "views_a_scene": 20}
    options = [word for key, value in quick.items() for word in ("--set", f"{key}={value}")]
    command = ["train", "universal_lesion", str(site), "--out", str(out), "--draws", "20"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--lesion-type", "LN=Lymph node", *options])
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err[-3000:]
    assert "learned from: 1 volume of 1 patient; lesions: " in said.out
    assert "not marked there, so neither learned nor forbidden: Sclerotic bone lesion" in said.out
    assert "Lung nodule, 1 FP" in said.out
    sides = [
        {path.name for path in (out / name / "images").iterdir()}
        for name in ("learned", "dev", "held_out")
    ]
    assert len(set.union(*sides)) == 3
    for judged in ("before", "after"):
        volumes = json.loads((out / f"{judged}.json").read_text())["volumes"]
        assert {one["name"] for one in volumes} == sides[2]

    new = load_bundle(out / "bundle")
    assert "marked lesions in 1 volume of 1 patient of this site" in new.identity.intended_use
    assert "outlines are as shipped" in new.identity.intended_use
    root = Path(__file__).parents[2] / "algorithms" / "universal_lesion"
    before, after = (
        load_file(folder / "models" / "model.safetensors") for folder in (root, out / "bundle")
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"candidates", "views"}
    with pytest.raises(SystemExit) as added:
        main(["models", "add", str(out / "bundle"), "--activate"])
    assert added.value.code == 0, capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["universal_lesion", "--set", "epochs=3"], "has no key 'epochs' to set; it has: steps"),
        (["lymph_node", "--lesion-type", "node"], "--lesion-type node: TRUTH=TYPE is needed"),
        (["body_ct", "--set", "epochs=3"], "has no key 'epochs' to set; it has: "),
        (["ct_patterns"], "cannot be trained further"),
        (["no_such"], "there is no bundle 'no_such'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(
    tmp_path: Path,
    data: Path,
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *rest = arguments
    with pytest.raises(SystemExit) as ended:
        main(["train", name, str(data), "--out", str(tmp_path / "out"), *rest])
    assert ended.value.code != 0
    assert reason in " ".join(capsys.readouterr().err.split())


def test_a_training_that_fails_says_so(
    tmp_path: Path, data: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "odd"
    odd.mkdir()
    for kind in ("images", "labels"):
        (odd / kind).symlink_to(data / kind)
    (odd / "labels.json").write_text(json.dumps({"1": "left lung"}))
    with pytest.raises(SystemExit) as ended:
        main(["train", "lung_ct", str(odd), "--out", str(tmp_path / "out"), "--set", "phantoms=1"])
    assert ended.value.code != 0
    said = " ".join(capfd.readouterr().err.split())
    assert "must name labels of the right lung and of the left lung" in said
    assert "training ended with exit code 1" in said
