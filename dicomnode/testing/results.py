"""Stand-ins for results, to try a destination with: valid DICOM files without findings."""

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid, derived_uid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.testing.studies import StudyIdentity

_CLASSES: dict[ResultKind, UID] = {
    ResultKind.SEG: SegmentationStorage,
    ResultKind.SR: Comprehensive3DSRStorage,
    ResultKind.SECONDARY_CAPTURE: SecondaryCaptureImageStorage,
}


def stand_in_result(
    folder: Path,
    identity: StudyIdentity,
    *,
    kind: ResultKind = ResultKind.SEG,
    number: int = 1,
    pixel_bytes: int = 512,
    syntax: UID = ExplicitVRLittleEndian,
) -> EncodedObject:
    """A result of the study, written to `folder`; each kind has one series.

    `pixel_bytes` (a multiple of 256) makes it as large as a test needs.
    """
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
    ds.StudyInstanceUID = identity.study_uid
    ds.StudyDate, ds.StudyTime, ds.StudyID = identity.study_date, "120000", "1"
    ds.AccessionNumber, ds.ReferringPhysicianName = identity.accession_number, ""
    ds.Modality = kind.value
    ds.Manufacturer = "dicomnode"
    ds.SeriesInstanceUID = derived_uid("testing", identity.seed, "result", kind.value)
    ds.SeriesNumber = 9000
    ds.SOPClassUID = _CLASSES[kind]
    ds.SOPInstanceUID = derived_uid(ds.SeriesInstanceUID, str(number))
    ds.InstanceNumber = number
    ds.ContentDate, ds.ContentTime = identity.study_date, "120000"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixel_bytes // 256, 128
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = np.arange(pixel_bytes // 2, dtype="<u2").tobytes()
    return _write(ds, folder, kind, syntax)


def _write(ds: Dataset, folder: Path, kind: ResultKind, syntax: UID) -> EncodedObject:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.ImplementationClassUID = UID(derived_uid("testing", "implementation"))
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return EncodedObject(
        kind=kind,
        sop_instance_uid=InstanceUid(str(ds.SOPInstanceUID)),
        sop_class_uid=str(ds.SOPClassUID),
        study_uid=StudyUid(str(ds.StudyInstanceUID)),
        series_uid=SeriesUid(str(ds.SeriesInstanceUID)),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
