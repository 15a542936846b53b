"""Any grey image, one frame of it, is shown by its own window."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset

from dicomnode.domain.errors import UnsupportedImage
from dicomnode.pipeline.brightness import brightness, read_display_header
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

IDENTITY = StudyIdentity(seed="brightness")
GEOMETRY = SeriesGeometry(rows=4, columns=5, slices=3)
HOUNSFIELD = np.linspace(-400, 400, 60).astype(np.int16).reshape(3, 4, 5)


def saved(folder: Path, ds: Dataset) -> Path:
    path = folder / "image.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def expected(
    hounsfield: npt.NDArray[np.int16], center: float, width: float
) -> npt.NDArray[np.float64]:
    """PS3.3 C.11.2.1.2.1, LINEAR."""
    return np.clip((hounsfield - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def test_a_slice_is_shown_by_its_rescale_and_window(tmp_path: Path) -> None:
    path = saved(tmp_path, ct_series(IDENTITY, GEOMETRY, HOUNSFIELD)[1])
    shown = brightness(*read_display_header(path))
    np.testing.assert_allclose(shown.values, expected(HOUNSFIELD[1], 40, 400), atol=1e-6)
    assert shown.warnings == ()


def test_a_frame_is_shown_by_the_window_of_its_functional_group(tmp_path: Path) -> None:
    ds = enhanced(ct_series(IDENTITY, GEOMETRY, HOUNSFIELD))
    for frame, groups in enumerate(ds.PerFrameFunctionalGroupsSequence):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = 100 * frame, 300
        groups.FrameVOILUTSequence = [window]
    header = read_display_header(saved(tmp_path, ds))
    for frame in range(3):
        shown = brightness(*header, frame)
        wanted = expected(HOUNSFIELD[frame], 100 * frame, 300)
        np.testing.assert_allclose(shown.values, wanted, atol=1e-6)


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, ct_series(IDENTITY, GEOMETRY, HOUNSFIELD)[0])
    with pytest.raises(UnsupportedImage, match="1 frames, not 2"):
        brightness(*read_display_header(path), 1)
