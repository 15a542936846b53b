"""Synthetic studies with known geometry, for tests, benchmarks and trying a site's set-up."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from dicomnode.domain.identifiers import derived_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyIdentity:
    """Who a synthetic study is of. `seed` decides every UID."""

    seed: str
    patient_name: str = "Test^Phantom"
    patient_id: str = "PHANTOM-1"
    accession_number: str = "A1"
    study_date: str = "20240131"

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return derived_uid("testing", self.seed, "study")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesGeometry:
    """Regular grid of a synthetic CT series. Slices are stacked along the normal."""

    rows: int = 64
    columns: int = 48
    slices: int = 20
    spacing_mm: tuple[float, float, float] = (3.0, 1.5, 1.25)
    """(slice, row, column)."""
    orientation: tuple[float, ...] = AXIAL
    """ImageOrientationPatient: direction cosines of a row, then of a column."""
    origin_mm: tuple[float, float, float] = (-30.0, -48.0, 100.0)

    def position(self, index: int) -> tuple[float, float, float]:
        """ImagePositionPatient of slice `index`, which rises along row x column direction."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        x, y, z = np.asarray(self.origin_mm) + index * self.spacing_mm[0] * normal
        return float(x), float(y), float(z)


def ct_series(
    identity: StudyIdentity,
    geometry: SeriesGeometry | None = None,
    hounsfield: npt.NDArray[np.int16] | None = None,
    *,
    series: str = "1",
    description: str = "Chest 3 mm",
) -> list[Dataset]:
    """A classic CT series, one data set a slice, in slice order; HU stored with intercept -1024.

    `hounsfield` is (slices, rows, columns); by default a body of water with two lungs in air.
    """
    geometry = geometry or SeriesGeometry()
    values = chest_phantom(geometry) if hounsfield is None else hounsfield
    series_uid = derived_uid("testing", identity.seed, "series", series)
    slices = []
    for index in range(geometry.slices):
        ds = _ct_slice(identity, geometry, values[index], index)
        _describe_series(ds, "CT", series_uid, series, description)
        ds.SOPInstanceUID = derived_uid("testing", series_uid, str(index))
        slices.append(_with_file_meta(ds))
    return slices


def chest_phantom(geometry: SeriesGeometry) -> npt.NDArray[np.int16]:
    """An elliptic body (40 HU) in air with two unequal lungs (-850 HU), (slices, rows, columns)."""
    _, rows, columns = np.mgrid[: geometry.slices, : geometry.rows, : geometry.columns]
    y = (rows + 0.5) / geometry.rows * 2 - 1
    x = (columns + 0.5) / geometry.columns * 2 - 1
    values = np.full(x.shape, -1000, dtype=np.int16)
    values[(x / 0.9) ** 2 + (y / 0.8) ** 2 < 1] = 40
    values[((x + 0.42) / 0.3) ** 2 + (y / 0.55) ** 2 < 1] = -850
    values[((x - 0.45) / 0.22) ** 2 + ((y + 0.05) / 0.5) ** 2 < 1] = -850
    return values


def _ct_slice(
    identity: StudyIdentity,
    geometry: SeriesGeometry,
    hounsfield: npt.NDArray[np.int16],
    index: int,
) -> Dataset:
    ds = _patient_and_study(identity)
    ds.SOPClassUID = CTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.FrameOfReferenceUID = derived_uid("testing", identity.seed, "frame of reference")
    ds.PositionReferenceIndicator = ""
    ds.InstanceNumber = index + 1
    ds.ImagePositionPatient = [round(v, 6) for v in geometry.position(index)]
    ds.ImageOrientationPatient = [round(v, 9) for v in geometry.orientation]
    ds.PixelSpacing = [geometry.spacing_mm[1], geometry.spacing_mm[2]]
    ds.SliceThickness = geometry.spacing_mm[0]
    ds.KVP = 120
    ds.AcquisitionNumber = 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 40, 400
    _put_pixels(ds, (hounsfield.astype(np.int32) + 1024).astype(np.uint16), "MONOCHROME2")
    return ds


def radiograph(
    identity: StudyIdentity,
    pixels: npt.NDArray[np.uint16] | None = None,
    *,
    photometric: str = "MONOCHROME2",
    imager_spacing_mm: tuple[float, float] | None = (0.2, 0.2),
    series: str = "1",
    view: str = "PA",
) -> Dataset:
    """A digital radiograph (DX, for presentation), 12 bits, `pixels` (rows, columns)."""
    if pixels is None:
        rows, columns = np.mgrid[:320, :256]
        pixels = (rows * 6 + columns * 4).astype(np.uint16)
    ds = _patient_and_study(identity)
    series_uid = derived_uid("testing", identity.seed, "series", series)
    _describe_series(ds, "DX", series_uid, series, "Chest PA")
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = derived_uid("testing", series_uid, "0")
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.InstanceNumber = 1
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = view
    ds.PatientOrientation = ["L", "F"]
    ds.ImageLaterality = "U"
    ds.DetectorType = "DIRECT"
    ds.AnatomicRegionSequence = []
    ds.AcquisitionContextSequence = []
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.PresentationLUTShape = "IDENTITY" if photometric == "MONOCHROME2" else "INVERSE"
    ds.LossyImageCompression = "00"
    ds.BurnedInAnnotation = "NO"
    if imager_spacing_mm is not None:
        ds.ImagerPixelSpacing = list(imager_spacing_mm)
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    _put_pixels(ds, pixels, photometric, bits=12)
    return _with_file_meta(ds)


def _patient_and_study(identity: StudyIdentity) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = identity.patient_name
    ds.PatientID = identity.patient_id
    ds.PatientBirthDate = "19500101"
    ds.PatientSex = "O"
    ds.PatientAge = "074Y"
    ds.StudyInstanceUID = identity.study_uid
    ds.StudyDate = identity.study_date
    ds.StudyTime = "120000"
    ds.ReferringPhysicianName = ""
    ds.StudyID = "1"
    ds.AccessionNumber = identity.accession_number
    ds.StudyDescription = "Chest"
    return ds


def _describe_series(
    ds: Dataset, modality: str, series_uid: str, number: str, description: str
) -> None:
    ds.Modality = modality
    ds.SeriesInstanceUID = series_uid
    ds.SeriesNumber = int(number) if number.isdigit() else 1
    ds.SeriesDescription = description
    ds.Manufacturer = "dicomnode phantom"
    ds.Laterality = ""
    ds.ContentDate, ds.ContentTime = "20240131", "120000"


def _put_pixels(
    ds: Dataset, pixels: npt.NDArray[np.uint16], photometric: str, *, bits: int = 16
) -> None:
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = photometric
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = 0
    ds.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()


def _with_file_meta(ds: Dataset) -> Dataset:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.ImplementationClassUID = UID(derived_uid("testing", "implementation"))
    return ds


@dataclass
class Clock:
    """A clock that only moves when told to."""

    now: datetime = field(default_factory=lambda: datetime(2024, 1, 31, 12, tzinfo=UTC))

    def __call__(self) -> datetime:
        """The present moment."""
        return self.now


def forty_eight_orientations() -> Iterator[tuple[tuple[float, ...], bool]]:
    """Every ImageOrientationPatient along the axes (24) with slices stacked either way (x 2)."""
    axes = np.vstack([np.eye(3), -np.eye(3)])
    for row in axes:
        for column in axes:
            if abs(np.dot(row, column)) < 0.5:
                for reverse in (False, True):
                    yield (*map(float, row), *map(float, column)), reverse
