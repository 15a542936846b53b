"""Data sets and key images leave the index whole, without names, and the same every time."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from dicomnode.domain.errors import ConfigError
from dicomnode.domain.exporting import Fit, Split
from dicomnode.export.dataset import DatasetOptions
from dicomnode.export.keyimages import KeyImages, export_key_images
from dicomnode.export.pseudonyms import Pseudonyms, open_pseudonyms
from dicomnode.export.run import Exported, export_dataset
from dicomnode.store.database import Database
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from tests.contract.archive_scenes import NOON, Archive

pytest_plugins = ["tests.contract.postgresql", "tests.contract.databases"]

KEY = Pseudonyms(b"k" * 32)
OPTIONS = DatasetOptions(size=64)


@pytest.fixture
def archive(database: Database) -> Archive:
    return Archive(database=database)


def person(number: int, study: int = 0) -> StudyIdentity:
    return StudyIdentity(
        seed=f"export {number} {study}",
        patient_name=f"Marked{number}^Name",
        patient_id=f"MRN-{number}",
        study_date=f"202401{10 + study}",
    )


def chest(identity: StudyIdentity, **changes: object) -> Dataset:
    ds = radiograph(identity)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def export(database: Database, out: Path, options: DatasetOptions = OPTIONS) -> Exported:
    return export_dataset(database, out, options=options, pseudonyms=KEY, now=NOON)


def table(out: Path, name: str = "labels.csv") -> list[dict[str, str]]:
    with (out / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_image_leaves_with_its_labels_and_without_a_name(
    archive: Archive, tmp_path: Path
) -> None:
    archive.take([chest(person(1), PatientBirthDate="19500101", PatientSex="F")])
    archive.report(person(1).study_uid, "Small left effusion. No pneumothorax. Possible edema.")
    out = tmp_path / "out"
    assert export(archive.database, out) == Exported(images=1, patients=1, left_out=0)
    (row,) = table(out)
    assert (row["effusion"], row["pneumothorax"], row["edema"]) == ("1", "0", "-1")
    assert (row["mass"], row["normal"]) == ("", "0")
    assert (row["age"], row["sex"], row["view"]) == ("74", "F", "PA")
    (entry,) = table(out, "nih/Data_Entry.csv")
    assert entry["Finding Labels"] == "Effusion"
    everything = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for secret in ("Marked", "MRN-1", "20240110", person(1).study_uid, "19500101"):
        assert secret.encode() not in everything


def test_the_picture_is_the_image_by_its_window_in_a_square(
    archive: Archive, tmp_path: Path
) -> None:
    rows, columns = np.mgrid[:100, :50]
    pixels = (rows * 20 + columns * 40).astype(np.uint16)
    archive.take([radiograph(person(1), pixels)])
    archive.report(person(1).study_uid, "Normal chest.")
    export(archive.database, tmp_path / "out", DatasetOptions(size=100))
    (row,) = table(tmp_path / "out")
    with Image.open(tmp_path / "out" / "images" / row["image"]) as picture:
        grey = np.asarray(picture)
    assert grey.shape == (100, 100)
    assert grey.dtype == np.uint8
    assert (int(row["offset_x"]), float(row["scale_x"]), float(row["scale_y"])) == (25, 1.0, 1.0)
    wanted = np.rint(pixels / 4095 * 255)
    np.testing.assert_allclose(grey[:, 25:75], wanted, atol=1)
    assert grey[:, :25].max() == grey[:, 75:].max() == 0


def test_an_image_that_is_stored_turned_leaves_upright(archive: Archive, tmp_path: Path) -> None:
    """Else a network would learn from it that the heart lies on the right."""
    rows, columns = np.mgrid[:100, :50]
    pixels = (rows * 20 + columns * 40).astype(np.uint16)
    turned = radiograph(person(1), np.ascontiguousarray(pixels[:, ::-1].T))
    turned.PatientOrientation = ["F", "R"]
    archive.take([turned])
    archive.report(person(1).study_uid, "Normal chest.")
    export(archive.database, tmp_path / "out", DatasetOptions(size=100))
    (row,) = table(tmp_path / "out")
    assert (row["original_columns"], row["original_rows"], row["offset_x"]) == ("50", "100", "25")
    with Image.open(tmp_path / "out" / "images" / row["image"]) as picture:
        np.testing.assert_allclose(np.asarray(picture)[:, 25:75], pixels / 4095 * 255, atol=1)
    assert "stored turned or mirrored" in (tmp_path / "out" / "README.md").read_text()


def test_what_is_no_frontal_chest_or_may_hold_names_is_left_out_with_its_reason(
    archive: Archive, tmp_path: Path
) -> None:
    refused = {
        "ViewPosition is LL": {"ViewPosition": "LL"},
        "ViewPosition is not stated": {"ViewPosition": ""},
        "BodyPartExamined is not the chest": {"BodyPartExamined": "HAND"},
        "the image is meant for processing, not for presentation": {
            "PresentationIntentType": "FOR PROCESSING"
        },
        "BurnedInAnnotation is YES: names may stand in the pixels": {"BurnedInAnnotation": "YES"},
    }
    for number, changes in enumerate(refused.values()):
        archive.take([chest(person(number), **changes)])
        archive.report(person(number).study_uid, "No effusion.")
    archive.take([chest(person(50))])
    made = export(archive.database, tmp_path / "out")
    assert made == Exported(images=0, patients=0, left_out=len(refused) + 1)
    reasons = [row["reason"] for row in table(tmp_path / "out", "left_out.csv")]
    assert sorted(reasons) == sorted([*refused, "no report that could be read"])


def test_an_export_goes_on_and_ends_the_same(archive: Archive, tmp_path: Path) -> None:
    for number in range(4):
        archive.take([chest(person(number))])
        archive.report(person(number).study_uid, "Normal chest.")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    export(archive.database, whole)
    export(archive.database, stopped)
    kept, *lost = sorted((stopped / "images").iterdir())
    for path in (*lost, stopped / "labels.csv", stopped / "README.md"):
        path.unlink()
    before = kept.stat().st_mtime_ns
    export(archive.database, stopped)
    assert kept.stat().st_mtime_ns == before
    for path in whole.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (stopped / path.relative_to(whole)).read_bytes()


def test_other_options_or_another_key_do_not_mix_with_an_export(
    archive: Archive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(archive.database, out)
    with pytest.raises(ConfigError, match="other options"):
        export(archive.database, out, replace(OPTIONS, fit=Fit.STRETCH))
    with pytest.raises(ConfigError, match="another key"):
        export_dataset(
            archive.database, out, options=OPTIONS, pseudonyms=Pseudonyms(b"x" * 32), now=NOON
        )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="not empty"):
        export(archive.database, tmp_path / "full")


def test_a_patient_is_in_one_part_and_studies_are_in_order(
    archive: Archive, tmp_path: Path
) -> None:
    for study in (2, 0, 1):
        archive.take([chest(person(7, study))])
        archive.report(person(7, study).study_uid, "Normal chest.")
    export(archive.database, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["follow_up"] for row in rows] == ["0", "1", "2"]
    assert len({row["patient"] for row in rows}) == len({row["split"] for row in rows}) == 1
    assert [row["study"] for row in rows] == [
        KEY.of("study", person(7, study).study_uid) for study in (0, 1, 2)
    ]


def test_several_reports_of_a_study_make_one_row(archive: Archive, tmp_path: Path) -> None:
    archive.take([chest(person(1))])
    archive.report(person(1).study_uid, "No effusion. No mass.", source_id="first")
    archive.report(person(1).study_uid, "Addendum: small effusion.", source_id="second")
    export(archive.database, tmp_path / "out")
    (row,) = table(tmp_path / "out")
    assert (row["effusion"], row["mass"], row["normal"]) == ("1", "0", "0")


def test_parts_have_their_shares_and_pseudonyms_depend_on_the_key() -> None:
    parts = [KEY.split_of(f"patient {number}") for number in range(4000)]
    shares = [parts.count(split) / len(parts) for split in (Split.TRAIN, Split.VAL, Split.TEST)]
    # Four standard deviations of a share of 4,000.
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.03)
    assert KEY.of("patient", "1") != KEY.of("study", "1")
    assert KEY.of("patient", "1") != Pseudonyms(b"x" * 32).of("patient", "1")


def test_a_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    first = open_pseudonyms(tmp_path, {}).of("patient", "1")
    assert open_pseudonyms(tmp_path, {}).of("patient", "1") == first
    assert (tmp_path / "export.key").stat().st_mode & 0o077 == 0
    assert (
        open_pseudonyms(tmp_path, {"DICOMNODE_EXPORT_KEY": "ab" * 32}).of("patient", "1") != first
    )
    with pytest.raises(ConfigError, match="32 bytes"):
        open_pseudonyms(tmp_path, {"DICOMNODE_EXPORT_KEY": "short"})


def key_images(database: Database, out: Path, *, sentences: bool = True) -> KeyImages:
    return export_key_images(database, out, label=None, with_sentences=sentences, pseudonyms=KEY)


def test_the_image_a_sentence_points_to_is_the_one_drawn(archive: Archive, tmp_path: Path) -> None:
    geometry = SeriesGeometry(rows=32, columns=32, slices=5, spacing_mm=(3, 1, 1))
    levels = np.linspace(-150, 200, 5).astype(np.int16)
    hounsfield = np.broadcast_to(levels[:, None, None], (5, 32, 32))
    archive.take(ct_series(person(1), geometry, hounsfield, series="4"))
    archive.take(ct_series(person(1), geometry, hounsfield[::-1], series="5"))
    archive.report(
        person(1).study_uid,
        "Small nodule in the right lung (series 4, image 2). Small effusion (image 2). "
        "Mass in the liver (series 9 image 1). Nodule on series 5 image 77.",
    )
    out = tmp_path / "out"
    assert key_images(archive.database, out) == KeyImages(references=4, resolved=1, pictures=1)
    (row,) = table(out, "key_images.csv")
    assert (row["series_number"], row["image_number"], row["label"]) == ("4", "2", "nodule")
    assert "series 4, image 2" in row["sentence"]
    with Image.open(out / "images" / row["image"]) as picture:
        assert picture.size == (256, 256)
        shown = (levels[1] - 39.5) / 399 + 0.5
        assert picture.getpixel((128, 128)) == pytest.approx(255 * shown, abs=1)
    reasons = [row["reason"] for row in table(out, "unresolved.csv")]
    assert sorted(reasons) == [
        "2 images of the study have the number 2",
        "no image 77 in the series looked at",
        "the study has no series 9 here",
    ]


def test_key_images_without_sentences_hold_no_word_of_the_report(
    archive: Archive, tmp_path: Path
) -> None:
    archive.take(ct_series(person(1), SeriesGeometry(rows=8, columns=8, slices=3)))
    archive.report(person(1).study_uid, "Marked nodule of Mr. Smith (series 1, image 2).")
    key_images(archive.database, tmp_path / "out", sentences=False)
    everything = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"Smith" not in everything
    assert json.loads((tmp_path / "out" / "export.json").read_text())["sentences"] is False
