"""Nothing that tells who somebody is leaves, wherever it stands; what belongs together stays so."""

import csv
import datetime as dt
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import config, dcmread
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomnode.domain.errors import ConfigError
from dicomnode.export.deidentify import Profile, _table, deidentify, profile_digest
from dicomnode.export.dicom import DicomOptions, export_dicom
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.contract.store_scenes import STUDY
from tests.contract.test_store_quotas import delivered
from tests.unit.steps_node import open_test_node

KEY = Pseudonyms(b"k" * 32)
MARK = "QUEBEC"
UIDS = "1.2.840.99.7"
MARKED = {"DA": "19430217", "TM": "041743", "DT": "19430217041743", "AS": "081Y", "UI": UIDS}
TRACES = (MARK.encode(), b"19430217", b"041743", b"081Y", UIDS.encode())
TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")


def ct(number: int = 1) -> Dataset:
    """An image with every attribute of the profile's table, set to what must not leave."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for tag in _table():
        # Commands and the head of a file are no part of a data set.
        if tag.group in (0x0000, 0x0002):
            continue
        vr = dictionary_VR(tag)
        if vr in MARKED:
            ds.add(DataElement(tag, vr, MARKED[vr]))
        elif vr in TEXTS:
            ds.add(DataElement(tag, vr, MARK))
        elif vr == "SQ":
            ds.add(DataElement(tag, "SQ", [inner()]))
        elif vr in ("OB", "UN", "OB or OW"):
            ds.add(DataElement(tag, "OB", MARK.encode()))
        elif vr == "DS" and dictionary_VM(tag) == "1":
            ds.add(DataElement(tag, vr, "81.5"))
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = f"1.2.840.99.7.{number}"
    ds.PatientID, ds.PatientName = f"{MARK}1", f"{MARK}^{MARK}"
    ds.PatientSex, ds.PatientAge, ds.Modality = "F", "081Y", "CT"
    ds.Rows, ds.Columns, ds.PixelData = 2, 2, b"\1\2\3\4\5\6\7\10"
    ds.BitsAllocated, ds.SamplesPerPixel = 16, 1
    block = ds.private_block(0x0009, MARK, create=True)
    block.add_new(0x01, "LO", MARK)
    ds.add_new(0x60003000, "OW", MARK.encode())
    ds.add_new(0x50001000, "LO", MARK)
    return ds


def inner() -> Dataset:
    """The same things within a sequence, two deep."""
    item = Dataset()
    item.PatientName, item.StationName, item.StudyDate = MARK, MARK, "19430217"
    item.ReferencedSOPInstanceUID = f"{UIDS}.1"
    deeper = Dataset()
    deeper.InstitutionName = MARK
    deeper.ReferencedSOPInstanceUID = f"{UIDS}.2"
    item.ReferencedImageSequence = Sequence([deeper])
    item.private_block(0x0011, MARK, create=True).add_new(0x02, "LO", MARK)
    return item


def written(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("dates", [False, True])
@pytest.mark.parametrize("characteristics", [False, True])
def test_no_trace_of_anything_listed_is_left_anywhere(dates: bool, characteristics: bool) -> None:
    profile = Profile(dates=dates, characteristics=characteristics)
    source = ct()
    before = written(source)
    assert all(trace in before for trace in TRACES), "so that the test could fail"
    left = written(deidentify(source, profile, KEY))
    # Times of day stay where dates are moved (PS3.15 E.3.6).
    allowed = {b"041743"} if dates else set()
    allowed |= {b"081Y"} if characteristics else set()
    assert [trace for trace in TRACES if trace in left and trace not in allowed] == []
    assert written(source) == before, "the image itself was not touched"


def test_the_image_is_the_same_and_says_what_was_done() -> None:
    clean = deidentify(ct(), Profile(dates=True, characteristics=True), KEY)
    assert clean.PixelData == ct().PixelData
    assert (clean.Rows, clean.Modality, clean.SOPClassUID) == (2, "CT", CTImageStorage)
    assert clean.PatientIdentityRemoved == "YES"
    assert clean.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in clean.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108"]
    assert dcmread(BytesIO(written(clean))).file_meta.MediaStorageSOPInstanceUID
    assert len(profile_digest()) == 64


def test_uids_are_replaced_alike_in_every_image_and_reference() -> None:
    first, second = (deidentify(ct(number), Profile(), KEY) for number in (1, 2))
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    reference = first.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert reference.ReferencedImageSequence[0].ReferencedSOPInstanceUID == second.SOPInstanceUID
    assert str(first.SOPInstanceUID).startswith("2.25.")
    assert len(first.SOPInstanceUID) <= 64
    other = deidentify(ct(1), Profile(), Pseudonyms(b"o" * 32))
    assert other.SOPInstanceUID != first.SOPInstanceUID


def dated(patient: str, day: str) -> Dataset:
    ds = ct()
    ds.PatientID, ds.StudyDate = patient, day
    return deidentify(ds, Profile(dates=True), KEY)


def test_dates_of_a_patient_move_together_and_birth_dates_do_not_stay() -> None:
    early, late = dated("P1", "20240131"), dated("P1", "20240302")
    days = [dt.datetime.strptime(ds.StudyDate, "%Y%m%d") for ds in (early, late)]  # noqa: DTZ007
    assert days[1] - days[0] == dt.timedelta(days=31)
    assert days[0] < dt.datetime(2024, 1, 31)  # noqa: DTZ001
    assert dated("P2", "20240131").StudyDate != early.StudyDate
    assert early.PatientBirthDate == ""
    assert dated("P1", "20240231").StudyDate == ""


@pytest.mark.parametrize(
    ("age", "told"),
    [
        ("081Y", "081Y"),
        ("089Y", "089Y"),
        ("094Y", "090Y"),
        ("95", "090Y"),
        ("62", "062Y"),
        ("018M", "018M"),
        ("ninety five", ""),
        ("about 95Y", ""),
    ],
)
def test_the_oldest_are_told_as_ninety(age: str, told: str) -> None:
    ds = ct()
    ds["PatientAge"] = DataElement("PatientAge", "AS", age, validation_mode=config.IGNORE)
    assert deidentify(ds, Profile(characteristics=True), KEY).PatientAge == told
    assert "PatientAge" not in deidentify(ds, Profile(), KEY)


def test_people_without_a_patient_id_are_kept_apart_by_their_studies() -> None:
    one, other, same = (ct() for _ in range(3))
    for ds, study in ((one, "1.2.1"), (other, "1.2.2"), (same, "1.2.1")):
        ds.PatientID, ds.StudyInstanceUID, ds.StudyDate = "", study, "20240131"
    clean = [deidentify(ds, Profile(dates=True), KEY) for ds in (one, other, same)]
    names = [ds.PatientID for ds in clean]
    assert names[0] == names[2] != names[1]
    assert clean[0].StudyDate == clean[2].StudyDate != clean[1].StudyDate


def test_names_of_processings_do_not_tell_the_site() -> None:
    ds = ct()
    ds.PostprocessingFunction = f"{MARK}_pa_020395"
    assert MARK.encode() not in written(deidentify(ds, Profile(), KEY))


def site(folder: Path, **attributes: Any) -> Any:
    """A node with the three images of one study, and a result of its own that is no file."""
    node = open_test_node(folder)
    delivered(node.database)
    images = ct_series(StudyIdentity(seed="e"), SeriesGeometry(rows=4, columns=4, slices=3))
    with node.database.reading() as connection:
        paths = connection.exec_driver_sql("SELECT path FROM instance").scalars().all()
    for path, ds in zip(paths, images, strict=True):
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.save_as(node.database.absolute(path), enforce_file_format=True)
    return node


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_export_holds_images_tables_and_a_card_and_can_be_repeated(tmp_path: Path) -> None:
    node, out = site(tmp_path), tmp_path / "out"
    for _ in range(2):
        made = export_dicom(node.database, out, [STUDY], options=DicomOptions(), pseudonyms=KEY)
        assert (made.images, len(made.studies), made.left_out.total()) == (3, 1, 2)
    listed = rows(out / "files.csv")
    assert {out / row["file"] for row in listed} == set(out.rglob("*.dcm"))
    assert {row["warning"] for row in listed} == {"does not say whether text is burned in"}
    assert all("file is not on this node" in row["reason"] for row in rows(out / "left_out.csv"))
    assert "3 images of 1 studies and 1 patients" in (out / "README.md").read_text()
    for path in out.rglob("*"):
        assert b"PHANTOM" not in path.read_bytes() if path.is_file() else STUDY not in path.name
    options = DicomOptions(profile=Profile(dates=True))
    with pytest.raises(ConfigError, match="other options"):
        export_dicom(node.database, out, [STUDY], options=options, pseudonyms=KEY)


@pytest.mark.parametrize(
    ("attributes", "options", "images", "unsure"),
    [
        ({"BurnedInAnnotation": "NO"}, DicomOptions(), 3, 0),
        ({"BurnedInAnnotation": "YES"}, DicomOptions(), 0, 0),
        ({"BurnedInAnnotation": "YES"}, DicomOptions(with_burned_in=True), 3, 3),
        ({"BurnedInAnnotation": "NO", "Modality": "US"}, DicomOptions(), 3, 3),
    ],
)
def test_text_in_pixels_is_left_out_or_warned_of(
    tmp_path: Path, attributes: dict[str, str], options: DicomOptions, images: int, unsure: int
) -> None:
    node = site(tmp_path, **attributes)
    made = export_dicom(node.database, tmp_path / "out", [STUDY], options=options, pseudonyms=KEY)
    assert (made.images, made.unsure) == (images, unsure)
