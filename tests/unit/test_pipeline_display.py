"""Brightness by window and table, against the formulas of PS3.3 C.11.2 and pydicom's."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi, apply_windowing

from dicomnode.pipeline.display import Stretch, VoiTable, Window, WindowShape, read_voi
from dicomnode.pipeline.frames import LookupTable

VALUES = np.arange(-200, 5000, 7, dtype=np.float32)


def header(**attributes: object) -> Dataset:
    """12 bits unsigned, as pydicom's functions want it."""
    ds = Dataset()
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 12, 0
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


@given(
    shape=st.sampled_from(list(WindowShape)),
    center=st.floats(-500, 5000),
    width=st.floats(1.01, 6000),
)
def test_windows_agree_with_pydicom(shape: WindowShape, center: float, width: float) -> None:
    center, width = round(center, 2), round(width, 2)
    ds = header(WindowCenter=center, WindowWidth=width, VOILUTFunction=shape.value)
    voi, warnings = read_voi(ds, signed_values=False)
    assert isinstance(voi, Window)
    assert warnings == ()
    with np.errstate(over="ignore"):
        expected = apply_windowing(VALUES.astype(np.int32), ds) / 4095
    np.testing.assert_allclose(voi.apply(VALUES), expected, atol=2e-4)


def test_linear_window_of_width_one_is_a_threshold() -> None:
    window = Window(center=10, width=1, shape=WindowShape.LINEAR)
    values = np.array([9.0, 9.5, 9.6, 10.0], dtype=np.float32)
    assert window.apply(values).tolist() == [0, 0, 1, 1]


def test_first_of_several_windows_is_taken() -> None:
    ds = header(WindowCenter=[40, 300], WindowWidth=[400, 1500])
    voi, _ = read_voi(ds, signed_values=False)
    assert voi == Window(center=40, width=400, shape=WindowShape.LINEAR)


def test_table_goes_before_window_and_agrees_with_pydicom() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 100, 10])
    item.add_new("LUTData", "US", [4 * index for index in range(256)])
    ds = header(WindowCenter=40, WindowWidth=400, VOILUTSequence=[item])
    voi, _ = read_voi(ds, signed_values=False)
    assert isinstance(voi, VoiTable)
    stored = np.arange(0, 500, dtype=np.uint16)
    expected = apply_voi(stored, ds) / 1023
    np.testing.assert_allclose(voi.apply(stored.astype(np.float32)), expected, atol=1e-6)


def test_first_mapped_value_is_signed_where_the_values_are() -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 65534, 8])
    item.add_new("LUTData", "US", [0, 85, 170, 255])
    voi, _ = read_voi(header(VOILUTSequence=[item]), signed_values=True)
    assert isinstance(voi, VoiTable)
    assert voi.table.first == -2
    values = np.array([-9, -2, -1, 0, 1, 9], dtype=np.float32)
    np.testing.assert_allclose(voi.apply(values), [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "warning"),
    [
        ({"WindowCenter": 40, "WindowWidth": 0}, "WindowWidth 0 is not allowed"),
        (
            {"WindowCenter": 40, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
            "VOILUTFunction is unknown",
        ),
    ],
)
def test_unusable_window_is_left_out_with_a_warning(
    attributes: dict[str, object], warning: str
) -> None:
    voi, warnings = read_voi(header(**attributes), signed_values=False)
    assert voi is None
    assert warning in warnings[0]


def test_header_without_window_has_none() -> None:
    assert read_voi(header(), signed_values=False) == (None, ())


def test_stretch_of_a_flat_image_is_dark() -> None:
    flat: npt.NDArray[np.float32] = np.full((2, 2), 7, dtype=np.float32)
    assert Stretch(lowest=7, highest=7).apply(flat).tolist() == [[0, 0], [0, 0]]


def test_table_takes_its_ends_for_everything_outside() -> None:
    table = LookupTable(first=10, values=np.array([1, 2, 3], dtype=np.float32), bits=8)
    assert table.apply(np.array([0, 10, 12, 99])).tolist() == [1, 1, 3, 3]
