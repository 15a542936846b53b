"""A run that says the same makes the same objects; what says anything else has UIDs of its own."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.algorithm import AlgorithmIdentity
from dicomnode.domain.findings import Finding, SegmentFinding
from dicomnode.domain.identifiers import InstanceUid, SeriesUid, StudyUid
from dicomnode.domain.results import USUAL_KINDS, EncodedObject, ResultKind
from dicomnode.domain.volumes import Volume
from dicomnode.encode.derivation import Derivation, Predecessor
from dicomnode.encode.results import encode_results
from dicomnode.settings import OutputSettings
from dicomnode.testing.findings import PHANTOM_ALGORITHM, lungs
from dicomnode.testing.studies import StudyIdentity, ct_series
from dicomnode.testing.volumes import written_volume

DERIVATION = Derivation(
    job_key="job 1",
    revision=1,
    made_at=datetime(2024, 1, 31, 12, tzinfo=UTC),
    software_versions=("dicomnode 0.1.0",),
)
OTHER_REPORT = Predecessor(
    study_uid=StudyUid("1.2.3"),
    series_uid=SeriesUid("1.2.3.4"),
    sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
    sop_instance_uid=InstanceUid("1.2.3.4.5"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run finds, and under which circumstances."""

    findings: tuple[Finding, ...]
    volume: Volume
    identity: AlgorithmIdentity = PHANTOM_ALGORITHM
    settings: OutputSettings = field(default_factory=lambda: OutputSettings(institution="A"))
    derivation: Derivation = DERIVATION
    kinds: Collection[ResultKind] = USUAL_KINDS


