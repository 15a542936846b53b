"""Objects hold against dciodvfy and highdicom's readers, on synthetic and on real sources."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from highdicom.seg import segread
from highdicom.sr import srread
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from skimage.draw import polygon

from dicomnode.domain.codes import (
    LONG_AXIS,
    LUNG,
    ML,
    MM,
    RIGHT,
    SHORT_AXIS,
    VOLUME,
    Code,
)
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Mark,
    Measurement,
    MeasurementFinding,
    SegmentFinding,
)
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.encode.results import encode_results
from dicomnode.pipeline.volume import read_series
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, heart_with_ratio, lungs, outlined
from dicomnode.testing.multiframe import enhanced
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

DATA = Path(os.environ.get("DICOMNODE_DATA", Path(__file__).parents[3] / "shared" / "data"))
NIH = DATA / "dicom_cxr" / "nih_gcp_1.3.6.1.4.1.11129.5.5.dcm"
LIDC = DATA / "ct" / "lidc_0314" / "dicom"
DERIVATION = Derivation(
    job_key="conformance",
    revision=2,
    made_at=datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
    software_versions=("dicomnode 0.1.0",),
    predecessors=(
        Predecessor(
            study_uid=StudyUid("1.2.3"),
            series_uid=SeriesUid("1.2.3.4"),
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            sop_instance_uid=InstanceUid("1.2.3.4.5"),
        ),
    ),
)
KNOWN_OF_LABELMAPS = re.compile(
    "Information Object Not found|SegmentNumber|that is not segmentation"
)
READERS: dict[ResultKind, Callable[[Path], Dataset]] = {
    ResultKind.SEG: segread,
    ResultKind.SR: srread,
}
JUDGEMENTS = (
    ClassFinding(
        name="cardiomegaly",
        finding=Code("8186001", "SCT", "Cardiomegaly"),
        probability=0.7,
        operating_point=0.5,
    ),
    CaptionFinding(name="caption", text="The heart is enlarged."),
)


def encode(findings: tuple[Finding, ...], volume: Volume, out: Path) -> tuple[EncodedObject, ...]:
    return encode_results(
        findings,
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=DERIVATION,
        out=out,
        settings=OutputSettings(),
        kinds=frozenset(ResultKind),
    )


@pytest.fixture(scope="module")
def validator() -> str:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    return program


def assert_valid(encoded: tuple[EncodedObject, ...], validator: str) -> None:
    for each in encoded:
        ran = subprocess.run(
            [validator, "-new", str(each.path)], capture_output=True, text=True, check=False
        )
        lines = (ran.stdout + ran.stderr).splitlines()
        faults = [line for line in lines if line.startswith("Error")]
        if each.kind in (ResultKind.LABELMAP, ResultKind.LABELMAP_REPORT):
            # It does not know the class: takes it for no segmentation, asks of it what BINARY has.
            faults = [line for line in faults if not KNOWN_OF_LABELMAPS.search(line)]
        assert faults == []
        reader = READERS.get(each.kind, dcmread)
        assert reader(each.path).SOPInstanceUID == each.sop_instance_uid


def test_dcmtk_reads_the_report_tree(tmp_path: Path) -> None:
    program = shutil.which("dsrdump", path="/usr/bin")
    if program is None:
        pytest.skip("dsrdump (DCMTK) is not installed")
    volume = written_volume([radiograph(StudyIdentity(seed="dsrdump"))], tmp_path)
    _, report, *_ = encode((*heart_with_ratio(volume), *JUDGEMENTS), volume, tmp_path / "out")
    ran = subprocess.run([program, str(report.path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "Cardiothoracic ratio" in ran.stdout
    assert "Research use only" in ran.stdout


def test_dcmtk_reads_a_presentation_state_and_its_outlines_are_the_heart(tmp_path: Path) -> None:
    program = shutil.which("dcmp2pgm", path="/usr/bin")
    if program is None:
        pytest.skip("dcmp2pgm (DCMTK) is not installed")
    volume = written_volume([radiograph(StudyIdentity(seed="dcmp2pgm"))], tmp_path)
    heart, ratio = heart_with_ratio(volume)
    assert isinstance(heart, SegmentFinding)
    made = encode((heart, ratio), volume, tmp_path / "out")
    (state,) = (each.path for each in made if each.kind is ResultKind.GSPS)
    picture = tmp_path / "shown.pgm"
    ran = subprocess.run(
        [program, "-v", "-p", str(state), str(volume.frames[0].path), str(picture)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, *lines = (
        np.array([point.split("\\") for point in found.split(", ") if point.strip()], dtype=float)
        for found in re.findall(r"coordinates: (.*)", ran.stderr)
    )
    inside = np.zeros(heart.mask.shape[1:], dtype=bool)
    inside[polygon(first[:, 1] - 0.5, first[:, 0] - 0.5, inside.shape)] = True
    assert (inside ^ heart.mask[0]).sum() < 0.02 * heart.mask.sum()
    assert isinstance(ratio, MeasurementFinding)
    for line, mark in zip(lines, ratio.marks, strict=True):
        assert line == pytest.approx(mark.points, abs=0.01)
    # DCMTK draws the image alone: as its own window says, which the state repeats.
    with Image.open(picture) as shown:
        grey = np.asarray(shown).astype(int)
    assert grey.shape == (320, 256)
    assert grey[-1, -1] > grey[0, 0]


def lesion(volume: Volume) -> LesionFinding:
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[1:4, 20:26, 30:36] = True
    return LesionFinding(
        name="Nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(),
        mask=mask,
    )


def node(name: str, mask: npt.NDArray[np.bool_] | None, tracking_uid: str | None) -> LesionFinding:
    axes = {LONG_AXIS: [[30.0, 23.0], [36.0, 25.0]], SHORT_AXIS: [[32.0, 26.0], [34.0, 21.0]]}
    marks = tuple(
        Mark(
            slice_index=2,
            points=np.array(ends),
            measurement=Measurement(name=axis, value=8.0, unit=MM),
        )
        for axis, ends in axes.items()
    )
    return LesionFinding(
        name=name,
        type=Code("30746006", "SCT", "Lymph node structure"),
        site=Code("91470000", "SCT", "Axilla"),
        laterality=RIGHT,
        score=0.7,
        marks=marks,
        measurements=(Measurement(name=VOLUME, value=1.5, unit=ML),),
        mask=mask,
        tracking_uid=tracking_uid,
    )


def test_results_on_a_ct_are_valid(tmp_path: Path, validator: str) -> None:
    volume = written_volume(ct_series(StudyIdentity(seed="valid ct")), tmp_path)
    assert_valid(encode((*lungs(volume), lesion(volume)), volume, tmp_path / "out"), validator)


def test_lesions_with_both_axes_and_a_tracking_uid_from_elsewhere_are_valid(
    tmp_path: Path, validator: str
) -> None:
    volume = written_volume(ct_series(StudyIdentity(seed="valid nodes")), tmp_path)
    found = (
        node("Node 1", lesion(volume).mask, "2.25.1234567890"),
        node("Node 2", None, "2.25.9876543210"),
    )
    encoded = encode(found, volume, tmp_path / "out")
    assert_valid(encoded, validator)
    told = subprocess.run(
        ["dsrdump", str(encoded[1].path)], capture_output=True, text=True, check=True
    ).stdout
    assert told.count("2.25.1234567890") == 2
    assert told.count("2.25.9876543210") == 1
    assert told.count("POLYLINE") == 4
    (segment,) = dcmread(encoded[0].path).SegmentSequence
    assert segment.TrackingUID == "2.25.1234567890"


def test_results_on_a_radiograph_are_valid(tmp_path: Path, validator: str) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="valid dx"))], tmp_path)
    findings = (*heart_with_ratio(volume), *JUDGEMENTS)
    assert_valid(encode(findings, volume, tmp_path / "out"), validator)


def test_a_report_without_a_finding_is_valid(tmp_path: Path, validator: str) -> None:
    volume = written_volume([radiograph(StudyIdentity(seed="valid none"))], tmp_path)
    assert_valid(encode((), volume, tmp_path / "out"), validator)


def test_results_on_a_secondary_capture_with_header_faults_are_valid(
    tmp_path: Path, validator: str
) -> None:
    """The age is `81`, there is neither birth date nor pixel spacing nor study date."""
    if not NIH.exists():
        pytest.skip(f"{NIH.name} is not here; set DICOMNODE_DATA")
    volume = written_volume([dcmread(NIH)], tmp_path)
    encoded = encode(heart_with_ratio(volume), volume, tmp_path / "out")
    # highdicom reads no PixelMeasures without a spacing, and none is made up here.
    segmentation, *others = encoded
    assert_valid(tuple(others), validator)
    ran = subprocess.run(
        [validator, "-new", str(segmentation.path)], capture_output=True, text=True, check=False
    )
    assert "Error" not in ran.stdout + ran.stderr
    assert dcmread(segmentation.path).PatientAge == "081Y"


def test_a_nodule_and_lungs_on_a_real_ct_are_valid(tmp_path: Path, validator: str) -> None:
    if not LIDC.is_dir():
        pytest.skip("ct/lidc_0314 is not here; set DICOMNODE_DATA")
    images = sorted(
        (dcmread(path) for path in LIDC.glob("*.dcm")), key=lambda ds: ds.InstanceNumber
    )
    # A part of it, since noise outlined slice by slice takes its time.
    images = images[40:52]
    volume = written_volume(images, tmp_path)
    body = volume.array > -500
    segment = outlined(body, "body")
    air = replace(segment, name="air", mask=volume.array < -900)
    assert_valid(encode((segment, air), volume, tmp_path / "out"), validator)


@pytest.mark.parametrize("orders", [[[3, 0, 5, 1, 4, 2]], [[3, 0, 5], [1, 4], [2]]])
def test_every_form_of_results_on_an_enhanced_multi_frame_ct_is_valid(
    tmp_path: Path, validator: str, orders: list[list[int]]
) -> None:
    """Its frames lie in the file in another order than in space, also split over several files."""
    slices = ct_series(StudyIdentity(seed="enhanced"), SeriesGeometry(slices=6))
    paths = [tmp_path / f"ct{number}.dcm" for number in range(len(orders))]
    for path, order in zip(paths, orders, strict=True):
        enhanced(slices, order=order).save_as(path, enforce_file_format=True)
    volume = read_series(paths)
    encoded = encode(lungs(volume), volume, tmp_path / "out")
    assert {each.kind for each in encoded} == set(ResultKind) - {ResultKind.OTHER}
    assert_valid(encoded, validator)
