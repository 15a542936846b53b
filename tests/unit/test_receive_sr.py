"""An SR's text comes out as its author wrote it, by section; software's measurements do not."""

import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

from dicomnode.domain.errors import InstanceUnreadable
from dicomnode.domain.incoming_reports import IncomingReport, ReportStatus
from dicomnode.domain.reports import Report, Section, SectionKind
from dicomnode.receive.reports.sr import read_sr
from dicomnode.reports import MinerSetup, open_miner
from dicomnode.reports.sections import split_sections


def code(meaning: str, value: str = "T1", scheme: str = "99TEST") -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def item(kind: str, name: str, *, relation: str = "CONTAINS") -> Dataset:
    ds = Dataset()
    ds.RelationshipType, ds.ValueType = relation, kind
    ds.ConceptNameCodeSequence = Items([code(name)])
    return ds


def text(name: str, words: str) -> Dataset:
    ds = item("TEXT", name)
    ds.TextValue = words
    return ds


def container(name: str, children: Sequence[Dataset]) -> Dataset:
    ds = item("CONTAINER", name)
    ds.ContinuityOfContent = "SEPARATE"
    ds.ContentSequence = Items(children)
    return ds


def sr(children: Sequence[Dataset], charset: str = "ISO_IR 192") -> Dataset:
    ds = container("Radiology Report", children)
    ds.SpecificCharacterSet = charset.split("\\") if "\\" in charset else charset
    ds.SOPClassUID, ds.SOPInstanceUID = BasicTextSRStorage, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.Modality, ds.PatientID, ds.PatientName = "SR", "P1", "Test^Phantom"
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate = "19500102", "F", "20240130"
    ds.AccessionNumber, ds.ContentDate, ds.ContentTime = "ACC1", "20240131", "101500"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def read(ds: Dataset, folder: Path) -> IncomingReport | None:
    path = folder / "sr.dcm"
    ds.save_as(path, enforce_file_format=True)
    return read_sr(path)


def test_sections_are_parts_and_the_header_says_whom_it_is_about(tmp_path: Path) -> None:
    report = read(
        sr(
            [
                container("Findings", [text("Finding", "Small effusion."), text("Finding", "No.")]),
                container("Impressions", [text("Impression", "Effusion.")]),
            ]
        ),
        tmp_path,
    )
    assert report is not None
    assert [(part.name, part.text) for part in report.parts] == [
        ("findings", "Small effusion.\nNo."),
        ("impressions", "Effusion."),
    ]
    assert (report.study_uid, report.accession_number, report.patient_id) == ("1.2.3", "ACC1", "P1")
    assert report.issued_at == datetime(2024, 1, 31, 10, 15, tzinfo=UTC)
    assert report.status is ReportStatus.FINAL


def test_text_without_a_section_is_named_by_its_own_concept(tmp_path: Path) -> None:
    report = read(sr([text("Conclusion", "Normal chest.")]), tmp_path)
    assert report is not None
    assert [(part.name, part.text) for part in report.parts] == [("conclusion", "Normal chest.")]


def test_codes_and_numbers_beside_text_are_words(tmp_path: Path) -> None:
    number = item("NUM", "Diameter")
    measured = Dataset()
    measured.NumericValue = "12"
    measured.MeasurementUnitsCodeSequence = Items([code("millimeter", "mm")])
    number.MeasuredValueSequence = Items([measured])
    coded = item("CODE", "Finding")
    coded.ConceptCodeSequence = Items([code("Nodule")])
    report = read(sr([container("Findings", [text("F", "Seen."), coded, number])]), tmp_path)
    assert report is not None
    assert report.parts[0].text == "Seen.\nFinding: Nodule.\nDiameter: 12 mm."