class Job:
    """A job that is run again and again; each run is told of what the earlier ones made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: list[EncodedObject] = []

    def run(self, run: Run) -> dict[ResultKind, EncodedObject]:
        made = encode_results(
            run.findings,
            run.volume,
            identity=run.identity,
            derivation=replace(run.derivation, earlier_runs=reports_among(self._known)),
            out=self._folder,
            settings=run.settings,
            kinds=run.kinds,
        )
        known = {one.sop_instance_uid for one in self._known}
        self._known += [one for one in made if one.sop_instance_uid not in known]
        return {one.kind: one for one in made}


def reports_among(made: Sequence[EncodedObject]) -> tuple[Predecessor, ...]:
    return tuple(
        Predecessor(
            study_uid=one.study_uid,
            series_uid=one.series_uid,
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            kind=one.kind,
        )
        for one in made
        if one.kind in (ResultKind.SR, ResultKind.LABELMAP_REPORT)
    )


@pytest.fixture
def first(tmp_path: Path) -> Run:
    folder = tmp_path / "ct"
    folder.mkdir()
    volume = written_volume(ct_series(StudyIdentity(seed="reruns")), folder)
    return Run(findings=tuple(lungs(volume)), volume=volume)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "results")


def superseded_by(made: EncodedObject) -> list[str]:
    ds = dcmread(made.path)
    return [
        str(report.ReferencedSOPInstanceUID)
        for study in ds.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for report in series.ReferencedSOPSequence
    ]


def texts_of(item: Dataset) -> Iterator[str]:
    for child in item.get("ContentSequence", []):
        if child.ValueType == "TEXT":
            yield str(child.TextValue)
        yield from texts_of(child)


def tracked(made: EncodedObject) -> list[str]:
    return [str(one.TrackingUID) for one in dcmread(made.path).SegmentSequence]


def uids_of(made: dict[ResultKind, EncodedObject]) -> set[str]:
    return {str(one.sop_instance_uid) for one in made.values()} | {
        str(one.series_uid) for one in made.values()
    }


def test_the_same_again_makes_the_same_files_and_supersedes_nothing(job: Job, first: Run) -> None:
    once = job.run(first)
    assert job.run(first) == once
    later = replace(first.derivation, made_at=first.derivation.made_at + timedelta(days=1))
    assert uids_of(job.run(replace(first, derivation=later))) == uids_of(once)
    assert superseded_by(job.run(first)[ResultKind.SR]) == []


def one_voxel_less(run: Run) -> Run:
    lung, *others = run.findings
    assert isinstance(lung, SegmentFinding)
    mask = lung.mask.copy()
    mask[tuple(axis[0] for axis in mask.nonzero())] = False
    return replace(run, findings=(replace(lung, mask=mask), *others))


def another_volume(run: Run) -> Run:
    lung, *others = run.findings
    assert isinstance(lung, SegmentFinding)
    numbers = tuple(replace(one, value=one.value * 1.0001) for one in lung.measurements)
    assert numbers
    return replace(run, findings=(replace(lung, measurements=numbers), *others))


def derived(run: Run, derivation: Derivation) -> Run:
    return replace(run, derivation=derivation)


CHANGES: dict[str, Callable[[Run], Run]] = {
    "a voxel less": one_voxel_less,
    "another number": another_volume,
    "a finding less": lambda run: replace(run, findings=run.findings[:1]),
    "nothing found": lambda run: replace(run, findings=()),
    "another order": lambda run: replace(run, findings=run.findings[::-1]),
    "a warning": lambda run: replace(run, volume=replace(run.volume, warnings=("A slab only.",))),
    "an updated node": lambda run: derived(
        run, replace(run.derivation, software_versions=("dicomnode 0.2.0",))
    ),
    "an updated bundle": lambda run: replace(run, identity=replace(run.identity, version="9.9.9")),
    "another intended use": lambda run: replace(
        run, identity=replace(run.identity, intended_use="None.")
    ),
    "another institution": lambda run: replace(run, settings=OutputSettings(institution="B")),
    "other names of series": lambda run: replace(
        run, settings=OutputSettings(institution="A", series_description="{kind} {title}")
    ),
    "may be incomplete": lambda run: derived(run, replace(run.derivation, complete=False)),
    "another earlier revision": lambda run: derived(
        run, replace(run.derivation, predecessors=(OTHER_REPORT,))
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_says_anything_else_is_new_and_names_what_it_supersedes(
    job: Job, first: Run, change: Callable[[Run], Run]
) -> None:
    before = job.run(first)
    changed = change(first)
    after = job.run(changed)

    assert not uids_of(before) & uids_of(after)
    report = after[ResultKind.SR]
    assert str(before[ResultKind.SR].sop_instance_uid) in superseded_by(report)
    assert any("of the earlier run" in text for text in texts_of(dcmread(report.path)))
    # What was delivered is left as it was.
    assert {one.path.exists() for one in before.values()} == {True}
    assert job.run(changed) == after


def test_later_studies_find_the_findings_of_a_changed_result_by_the_same_tracking_uids(
    job: Job, first: Run
) -> None:
    before = job.run(first)[ResultKind.SEG]
    assert tracked(job.run(one_voxel_less(first))[ResultKind.SEG]) == tracked(before)


def test_who_goes_back_to_former_settings_supersedes_what_came_between(
    job: Job, first: Run
) -> None:
    reports = [job.run(run)[ResultKind.SR] for run in (first, one_voxel_less(first), first, first)]
    uids = [str(one.sop_instance_uid) for one in reports]
    assert len(set(uids)) == 3
    assert reports[3] == reports[2]
    assert superseded_by(reports[3]) == uids[:2]


def test_a_form_that_is_asked_for_later_leaves_the_others_as_they_are(job: Job, first: Run) -> None:
    forms = {ResultKind.LABELMAP, ResultKind.LABELMAP_REPORT}
    before = job.run(first)
    more = job.run(replace(first, kinds=USUAL_KINDS | forms))
    assert {kind: more[kind] for kind in before} == before
    assert forms <= more.keys()
    assert superseded_by(more[ResultKind.LABELMAP_REPORT]) == []
    changed = job.run(replace(one_voxel_less(first), kinds=USUAL_KINDS | forms))
    assert superseded_by(changed[ResultKind.LABELMAP_REPORT]) == [
        str(more[ResultKind.LABELMAP_REPORT].sop_instance_uid)
    ]
