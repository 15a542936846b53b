"""Presentation states and key objects: drawn and flagged where the findings are; or refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy import ndimage

from dicomnode.domain.codes import LUNG, RIGHT, Code
from dicomnode.domain.errors import GeometryMismatch
from dicomnode.domain.findings import ClassFinding, Finding, LesionFinding, Mark
from dicomnode.domain.results import ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation
from dicomnode.encode.key_objects_gate import check_key_objects
from dicomnode.encode.outlines import least_part, outlines
from dicomnode.encode.presentation_gate import check_presentation, enclosed
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import (
    PHANTOM_ALGORITHM,
    heart_with_ratio,
    lungs,
    random_segments,
)
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="presentation",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, 30, tzinfo=UTC),
    software_versions=("dicomnode 0.1.0",),
)
Mask = npt.NDArray[np.bool_]
KINDS = frozenset({ResultKind.GSPS, ResultKind.KOS})


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    folder = tmp_path / "ct"
    folder.mkdir()
    return written_volume(ct_series(StudyIdentity(seed="pr"), SeriesGeometry(slices=8)), folder)


def dx(folder: Path, photometric: str = "MONOCHROME2") -> Volume:
    image = radiograph(StudyIdentity(seed="pr dx"), photometric=photometric)
    return written_volume([image], folder)


def made(findings: tuple[Finding, ...], volume: Volume, out: Path) -> dict[ResultKind, Path]:
    return {
        each.kind: each.path
        for each in encode_results(
            findings,
            volume,
            identity=PHANTOM_ALGORITHM,
            derivation=DERIVATION,
            out=out,
            settings=OutputSettings(),
            kinds=KINDS,
        )
    }


def nodule(volume: Volume, index: int) -> LesionFinding:
    mask = np.zeros(volume.grid.shape, dtype=bool)
    mask[index - 1 : index + 2, 20:26, 30:36] = True
    line = Mark(slice_index=index, points=np.array([[30.0, 23.0], [36.0, 23.0]]))
    return LesionFinding(
        name="Nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(line,),
        mask=mask,
    )


def texts(pr: Dataset) -> list[str]:
    return [
        str(text.UnformattedTextValue)
        for annotation in pr.GraphicAnnotationSequence
        for text in annotation.get("TextObjectSequence", [])
    ]


def test_each_organ_is_outlined_on_every_slice_in_a_layer_of_its_own(
    ct: Volume, tmp_path: Path
) -> None:
    pr = dcmread(made(lungs(ct), ct, tmp_path)[ResultKind.GSPS])
    assert [layer.GraphicLayerDescription for layer in pr.GraphicLayerSequence] == [
        "right lung",
        "left lung",
        "What this is",
    ]
    drawn = [one for one in pr.GraphicAnnotationSequence if "GraphicObjectSequence" in one]
    assert len(drawn) == 2 * 8
    referred = [one.ReferencedImageSequence[0].ReferencedSOPInstanceUID for one in drawn[:8]]
    assert referred == [frame.sop_instance_uid for frame in ct.frames]
    assert pr.SoftcopyVOILUTSequence[0].WindowCenter == -600
    assert (pr.RescaleIntercept, pr.RescaleType) == (-1024, "HU")


def test_lines_and_numbers_of_a_radiograph_are_drawn_and_told(tmp_path: Path) -> None:
    volume = dx(tmp_path)
    pr = dcmread(made(heart_with_ratio(volume), volume, tmp_path / "out")[ResultKind.GSPS])
    told = "\n".join(texts(pr))
    assert "Cardiothoracic ratio 0.50" in told
    assert "Internal thoracic diameter 40.8 mm" in told
    assert "RESEARCH USE ONLY - NOT FOR DIAGNOSIS\r\nPhantom chest (phantom 1.0.0)" in told
    window = pr.SoftcopyVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (2048, 4096)
    assert pr.PresentationLUTShape == "IDENTITY"


def test_what_is_found_on_the_whole_image_is_told_at_its_foot(tmp_path: Path) -> None:
    def judged(name: str, probability: float) -> ClassFinding:
        return ClassFinding(
            name=name,
            finding=Code("8186001", "SCT", "Cardiomegaly"),
            probability=probability,
            operating_point=0.5,
        )

    volume = dx(tmp_path)
    found = (judged("cardiomegaly", 0.71), judged("effusion", 0.2))
    (told,) = texts(dcmread(made(found, volume, tmp_path / "one")[ResultKind.GSPS]))
    assert told.endswith("cardiomegaly: 0.71, at or above 0.50")
    (told,) = texts(dcmread(made(found[1:], volume, tmp_path / "none")[ResultKind.GSPS]))
    assert told.endswith("Nothing reaches its operating point")


def test_words_do_not_lie_on_one_another(tmp_path: Path) -> None:
    volume = dx(tmp_path)
    heart, ratio = heart_with_ratio(volume)
    crowd: tuple[Finding, ...] = (
        heart,
        ratio,
        *(replace(heart, name=f"heart {number}") for number in (2, 3)),
    )
    pr = dcmread(made(crowd, volume, tmp_path / "out")[ResultKind.GSPS])
    boxes = [
        (*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner)
        for one in pr.GraphicAnnotationSequence
        for text in one.get("TextObjectSequence", [])
        if text.BoundingBoxAnnotationUnits == "PIXEL"
    ]
    assert len(boxes) == 5
    for one, other in combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


def test_an_image_whose_low_values_are_white_stays_so(tmp_path: Path) -> None:
    volume = dx(tmp_path, "MONOCHROME1")
    pr = dcmread(made(heart_with_ratio(volume), volume, tmp_path / "out")[ResultKind.GSPS])
    assert pr.PresentationLUTShape == "INVERSE"


def test_images_with_rescales_of_their_own_have_windows_of_their_own(tmp_path: Path) -> None:
    images = ct_series(StudyIdentity(seed="pet"), SeriesGeometry(slices=4))
    for number, ds in enumerate(images):
        ds.RescaleSlope = 1 + number
        ds.RescaleIntercept = -1024 * (1 + number)
        ds.Modality = "PT"
    volume = written_volume(images, tmp_path)
    pr = dcmread(made((nodule(volume, 2),), volume, tmp_path / "out")[ResultKind.GSPS])
    assert "RescaleSlope" not in pr
    widths = [float(one.WindowWidth) for one in pr.SoftcopyVOILUTSequence]
    assert widths == pytest.approx([widths[0], widths[0] * 2 / 3, widths[0] / 2], rel=1e-6)


def test_no_finding_is_said_on_the_middle_image_and_flags_none(ct: Volume, tmp_path: Path) -> None:
    results = made((), ct, tmp_path)
    assert ResultKind.KOS not in results
    pr = dcmread(results[ResultKind.GSPS])
    assert texts(pr)[0].endswith("No finding")
    (series,) = pr.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == ct.frames[4].sop_instance_uid


def test_key_objects_flag_the_slice_of_the_lesion(ct: Volume, tmp_path: Path) -> None:
    ko = dcmread(made((nodule(ct, 5),), ct, tmp_path)[ResultKind.KOS])
    title = ko.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodeMeaning) == ("113000", "Of Interest")
    (image,) = (item for item in ko.ContentSequence if item.ValueType == "IMAGE")
    flagged = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert flagged == ct.frames[5].sop_instance_uid
    assert ko.SeriesDescription == "Phantom chest KO, series 1"


def effusion(probability: float) -> ClassFinding:
    code = Code(value="60046008", scheme="SCT", meaning="Pleural effusion")
    return ClassFinding(name="Effusion", finding=code, probability=probability, operating_point=0.3)


def test_a_radiograph_is_flagged_for_a_class_though_nothing_is_drawn(
    ct: Volume, tmp_path: Path
) -> None:
    volume = dx(tmp_path)
    ko = dcmread(made((effusion(0.9),), volume, tmp_path / "high")[ResultKind.KOS])
    (image,) = (item for item in ko.ContentSequence if item.ValueType == "IMAGE")
    flagged = image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert flagged == volume.frames[0].sop_instance_uid
    assert ResultKind.KOS not in made((effusion(0.2),), volume, tmp_path / "low")
    # On a CT it points at no slice.
    assert ResultKind.KOS not in made((effusion(0.9),), ct, tmp_path / "ct_high")


def test_a_rerun_gives_the_same_bytes(ct: Volume, tmp_path: Path) -> None:
    findings: tuple[Finding, ...] = (*lungs(ct), nodule(ct, 5))
    first = made(findings, ct, tmp_path / "first")
    second = made(findings, ct, tmp_path / "second")
    for kind in KINDS:
        assert first[kind].read_bytes() == second[kind].read_bytes()


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_outlines_enclose_the_parts_of_a_mask_with_their_holes(mask: Mask) -> None:
    if not mask.any():
        return
    inside = enclosed(outlines(mask), mask.shape)
    whole = ndimage.binary_fill_holes(mask, structure=np.ones((3, 3)))
    parts, _ = ndimage.label(whole)
    sizes = np.bincount(parts.ravel())
    large = np.flatnonzero(sizes[1:] >= least_part(mask)) + 1
    assert np.array_equal(inside, np.isin(parts, large) if len(large) else whole)


def test_a_closed_line_encloses_the_centres_it_runs_around() -> None:
    triangle = np.array([[1.0, 1.0], [5.0, 1.0], [1.0, 5.0], [1.0, 1.0]])
    assert np.argwhere(enclosed([triangle], (6, 6))).tolist() == [
        *([1, column] for column in (1, 2, 3)),
        *([2, column] for column in (1, 2)),
        [3, 1],
    ]


def test_random_masks_pass_the_gate(ct: Volume, tmp_path: Path) -> None:
    findings: tuple[Finding, ...] = random_segments(ct, seed=4)
    check_presentation(made(findings, ct, tmp_path)[ResultKind.GSPS], findings, ct)


def mirrored(pr: Dataset) -> None:
    for item in graphics(pr):
        points = np.asarray(item.GraphicData).reshape(-1, 2)
        item.GraphicData = (np.array([48, 0]) + points * [-1, 1]).ravel().tolist()


def moved_by_two_pixels(pr: Dataset) -> None:
    for item in graphics(pr):
        item.GraphicData = [value + 2 for value in item.GraphicData]


def on_the_next_slice(pr: Dataset) -> None:
    images = [one.ReferencedImageSequence for one in pr.GraphicAnnotationSequence]
    for one, image in zip(pr.GraphicAnnotationSequence, images[1:] + images[:1], strict=True):
        one.ReferencedImageSequence = image


def left_out(pr: Dataset) -> None:
    drawn = [one for one in pr.GraphicAnnotationSequence if "GraphicObjectSequence" in one]
    del drawn[0].GraphicObjectSequence


def on_another_image(pr: Dataset) -> None:
    pr.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def graphics(pr: Dataset) -> list[Dataset]:
    return [
        item
        for one in pr.GraphicAnnotationSequence
        for item in one.get("GraphicObjectSequence", [])
    ]


@pytest.mark.parametrize(
    "fault", [mirrored, moved_by_two_pixels, on_the_next_slice, left_out, on_another_image]
)
def test_a_state_that_draws_elsewhere_is_refused(
    ct: Volume, tmp_path: Path, fault: Callable[[Dataset], None]
) -> None:
    findings: tuple[Finding, ...] = (*lungs(ct), nodule(ct, 5))
    path = made(findings, ct, tmp_path)[ResultKind.GSPS]
    check_presentation(path, findings, ct)
    pr = dcmread(path)
    fault(pr)
    pr.save_as(path)
    with pytest.raises(GeometryMismatch):
        check_presentation(path, findings, ct)


def test_other_images_than_the_key_slices_are_refused(ct: Volume, tmp_path: Path) -> None:
    path = made((nodule(ct, 5),), ct, tmp_path)[ResultKind.KOS]
    check_key_objects(path, (nodule(ct, 5),), ct)
    with pytest.raises(GeometryMismatch, match=r"\[5\] are flagged, not \[4\]"):
        check_key_objects(path, (nodule(ct, 4),), ct)
    ko = dcmread(path)
    study = ko.CurrentRequestedProcedureEvidenceSequence[0]
    study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2"
    ko.save_as(path)
    with pytest.raises(GeometryMismatch, match="no evidence"):
        check_key_objects(path, (nodule(ct, 5),), ct)


def test_a_lesion_without_a_mask_is_drawn_by_its_line_alone(ct: Volume, tmp_path: Path) -> None:
    bare = replace(nodule(ct, 5), mask=None)
    pr = dcmread(made((bare,), ct, tmp_path)[ResultKind.GSPS])
    (line,) = graphics(pr)
    assert list(line.GraphicData) == [30, 23, 36, 23]