@pytest.mark.parametrize("template", ["1500", "10011"])
def test_measurements_of_software_are_no_report(tmp_path: Path, template: str) -> None:
    ds = sr([text("Comment", "Research use only.")])
    named = Dataset()
    named.MappingResource, named.TemplateIdentifier = "DCMR", template
    ds.ContentTemplateSequence = Items([named])
    assert read(ds, tmp_path) is None


def test_an_sr_without_words_is_no_report(tmp_path: Path) -> None:
    assert read(sr([container("Findings", [])]), tmp_path) is None


def test_what_is_not_verified_is_preliminary_and_a_successor_names_its_predecessor(
    tmp_path: Path,
) -> None:
    ds = sr([text("Finding", "Clear.")])
    ds.VerificationFlag = "UNVERIFIED"
    report = read(ds, tmp_path)
    assert report is not None
    assert report.status is ReportStatus.PRELIMINARY
    reference, series, study = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = BasicTextSRStorage, "1.9"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = "1.8", Items([reference])
    study.StudyInstanceUID, study.ReferencedSeriesSequence = "1.7", Items([series])
    ds.PredecessorDocumentsSequence = Items([study])
    report = read(ds, tmp_path)
    assert report is not None
    assert (report.status, report.predecessor_id) == (ReportStatus.CORRECTED, "1.9")


@pytest.mark.parametrize(
    ("charset", "words"),
    [
        ("ISO_IR 100", "Größe normal"),
        ("ISO_IR 192", "胸水なし 흉수"),
        ("\\ISO 2022 IR 87", "胸水なし"),
        ("\\ISO 2022 IR 149", "흉수 없음"),
        ("GB18030", "胸腔积液"),
    ],
)
def test_character_sets_survive(tmp_path: Path, charset: str, words: str) -> None:
    report = read(sr([text("Finding", words)], charset), tmp_path)
    assert report is not None
    assert report.parts[0].text == words


def test_a_bottomless_tree_is_refused(tmp_path: Path) -> None:
    nested = text("Finding", "Deep.")
    for _ in range(45):
        nested = container("Level", [nested])
    with pytest.raises(InstanceUnreadable, match="larger than"):
        read(sr([nested]), tmp_path)


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_sr_say_so(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("sr") / "noise.dcm"
    path.write_bytes(noise)
    with pytest.raises(InstanceUnreadable):
        read_sr(path)


def test_what_stands_within_a_history_is_history(tmp_path: Path) -> None:
    lungs = container("Lungs", [text("Observation", "Pneumonia.")])
    report = read(
        sr([container("Patient history", [lungs]), container("Findings", [lungs])]), tmp_path
    )
    assert report is not None
    assert [part.name for part in report.parts] == ["patient history / lungs", "findings / lungs"]
    kinds = [each.kind for each in sections(report)]
    assert kinds == [SectionKind.INDICATION, SectionKind.FINDINGS]


def test_a_section_is_known_by_its_code_in_any_language(tmp_path: Path) -> None:
    befund = container("Vorbefund", [text("F", "Pneumonia.")])
    befund.ConceptNameCodeSequence[0].CodeValue = "121068"
    report = read(sr([befund]), tmp_path)
    assert report is not None
    assert [each.kind for each in sections(report)] == [SectionKind.COMPARISON]


def sections(report: IncomingReport) -> list[Section]:
    headings = open_miner(MinerSetup(graph=False)).lexicon.headings
    return list(split_sections(Report(report_id="1", parts=report.parts), headings))


def test_a_small_deflated_sr_that_inflates_without_bound_is_refused(tmp_path: Path) -> None:
    ds = sr([text("Finding", "a" * 60_000_000)])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    ds.save_as(path, enforce_file_format=True)
    del ds
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(InstanceUnreadable, match="more than 4 MB"):
        read_sr(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_a_deflated_sr_of_common_size_is_read(tmp_path: Path) -> None:
    ds = sr([text("Finding", "Clear.")])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    report = read(ds, tmp_path)
    assert report is not None
    assert report.parts[0].text == "Clear."
