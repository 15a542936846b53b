"""Bytes that the node writes itself are those that pydicom writes."""

from copy import deepcopy
from io import BytesIO

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian

from dicomnode.encode.explicit import Unusual, explicit_bytes, kept, meta_bytes
from dicomnode.encode.files import file_bytes


def document() -> Dataset:
    """Every kind of element that results have, at two depths."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = Comprehensive3DSRStorage, UID("2.25.123")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Müller^Zoë", "", None
    ds.ContentDate, ds.ContentTime, ds.InstanceNumber = "20240131", "233005", 7
    ds.SoftwareVersions = ["1.2", "dicomnode ü"]
    ds.SeriesDescription = "größer als üblich"
    ds.PerformedProcedureCodeSequence = []
    ds.ContentSequence = [item("first"), item("é" * 40_000)]
    ds.ContentSequence[0].ContentSequence = [item("below")]
    return ds


def item(text: str) -> Dataset:
    ds = Dataset()
    ds.ValueType, ds.TextValue, ds.UID = "TEXT", text, "1.2.3"
    ds.GraphicData = [0.5, 1.25, 3.0]
    ds.NumericValue, ds.ReferencedFrameNumber = "12.5", [1, 2]
    ds.FloatingPointValue, ds.Rows = 12.5, 512
    ds.PixelData = b"\1\2\3"
    ds["PixelData"].VR = "OB"
    return ds


def by_pydicom(ds: Dataset) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_document_is_written_as_pydicom_writes_it() -> None:
    written = file_bytes(document())

    assert written == by_pydicom(document())
    assert written.endswith(explicit_bytes(document()))


def test_file_meta_information_is_written_as_pydicom_writes_it() -> None:
    ds = document()
    ds.file_meta.FileMetaInformationVersion = b"\0\1"
    ds.file_meta.ImplementationClassUID = UID("2.25.9")
    ds.file_meta.ImplementationVersionName = "ODD"
    assert meta_bytes(ds.file_meta) in file_bytes(ds)
    assert file_bytes(ds) == by_pydicom(ds)
    with pytest.raises(Unusual):
        meta_bytes(document().file_meta)


def test_a_kept_item_is_not_written_again_but_a_copy_of_it_is() -> None:
    ds = document()
    plain = explicit_bytes(ds)
    first = kept(ds.ContentSequence[0])
    assert explicit_bytes(ds) == plain
    copy = deepcopy(first)
    copy.TextValue = "other"
    ds.ContentSequence = [copy, ds.ContentSequence[1]]
    changed = document()
    changed.ContentSequence[0].TextValue = "other"
    assert explicit_bytes(ds) == explicit_bytes(changed)


def test_an_element_not_parsed_yet_is_written_by_its_value() -> None:
    ds = document()
    label = RawDataElement(Tag("StudyID"), "SH", 3, b"ab ", 0, False, True)
    ds["StudyID"] = label

    assert file_bytes(ds) == by_pydicom(ds)


@pytest.mark.parametrize("fault", ["undefined length", "own character set", "ambiguous"])
def test_what_is_not_written_here_is_written_by_pydicom(fault: str) -> None:
    ds = document()
    if fault == "undefined length":
        ds["ContentSequence"].is_undefined_length = True
    elif fault == "own character set":
        ds.ContentSequence[1].SpecificCharacterSet = "ISO_IR 192"
    else:
        ds.PixelRepresentation = 0
        ds.SmallestImagePixelValue = 3

    with pytest.raises(Unusual):
        explicit_bytes(ds)
    assert file_bytes(ds) == by_pydicom(ds)
