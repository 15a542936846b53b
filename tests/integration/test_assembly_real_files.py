"""Our header reader against pydicom and DCMTK on files neither of us wrote."""

import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dicomnode.assembly.headers import read_header
from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.domain.instances import InstanceHeader
from dicomnode.testing.studies import StudyIdentity, ct_series

DCMCONV = shutil.which("dcmconv", path="/usr/bin:/usr/local/bin")
DCMCRLE = shutil.which("dcmcrle", path="/usr/bin:/usr/local/bin")
DCMCJPEG = shutil.which("dcmcjpeg", path="/usr/bin:/usr/local/bin")

# All travel with pydicom.
FROM_PYDICOM = [
    *("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm"),
    *("JPEG2000.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm", "rtplan.dcm", "rtdose.dcm"),
    *("test-SR.dcm", "waveform_ecg.dcm", "SC_rgb_small_odd_jpeg.dcm", "reportsi.dcm"),
    *("ExplVR_BigEnd.dcm", "JPGExtended.dcm", "MR_small_implicit.dcm", "MR_small_expb.dcm"),
]


def bundled(name: str) -> Path | None:
    found = get_testdata_file(name, download=False)
    return Path(str(found)) if found else None


def texts_of(ds: Dataset, keyword: str) -> list[str]:
    element = ds[keyword]
    if element.is_empty:
        return []
    values = element.value if element.VM > 1 else [element.value]
    texts = [str(one).strip(" \0\r\n\t") for one in values]
    return texts if any(texts) else []


def same(ours: tuple[str, ...], theirs: list[str]) -> bool:
    if list(ours) == theirs:
        return True
    try:
        return [float(one) for one in ours] == [float(one) for one in theirs]
    except ValueError:
        return False


def differences(header: InstanceHeader, ds: Dataset) -> dict[str, object]:
    return {
        keyword: (values, texts_of(ds, keyword))
        for keyword, values in {**header.study_values, **header.series_values}.items()
        if keyword in ds and not same(values, texts_of(ds, keyword))
    }


@pytest.mark.parametrize("name", FROM_PYDICOM)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_values_are_those_that_pydicom_reads(name: str) -> None:
    path = bundled(name)
    if path is None:
        pytest.skip(f"{name} is not shipped with this pydicom")
    header = read_header(path)

    ds = pydicom.dcmread(path, stop_before_pixels=True)

    assert differences(header, ds) == {}
    wanted = {
        element.keyword
        for element in ds
        if element.keyword
        and element.VR in ("CS", "LO", "SH", "UI", "DS", "IS", "US", "PN", "DA")
        and len(str(element.value)) < 500
    }
    assert wanted <= {*header.study_values, *header.series_values}


@pytest.mark.parametrize("name", ["MR_truncated.dcm", "rtplan_truncated.dcm"])
def test_truncated_files_are_refused(name: str) -> None:
    path = bundled(name)
    if path is None:
        pytest.skip(f"{name} is not shipped with this pydicom")

    with pytest.raises(InstanceUnreadable, match="ends before"):
        read_header(path)


CONVERSIONS = [
    *((DCMCONV, option) for option in ("+te", "+tb", "+ti", "+td", "+e", "-e", "+g")),
    (DCMCRLE, "+te"),
    (DCMCJPEG, "+e1"),
]


@pytest.mark.parametrize(("program", "option"), CONVERSIONS)
def test_what_dcmtk_re_encodes_has_the_same_header(
    program: str | None, option: str, tmp_path: Path
) -> None:
    if program is None:
        pytest.skip("DCMTK is not installed")
    ds = ct_series(StudyIdentity(seed="re-encoded"))[0]
    ds.ReferencedImageSequence = [Dataset()]
    ds.ReferencedImageSequence[0].StationName = "NESTED"
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    ds.save_as(before, enforce_file_format=True)
    command = [program, option, str(before), str(after)]
    if program == DCMCRLE:
        command.remove(option)
    subprocess.run(command, check=True, timeout=30)

    ours, theirs = read_header(before), read_header(after)

    assert theirs.study_values == ours.study_values
    assert {**theirs.series_values, **ours.series_values} == dict(theirs.series_values)
