"""A case as a CT series in DICOM, for tests, load runs and trying a site's set-up."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicomnode.phantom.case import Case
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

_INTERCEPT = -4096
"""Low enough for what scanners write outside their scan circle."""


def case_series(
    case: Case, identity: StudyIdentity, *, series: str = "1", description: str = "Phantom CT"
) -> list[Dataset]:
    """Classic CT images, one data set a slice, in slice order from feet to head."""
    affine = case.grid.affine_lps_mm
    origin = affine[:3, 3]
    slices, rows, columns = case.grid.shape
    geometry = SeriesGeometry(
        rows=rows,
        columns=columns,
        slices=slices,
        spacing_mm=case.grid.spacing_mm,
        origin_mm=(float(origin[0]), float(origin[1]), float(origin[2])),
    )
    values = np.asarray(case.hu, np.int16)
    images = ct_series(
        identity, geometry, np.maximum(values, -1024), series=series, description=description
    )
    for ds, plane in zip(images, values, strict=True):
        ds.RescaleIntercept = _INTERCEPT
        stored = plane.astype(np.int32) - _INTERCEPT
        ds.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
        ds.SliceThickness = round(case.scan.thickness_mm, 3)
    return images


def write_case(
    case: Case, folder: Path, identity: StudyIdentity, *, description: str = "Phantom CT"
) -> list[Path]:
    """Write the case to `folder` (made if missing), one file a slice; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(case_series(case, identity, description=description)):
        paths.append(folder / f"{number + 1:04d}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths
