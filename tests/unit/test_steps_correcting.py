"""What a viewer sends back is known as a correction, kept beside the result, and starts no job."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicomnode.domain.identifiers import InstanceUid
from dicomnode.domain.jobs import Job
from dicomnode.domain.judgements import WHOLE_RESULT, Verdict
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.sop_classes import REPORTS, SEGMENTATIONS
from dicomnode.steps.correcting import Correcting
from dicomnode.steps.intake import close_ready
from dicomnode.steps.node import Node
from dicomnode.store.asking import asked
from dicomnode.store.closing import open_studies
from dicomnode.store.corrections import own_results, waiting_for_correction
from dicomnode.store.indexing import index_instances
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.results_told import ResultTold, result_told
from dicomnode.testing.findings import random_segments
from tests.contract.store_scenes import at, land, outcome_of, running_job, waiting
from tests.unit.steps_node import column, event_names, open_test_node, tick
from tests.unit.test_encode_gate import ct_volume, encode

BACK = "1.2.1.9.1"
"""The instance that comes back, in a series of its own of the same study."""
SEG, SR = SEGMENTATIONS[0], REPORTS[3]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return open_test_node(tmp_path)


@pytest.fixture
def job(node: Node, tmp_path: Path) -> Job:
    """Has a real SEG and SR."""
    made = running_job(node.database)
    folder = node.database.path_root / "results" / made.id[:2] / made.id
    volume = ct_volume(tmp_path / "images")
    paths = encode(random_segments(volume, seed=5), volume, folder)
    outcome = outcome_of(node.database, made)
    objects = tuple(_real(one, paths[one.kind]) for one in outcome.objects)
    assert record_outcome(node.database, made, replace(outcome, objects=objects), at(5))
    return made


def _real(one: EncodedObject, path: Path) -> EncodedObject:
    uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
    return replace(one, sop_instance_uid=InstanceUid(uid), path=path)


def come_back(node: Node, ds: Dataset, sop_class: str, uid: str = BACK) -> None:
    """Received and indexed; then the loop turns once."""
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    moment = at(100)
    land(node.database, [uid], association=f"back{uid}", moment=moment, sop_class=sop_class)
    (landed,) = waiting(node.database)
    ds.save_as(landed.landed.path, enforce_file_format=True)
    index_instances(node.database, [landed], [], moment)
    tick(node, 101)
    assert Correcting(node).take() is False


def own(job: Job, node: Node, kind: ResultKind) -> Dataset:
    (found,) = [one for one in own_results(node.database, job.study_uid) if one.kind == kind.value]
    ds = dcmread(found.path)
    ds.Manufacturer, ds.ManufacturerModelName = "Viewer Works", "Viewer"
    return ds


def erase_a_slice(ds: Dataset) -> Dataset:
    size = ds.Rows * ds.Columns
    keep = bytearray(ds.PixelData)
    keep[: size // 8] = bytes(size // 8)
    ds.PixelData = bytes(keep)
    return ds


def told(node: Node, job: Job) -> ResultTold:
    return result_told(node.database, job.id)


def test_an_edited_seg_is_kept_with_its_difference(node: Node, job: Job) -> None:
    come_back(node, erase_a_slice(own(job, node, ResultKind.SEG)), SEG)
    result = told(node, job)
    (back,) = result.corrections
    assert (back.kind, back.sent_by, back.made_with) == ("SEG", "CT1", "Viewer Works Viewer")
    assert back.sign == "tracking-uid"
    assert [one.name for one in back.segments] == ["part 1", "part 2"]
    assert min(one.dice for one in back.segments) < 1.0
    word = result.in_force[WHOLE_RESULT]
    assert (word.verdict, word.by, word.is_from_object) == (Verdict.CORRECTED, "CT1", True)
    assert event_names(node.database).count("result.corrected") == 1


def test_it_opens_no_study_and_starts_no_job(node: Node, job: Job) -> None:
    come_back(node, erase_a_slice(own(job, node, ResultKind.SEG)), SEG)
    tick(node, 10_000)
    assert open_studies(node.database) == ()
    assert close_ready(node) == ()
    assert len(column(node.database, "job", "id")) == 1
    assert column(node.database, "study", "instance_count") == [4]


def test_one_that_came_back_unchanged_is_no_judgement(node: Node, job: Job) -> None:
    come_back(node, own(job, node, ResultKind.SEG), SEG)
    result = told(node, job)
    assert {one.dice for one in result.corrections[0].segments} == {1.0}
    assert result.in_force == {}


def test_an_sr_that_names_ours_as_predecessor_is_kept(node: Node, job: Job) -> None:
    ds = own(job, node, ResultKind.SR)
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    series, study = Dataset(), Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = ds.SeriesInstanceUID, [item]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = ds.StudyInstanceUID, [series]
    ds.PredecessorDocumentsSequence = [study]
    come_back(node, ds, SR)
    (back,) = told(node, job).corrections
    assert (back.kind, back.sign, back.segments) == ("SR", "predecessor", ())
    assert told(node, job).in_force[WHOLE_RESULT].verdict is Verdict.CORRECTED


def as_drawn_by_hand(ds: Dataset) -> None:
    """What is left when a viewer writes everything anew: the label, and that a person drew it."""
    for item in ds.SegmentSequence:
        item.SegmentAlgorithmType = "MANUAL"
        del item.TrackingUID
        del item.TrackingID
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.1.1"


def as_of_another_program(ds: Dataset) -> None:
    as_drawn_by_hand(ds)
    for item in ds.SegmentSequence:
        item.SegmentAlgorithmType = "AUTOMATIC"


def as_of_other_images(ds: Dataset) -> None:
    as_drawn_by_hand(ds)
    ds.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.1.7"


def test_the_same_structure_drawn_by_hand_on_the_same_images_is_known(node: Node, job: Job) -> None:
    ds = own(job, node, ResultKind.SEG)
    as_drawn_by_hand(ds)
    come_back(node, erase_a_slice(ds), SEG)
    assert told(node, job).corrections[0].sign == "same-segment"


@pytest.mark.parametrize("change", [as_of_another_program, as_of_other_images])
def test_what_is_about_something_else_opens_its_study_as_ever(
    node: Node, job: Job, change: Callable[[Dataset], None]
) -> None:
    ds = own(job, node, ResultKind.SEG)
    change(ds)
    come_back(node, ds, SEG)
    assert told(node, job).corrections == ()
    assert column(node.database, "instance", "correction_state")[-1] == "none"
    (study,) = open_studies(node.database)
    assert study.evidence.new_instances == 1
    tick(node, 10_000)
    assert len(close_ready(node)) == 1


def test_a_persons_report_that_refers_to_ours_is_no_correction(node: Node, job: Job) -> None:
    ds = own(job, node, ResultKind.SR)
    ds.ContentTemplateSequence[0].TemplateIdentifier = "2000"
    come_back(node, ds, SR)
    assert told(node, job).corrections == ()


def test_what_cannot_be_read_stops_nothing(node: Node, job: Job) -> None:
    land(node.database, [BACK], association="back", moment=at(100), sop_class=SEG)
    (landed,) = waiting(node.database)
    landed.landed.path.write_bytes(b"no DICOM")
    index_instances(node.database, [landed], [], at(100))
    Correcting(node).take()
    assert waiting_for_correction(node.database, 10) == []
    assert column(node.database, "instance", "correction_state")[-1] == "unreadable"


def test_on_another_grid_it_is_kept_and_says_why_it_is_not_compared(node: Node, job: Job) -> None:
    ds = own(job, node, ResultKind.SEG)
    ds.Rows -= 1
    come_back(node, ds, SEG)
    (back,) = told(node, job).corrections
    assert (back.segments, back.note) == ((), "it lies on another pixel grid than ours")


def test_the_saved_question_lists_what_was_corrected(node: Node, job: Job) -> None:
    come_back(node, erase_a_slice(own(job, node, ResultKind.SEG)), SEG)
    query = "SELECT segment, theirs_ml - ours_ml < 0, dice < 1 FROM corrected ORDER BY segment"
    with asked(node.database, query) as answer:
        rows = list(answer.rows)
    assert [row[0] for row in rows] == ["part 1", "part 2"]
    assert any(row[1:] == (1, 1) for row in rows)
