"""What SEG and SR say, as a viewer, an archive and a person find it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from highdicom.sr import MeasurementReport, srread, templates
from highdicom.sr import content as sr_content
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from dicomnode.domain.codes import DIAMETER, LUNG, MM, RIGHT, VOLUME, Code
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    Mark,
    Measurement,
    SegmentFinding,
)
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.concepts import algorithm_items, concept, shared_concept
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.encode.document import _header, check_evidence
from dicomnode.encode.explicit import explicit_bytes
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, heart_with_ratio, lungs
from dicomnode.testing.studies import StudyIdentity, ct_series, radiograph
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="job 1",
    revision=1,
    made_at=datetime(2024, 1, 31, 23, 30, 5, tzinfo=timezone(timedelta(hours=1))),
    software_versions=("dicomnode 0.1.0", "torch 2.8"),
)
CARDIOMEGALY = ClassFinding(
    name="cardiomegaly",
    finding=Code("8186001", "SCT", "Cardiomegaly"),
    probability=0.71,
    operating_point=0.5,
)


def encode(
    findings: tuple[Finding, ...],
    volume: Volume,
    out: Path,
    derivation: Derivation = DERIVATION,
) -> tuple[EncodedObject, ...]:
    return encode_results(
        findings,
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=derivation,
        out=out,
        settings=OutputSettings(institution="Test Hospital"),
    )


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    folder = tmp_path / "ct"
    folder.mkdir()
    return written_volume(ct_series(StudyIdentity(seed="results")), folder)


@pytest.fixture
def dx(tmp_path: Path) -> Volume:
    folder = tmp_path / "dx"
    folder.mkdir()
    return written_volume([radiograph(StudyIdentity(seed="results dx"))], folder)


def groups_of(sr: Dataset) -> list[Dataset]:
    return [
        group
        for container in sr.ContentSequence
        if name_of(container) == "Imaging Measurements"
        for group in container.ContentSequence
    ]


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def values_of(group: Dataset, name: str) -> list[Dataset]:
    return [item for item in group.ContentSequence if name_of(item) == name]


def texts_of(item: Dataset) -> Iterator[str]:
    for child in item.get("ContentSequence", []):
        if child.ValueType == "TEXT":
            yield str(child.TextValue)
        yield from texts_of(child)


def test_a_rerun_gives_byte_identical_files(ct: Volume, tmp_path: Path) -> None:
    first = encode(lungs(ct), ct, tmp_path / "first")
    second = encode(lungs(ct), ct, tmp_path / "second")
    assert [each.sha256 for each in first] == [each.sha256 for each in second]
    assert [each.path.read_bytes() for each in first] == [each.path.read_bytes() for each in second]


def test_every_result_names_the_node_whoever_made_the_algorithm(ct: Volume, tmp_path: Path) -> None:
    made = encode_results(
        lungs(ct),
        ct,
        identity=replace(PHANTOM_ALGORITHM, manufacturer="Some Company"),
        derivation=DERIVATION,
        out=tmp_path,
        settings=OutputSettings(),
    )
    assert [each.kind for each in made] == [ResultKind.SEG, ResultKind.SR]
    for each in made:
        ds = dcmread(each.path)
        assert ds.Manufacturer == "Some Company"
        (own,) = (
            item for item in ds.ContributingEquipmentSequence if item.Manufacturer == "dicomnode"
        )
        assert own.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert own.ContributionDateTime == "20240131233005+0100"


def test_another_revision_or_model_gets_other_uids(ct: Volume, tmp_path: Path) -> None:
    first = encode(lungs(ct), ct, tmp_path)
    revised = encode(lungs(ct), ct, tmp_path, replace(DERIVATION, revision=2))
    retrained = encode_results(
        lungs(ct),
        ct,
        identity=replace(PHANTOM_ALGORITHM, model_digest="00" * 32),
        derivation=DERIVATION,
        out=tmp_path,
        settings=OutputSettings(),
    )
    uids = [each.sop_instance_uid for each in (*first, *revised, *retrained)]
    assert len(set(uids)) == 6
    assert all(uid.startswith("2.25.") for uid in uids)


def test_what_is_returned_is_what_lies_on_disk(ct: Volume, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encoded = encode(lungs(ct), ct, out)
    assert [each.kind for each in encoded] == [ResultKind.SEG, ResultKind.SR]
    for each in encoded:
        ds = dcmread(each.path)
        assert (ds.SOPInstanceUID, ds.SOPClassUID) == (each.sop_instance_uid, each.sop_class_uid)
        assert (ds.StudyInstanceUID, ds.SeriesInstanceUID) == (ct.study_uid, each.series_uid)
    assert sorted(out.iterdir()) == sorted(each.path for each in encoded)


def test_the_segmentation_is_binary_uncompressed_and_refers_to_every_image(
    ct: Volume, tmp_path: Path
) -> None:
    seg = segread(encode(lungs(ct), ct, tmp_path)[0].path)
    assert seg.SegmentationType == "BINARY"
    assert seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    referred = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in referred] == [
        frame.sop_instance_uid for frame in ct.frames
    ]
    assert all(
        len(group.DerivationImageSequence[0].SourceImageSequence) == 1
        for group in seg.PerFrameFunctionalGroupsSequence
    )


def test_segments_carry_codes_side_color_and_algorithm(ct: Volume, tmp_path: Path) -> None:
    seg = segread(encode(lungs(ct), ct, tmp_path)[0].path)
    right, left = seg.SegmentSequence
    assert (right.SegmentLabel, left.SegmentLabel) == ("right lung", "left lung")
    kind = right.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeValue == LUNG.value
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == RIGHT.value
    assert right.SegmentAlgorithmType == "AUTOMATIC"
    assert right.RecommendedDisplayCIELabValue != left.RecommendedDisplayCIELabValue
    algorithm = right.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "1.0.0"
    assert PHANTOM_ALGORITHM.model_digest in algorithm.AlgorithmParameters


def test_slices_without_a_voxel_have_no_frame(ct: Volume, tmp_path: Path) -> None:
    lung = lungs(ct)[0]
    mask = lung.mask.copy()
    mask[:5], mask[10] = False, False
    seg = segread(encode((replace(lung, mask=mask),), ct, tmp_path)[0].path)
    assert seg.NumberOfFrames == 14
    spacing = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    assert spacing == ct.grid.spacing_mm[0]


def test_patient_study_and_series_are_filed_with_the_source(ct: Volume, tmp_path: Path) -> None:
    for each in encode(lungs(ct), ct, tmp_path):
        ds = dcmread(each.path)
        assert (ds.PatientName, ds.PatientID) == ("Test^Phantom", "PHANTOM-1")
        assert (ds.AccessionNumber, ds.StudyDate, ds.PatientAge) == ("A1", "20240131", "074Y")
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert ds.SeriesDescription == f"Phantom chest {each.kind.value}, series 1"
        assert ds.SeriesNumber > 9000
        assert (ds.ContentDate, ds.ContentTime) == ("20240131", "233005")
        assert list(ds.SoftwareVersions) == ["1.0.0", "dicomnode 0.1.0", "torch 2.8"]
        assert ds.InstitutionName == "Test Hospital"


@pytest.mark.parametrize(
    ("settings", "number", "description"),
    [
        ({}, 9001, "Phantom chest SEG, series 1"),
        (
            {
                "series_number_base": 0,
                "series_number_per_source": 100,
                "series_description": "AI {kind}: {source_description} ({algorithm} {version})",
            },
            101,
            "AI SEG: Chest 3 mm (phantom 1.0.0)",
        ),
        ({"series_description": "{title} {kind} (AI)"}, 9001, "Phantom chest SEG (AI)"),
    ],
    ids=["default", "beside the source", "short"],
)
def test_series_are_named_as_the_site_wishes(
    ct: Volume, tmp_path: Path, settings: dict[str, object], number: int, description: str
) -> None:
    made = encode_results(
        lungs(ct),
        ct,
        identity=PHANTOM_ALGORITHM,
        derivation=DERIVATION,
        out=tmp_path,
        settings=OutputSettings.model_validate(settings),
    )
    seg, sr = (dcmread(each.path) for each in made)
    assert (seg.SeriesNumber, seg.SeriesDescription) == (number, description)
    assert (sr.SeriesNumber, sr.SeriesDescription) == (number + 1, description.replace("SEG", "SR"))


def test_names_and_descriptions_survive_the_way_from_image_to_results(tmp_path: Path) -> None:
    images = ct_series(StudyIdentity(seed="japan"), description="胸部 3 mm")
    for ds in images:
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
        ds.StudyDescription = "胸部CT"
        ds.ReferringPhysicianName = "Suzuki^Hanako=鈴木^花子"
    volume = written_volume(images, tmp_path)
    made = encode_results(
        lungs(volume),
        volume,
        identity=PHANTOM_ALGORITHM,
        derivation=DERIVATION,
        out=tmp_path / "out",
        settings=OutputSettings(series_description="{source_description} {kind}"),
        kinds=frozenset(ResultKind),
    )
    assert len(made) == 7
    for each in made:
        ds = dcmread(each.path)
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert ds.PatientName.ideographic == "山田^太郎"
        assert ds.PatientName.phonetic == "やまだ^たろう"
        assert ds.ReferringPhysicianName == "Suzuki^Hanako=鈴木^花子"
        assert ds.StudyDescription == "胸部CT"
        assert ds.SeriesDescription == f"胸部 3 mm {each.kind.shown}"


def test_dates_are_written_in_the_time_zone_of_the_source(tmp_path: Path) -> None:
    images = ct_series(StudyIdentity(seed="zone"))
    for ds in images:
        ds.TimezoneOffsetFromUTC = "-0500"
    volume = written_volume(images, tmp_path)
    ds = dcmread(encode(lungs(volume), volume, tmp_path / "out")[0].path)
    assert (ds.ContentDate, ds.ContentTime) == ("20240131", "173005")
    assert ds.TimezoneOffsetFromUTC == "-0500"


def test_each_organ_is_drawn_and_points_to_its_segment_under_one_tracking_uid(
    ct: Volume, tmp_path: Path
) -> None:
    seg_object, sr_object = encode(lungs(ct), ct, tmp_path)
    report = srread(sr_object.path).content
    assert isinstance(report, MeasurementReport)
    assert len(report.get_planar_roi_measurement_groups()) == 2
    volumetric = report.get_volumetric_roi_measurement_groups()
    for number, group in enumerate(volumetric, start=1):
        assert group.referenced_segment is not None
        segmentation_uid = str(group.referenced_segment.referenced_sop_instance_uid)
        assert segmentation_uid == seg_object.sop_instance_uid
        assert group.referenced_segment.referenced_segment_numbers == [number]
        measured = group.get_measurements()[0]
        assert measured.name.value == VOLUME.value
        expected = lungs(ct)[number - 1].measurements[0].value
        assert measured.value == pytest.approx(expected)
    sr = dcmread(sr_object.path)
    drawn = {
        values_of(group, "Tracking Unique Identifier")[0].UID
        for group in groups_of(sr)
        if values_of(group, "Image Region")
    }
    tracked = {values_of(group, "Tracking Unique Identifier")[0].UID for group in groups_of(sr)}
    assert drawn == tracked
    segment = dcmread(seg_object.path).SegmentSequence[0]
    assert segment.TrackingUID in tracked


def test_an_outline_is_drawn_on_the_slice_of_the_largest_area(ct: Volume, tmp_path: Path) -> None:
    lung = lungs(ct)[0]
    mask = lung.mask.copy()
    mask[:, :40] &= False
    mask[7] = lung.mask[7]
    _, sr_object = encode((replace(lung, mask=mask),), ct, tmp_path)
    region = values_of(groups_of(dcmread(sr_object.path))[0], "Image Region")[0]
    image = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == ct.frames[7].sop_instance_uid
    points = np.array(region.GraphicData).reshape(-1, 2)
    rows, columns = np.nonzero(mask[7])
    assert points.min(axis=0) == pytest.approx([columns.min(), rows.min()], abs=1)
    assert points.max(axis=0) == pytest.approx([columns.max() + 1, rows.max() + 1], abs=1)


def test_every_referred_instance_is_evidence(ct: Volume, tmp_path: Path) -> None:
    seg_object, sr_object = encode(lungs(ct), ct, tmp_path)
    evidence = {str(instance) for _, _, instance, _ in srread(sr_object.path).get_evidence()}
    assert evidence == {
        *(frame.sop_instance_uid for frame in ct.frames),
        seg_object.sop_instance_uid,
    }


def test_a_cardiothoracic_ratio_is_two_lines_and_three_numbers(dx: Volume, tmp_path: Path) -> None:
    _, sr_object = encode(heart_with_ratio(dx), dx, tmp_path)
    groups = [
        group
        for group in groups_of(dcmread(sr_object.path))
        if "ratio" in values_of(group, "Tracking Identifier")[0].TextValue
    ]
    assert [values_of(group, "Image Region")[0].GraphicType for group in groups] == ["POLYLINE"] * 2
    # A viewer draws one line a tracking UID.
    assert len({values_of(group, "Tracking Unique Identifier")[0].UID for group in groups}) == 2
    numbers = {
        name_of(item): float(item.MeasuredValueSequence[0].NumericValue)
        for group in groups
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    assert numbers == pytest.approx(
        {
            "Transverse cardiac diameter": 20.4,
            "Internal thoracic diameter": 40.8,
            "Cardiothoracic ratio": 0.5,
        }
    )


def test_a_radiograph_segmentation_has_the_groups_viewers_need(dx: Volume, tmp_path: Path) -> None:
    seg = segread(encode(heart_with_ratio(dx), dx, tmp_path)[0].path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].SliceThickness == 1
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.2, 0.2]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert "FrameOfReferenceUID" not in seg


def test_no_pixel_spacing_is_made_up_for_an_uncalibrated_radiograph(tmp_path: Path) -> None:
    image = radiograph(StudyIdentity(seed="film"), imager_spacing_mm=None)
    volume = written_volume([image], tmp_path)
    image.ImagerPixelSpacing = [0, 0]
    image.save_as(volume.frames[0].path)
    seg = dcmread(encode(heart_with_ratio(volume), volume, tmp_path / "out")[0].path)
    assert "PixelSpacing" not in seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def test_a_lesion_is_its_diameters_its_score_and_its_segment(ct: Volume, tmp_path: Path) -> None:
    mask = np.zeros(ct.grid.shape, dtype=bool)
    mask[8:11, 20:26, 30:36] = True
    long_axis = Measurement(name=DIAMETER, value=8.5, unit=MM)
    nodule = LesionFinding(
        name="Nodule 1",
        type=Code("27925004", "SCT", "Nodule"),
        site=LUNG,
        laterality=RIGHT,
        score=0.9,
        marks=(
            Mark(
                slice_index=9, points=np.array([[30.0, 23.0], [36.0, 23.0]]), measurement=long_axis
            ),
        ),
        mask=mask,
    )
    seg_object, sr_object = encode((nodule,), ct, tmp_path)
    drawn, volumetric = groups_of(dcmread(sr_object.path))
    (diameter,) = values_of(drawn, "Diameter")
    assert diameter.MeasuredValueSequence[0].NumericValue == 8.5
    assert diameter.ContentSequence[0].GraphicData == [30, 23, 36, 23]
    assert values_of(volumetric, "Score")[0].MeasuredValueSequence[0].NumericValue == 0.9
    for group in (drawn, volumetric):
        assert values_of(group, "Finding Site")[0].ConceptCodeSequence[0].CodeValue == LUNG.value
    tracked = [
        values_of(group, "Tracking Unique Identifier")[0].UID for group in (drawn, volumetric)
    ]
    assert set(tracked) == {dcmread(seg_object.path).SegmentSequence[0].TrackingUID}
    region = dcmread(seg_object.path).SegmentSequence[0].AnatomicRegionSequence[0]
    assert region.AnatomicRegionModifierSequence[0].CodeValue == RIGHT.value


def test_an_empty_list_makes_a_report_that_says_so(ct: Volume, tmp_path: Path) -> None:
    (sr_object,) = encode((), ct, tmp_path)
    sr = srread(sr_object.path)
    assert sr.SOPClassUID == Comprehensive3DSRStorage
    assert "The algorithm reports no finding on this series." in list(texts_of(sr))


def test_a_report_always_draws_something_as_viewers_fail_on_one_that_does_not(
    dx: Volume, tmp_path: Path
) -> None:
    for number, findings in enumerate(((), (CARDIOMEGALY,))):
        (sr_object,) = encode(findings, dx, tmp_path / str(number))
        (group,) = groups_of(dcmread(sr_object.path))
        points = np.array(values_of(group, "Image Region")[0].GraphicData).reshape(-1, 2)
        assert points.min(axis=0).tolist() == [0.5, 0.5]
        assert points.max(axis=0).tolist() == [255.5, 319.5]
        assert len(points) != 5


def test_an_organ_that_was_not_found_is_told_and_has_no_segment(ct: Volume, tmp_path: Path) -> None:
    right, left = lungs(ct)
    absent = replace(left, mask=np.zeros_like(left.mask), measurements=())
    seg_object, sr_object = encode((right, absent), ct, tmp_path)
    assert len(dcmread(seg_object.path).SegmentSequence) == 1
    assert "left lung: nothing was marked." in list(texts_of(dcmread(sr_object.path)))


def test_judgements_of_the_whole_image_do_not_make_undrawable_groups(
    dx: Volume, tmp_path: Path
) -> None:
    caption = CaptionFinding(name="caption", text="The heart is enlarged.")
    _, sr_object = encode((*heart_with_ratio(dx), CARDIOMEGALY, caption), dx, tmp_path)
    sr = dcmread(sr_object.path)
    assert all(values_of(group, "Image Region") for group in groups_of(sr)[:1])
    (container,) = [
        item for item in sr.ContentSequence if name_of(item) == "Qualitative Evaluations"
    ]
    (verdict,) = values_of(container, "Cardiomegaly")
    assert verdict.ConceptCodeSequence[0].CodeMeaning == "Present"
    assert verdict.ContentSequence[0].MeasuredValueSequence[0].NumericValue == 0.71
    assert "The heart is enlarged." in list(texts_of(container))


def test_a_report_says_what_made_it_and_what_it_is_not_for(ct: Volume, tmp_path: Path) -> None:
    sr = dcmread(encode(lungs(ct), ct, tmp_path)[-1].path)
    texts = list(texts_of(sr))
    assert any(text.startswith("Research use only") for text in texts)
    assert any(PHANTOM_ALGORITHM.intended_use in text for text in texts)
    assert any("dicomnode 0.1.0" in text for text in texts)
    assert any(PHANTOM_ALGORITHM.model_digest in text for text in texts)
    assert (sr.CompletionFlag, sr.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_a_revision_names_the_report_it_supersedes(ct: Volume, tmp_path: Path) -> None:
    earlier = encode(lungs(ct), ct, tmp_path)[-1]
    derivation = replace(
        DERIVATION,
        revision=2,
        complete=False,
        predecessors=(
            Predecessor(
                study_uid=StudyUid(ct.study_uid),
                series_uid=SeriesUid(earlier.series_uid),
                sop_class_uid=earlier.sop_class_uid,
                sop_instance_uid=InstanceUid(earlier.sop_instance_uid),
            ),
        ),
    )
    sr = dcmread(encode(lungs(ct), ct, tmp_path, derivation)[-1].path)
    named = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == earlier.sop_instance_uid
    assert sr.SeriesDescription == "Phantom chest SR, series 1, rev 2"
    assert sr.CompletionFlag == "PARTIAL"
    assert any("Supersedes" in text for text in texts_of(sr))


def test_findings_that_cannot_be_stated_are_refused_with_their_name(
    ct: Volume, tmp_path: Path
) -> None:
    right, left = lungs(ct)
    bad: list[tuple[tuple[SegmentFinding, ...], str]] = [
        ((right, replace(left, name="right lung")), "share a name: right lung"),
        ((replace(right, mask=right.mask[1:]),), "mask of 'right lung'"),
        (
            (replace(right, measurements=(Measurement(name=VOLUME, value=np.nan, unit=MM),)),),
            "Volume of 'right lung' is not a finite number",
        ),
    ]
    for findings, said in bad:
        with pytest.raises(EncodeError, match=said):
            encode(findings, ct, tmp_path)


def test_a_source_file_that_was_replaced_is_noticed(ct: Volume, tmp_path: Path) -> None:
    ct.frames[3].path.write_bytes(ct.frames[4].path.read_bytes())
    with pytest.raises(EncodeError, match="holds another one"):
        encode(lungs(ct), ct, tmp_path)


def test_a_source_file_that_is_gone_is_noticed(ct: Volume, tmp_path: Path) -> None:
    ct.frames[3].path.unlink()
    with pytest.raises(EncodeError, match="cannot be read again"):
        encode(lungs(ct), ct, tmp_path)


def test_an_error_never_names_the_patient(ct: Volume, tmp_path: Path) -> None:
    ct.frames[3].path.unlink()
    with pytest.raises(EncodeError) as caught:
        encode(lungs(ct), ct, tmp_path)
    assert "Phantom" not in str(caught.value)
    assert "PHANTOM-1" not in str(caught.value)


def test_a_form_that_cannot_be_made_does_not_keep_back_seg_and_sr(
    ct: Volume, tmp_path: Path
) -> None:
    kinds = frozenset({ResultKind.SECONDARY_CAPTURE, ResultKind.KOS})
    settings = OutputSettings()

    def made(
        out: Path, do_without: Callable[[ResultKind, EncodeError], None] | None
    ) -> tuple[EncodedObject, ...]:
        return encode_results(
            lungs(ct),
            ct,
            identity=PHANTOM_ALGORITHM,
            derivation=DERIVATION,
            out=out,
            settings=settings,
            kinds=kinds,
            do_without=do_without,
        )

    whole = made(tmp_path / "whole", None)
    (capture,) = (one for one in whole if one.kind is ResultKind.SECONDARY_CAPTURE)
    # A folder that has its name is in the way.
    (tmp_path / "out" / capture.path.name / "in the way").mkdir(parents=True)
    told: list[ResultKind] = []
    others = made(tmp_path / "out", lambda kind, _why: told.append(kind))
    assert [one.kind for one in others] == [ResultKind.SEG, ResultKind.SR, ResultKind.KOS]
    assert told == [ResultKind.SECONDARY_CAPTURE]
    with pytest.raises(EncodeError, match="cannot be written"):
        made(tmp_path / "out", None)


def test_a_report_that_refers_to_what_is_not_its_evidence_is_not_made() -> None:
    image, other = Dataset(), Dataset()
    image.SOPInstanceUID, other.ReferencedSOPInstanceUID = "1.2.3", "1.2.4"
    leaf, group, root = Dataset(), Dataset(), Dataset()
    leaf.ReferencedSOPSequence = [other]
    group.ContentSequence = [leaf]
    root.ContentSequence = [group]
    with pytest.raises(EncodeError, match="evidence"):
        check_evidence([root], [image])
    other.ReferencedSOPInstanceUID = "1.2.3"
    check_evidence([root], [image])


def test_what_reports_share_is_left_as_it_was(ct: Volume, tmp_path: Path) -> None:
    encode(lungs(ct), ct, tmp_path)

    for code in (LUNG, RIGHT, VOLUME):
        assert explicit_bytes(shared_concept(code)) == explicit_bytes(concept(code))
    shared = algorithm_items(PHANTOM_ALGORITHM)
    algorithm_items.cache_clear()
    made_anew = algorithm_items(PHANTOM_ALGORITHM)
    assert [explicit_bytes(one) for one in shared] == [explicit_bytes(one) for one in made_anew]


def test_reports_made_in_turn_are_those_made_alone(ct: Volume, dx: Volume, tmp_path: Path) -> None:
    superseded = Predecessor(
        kind=ResultKind.SR,
        study_uid=dx.study_uid,
        series_uid=SeriesUid("2.25.5"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
        sop_instance_uid=InstanceUid("2.25.6"),
    )
    second = replace(DERIVATION, revision=2, predecessors=(superseded,), complete=False)
    asked: list[tuple[tuple[Finding, ...], Volume, Derivation]]
    asked = [((), dx, second), (lungs(ct), ct, DERIVATION), ((CARDIOMEGALY,), dx, DERIVATION)]
    in_turn = [
        encode(findings, volume, tmp_path / str(number), derivation)[-1].sha256
        for number, (findings, volume, derivation) in enumerate(asked)
    ]
    alone = []
    for number, (findings, volume, derivation) in enumerate(asked):
        for shared in (_header, shared_concept, algorithm_items):
            shared.cache_clear()
        out = tmp_path / f"alone {number}"
        alone.append(encode(findings, volume, out, derivation)[-1].sha256)
    assert in_turn == alone


def test_the_frame_around_an_image_is_as_highdicom_states_it(dx: Volume, tmp_path: Path) -> None:
    (sr_object,) = encode((CARDIOMEGALY,), dx, tmp_path)
    (group,) = groups_of(dcmread(sr_object.path))
    (region,) = values_of(group, "Image Region")
    (frame,) = dx.frames
    (wanted,) = templates.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=sr_content.ImageRegion(
            graphic_type="POLYLINE",
            graphic_data=np.reshape(region.GraphicData, (-1, 2)),
            source_image=sr_content.SourceImageForRegion(
                frame.sop_class_uid, frame.sop_instance_uid
            ),
        ),
        tracking_identifier=templates.TrackingIdentifier(
            uid=values_of(group, "Tracking Unique Identifier")[0].UID,
            identifier=values_of(group, "Tracking Identifier")[0].TextValue,
        ),
        algorithm_id=algorithm_items(PHANTOM_ALGORITHM),
    )
    assert explicit_bytes(group) == explicit_bytes(wanted)
