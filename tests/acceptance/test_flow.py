"""The main job: a study goes in by C-STORE, SEG and SR come back, once and superseded when due."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.pacs_commitment import ReportTo
from dicomnode.testing.studies import StudyIdentity, ct_series
from tests.acceptance.running_node import AE_TITLE, NodeUnderTest, destination, eventually
from tests.acceptance.studies_on_disk import GEOMETRY, ct_study, send, write

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A running node with two archives."""

    node: NodeUnderTest
    committing: EmbeddedPacs
    found_in: EmbeddedPacs
    folder: Path

    def objects(self, study_uid: str) -> list[str]:
        """What the first archive keeps of a study, one entry for each file."""
        kept = [dcmread(path) for path in (self.folder / "committing").rglob("*.dcm")]
        return [str(ds.SOPInstanceUID) for ds in kept if ds.StudyInstanceUID == study_uid]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    node = NodeUnderTest(folder=folder / "node")
    report_to = ReportTo(ae_title=AE_TITLE, host="127.0.0.1", port=node.port)
    with (
        EmbeddedPacs(folder / "committing", report_to=report_to) as committing,
        EmbeddedPacs(folder / "found_in", ae_title="SECOND") as found_in,
    ):
        node.prepare(
            [
                destination(committing, name="committing", confirm="commitment"),
                destination(found_in, name="found-in"),
            ]
        )
        with node:
            yield Site(node=node, committing=committing, found_in=found_in, folder=folder)


def test_results_reach_every_destination_and_each_proves_it_in_its_own_way(
    site: Site, tmp_path: Path
) -> None:
    identity, paths = ct_study("main", tmp_path)
    send(site.node, paths)
    job = site.node.delivered(identity.study_uid)
    assert sorted((d.kind, d.destination, d.confirmed_by) for d in job.deliveries) == [
        ("SEG", "committing", "storage-commitment"),
        ("SEG", "found-in", "c-find"),
        ("SR", "committing", "storage-commitment"),
        ("SR", "found-in", "c-find"),
    ]
    made = {delivery.sop_instance_uid for delivery in job.deliveries}
    assert sorted(site.objects(identity.study_uid)) == sorted(made)


def test_the_story_of_a_study_tells_every_step(site: Site, tmp_path: Path) -> None:
    identity, paths = ct_study("story", tmp_path)
    send(site.node, paths)
    site.node.delivered(identity.study_uid)
    told = site.node.story(identity.study_uid)
    assert told is not None
    names = [event.name for event in told.events]
    order = ["study.closed", "study.matched", "job.queued", "job.started", "job.succeeded"]
    assert [name for name in names if name in order] == order
    assert names.index("job.succeeded") < names.index("result.sent")
    assert names.index("result.sent") < names.index("result.confirmed")
    assert told.revisions[0].reason == "complete"
    assert told.revisions[0].verdicts[0]["matches"]


def test_a_late_image_opens_a_revision_whose_report_supersedes_the_earlier_one(
    site: Site, tmp_path: Path
) -> None:
    identity, paths = ct_study("late", tmp_path)
    send(site.node, paths[:-1])
    first = site.node.delivered(identity.study_uid)
    send(site.node, paths[-1:])
    second = site.node.delivered(identity.study_uid, count=2)
    told = site.node.story(identity.study_uid)
    assert told is not None
    assert [revision.number for revision in told.revisions] == [1, 2]
    assert [revision.instances for revision in told.revisions] == [11, 12]
    reports = [path for path in second.paths if "SR_" in path]
    report = dcmread(site.node.settings.data_dir / reports[0])
    studies = report.PredecessorDocumentsSequence
    uids = [
        item.ReferencedSOPInstanceUID
        for study in studies
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert uids == [one.sop_instance_uid for one in first.deliveries if one.kind == "SR"][:1]


def test_sending_a_study_again_makes_no_new_work(site: Site, tmp_path: Path) -> None:
    identity, paths = ct_study("again", tmp_path)
    send(site.node, paths)
    site.node.delivered(identity.study_uid)
    send(site.node, paths)
    marker, marker_paths = ct_study("after-again", tmp_path)
    send(site.node, marker_paths)
    site.node.delivered(marker.study_uid)
    told = site.node.story(identity.study_uid)
    assert told is not None
    assert len(told.revisions) == 1
    assert len(told.jobs) == 1
    assert len(site.objects(identity.study_uid)) == 2


def test_results_that_an_archive_routes_back_to_the_node_start_nothing(
    site: Site, tmp_path: Path
) -> None:
    identity, paths = ct_study("loop", tmp_path)
    send(site.node, paths)
    job = site.node.delivered(identity.study_uid)
    send(site.node, [site.node.settings.data_dir / path for path in job.paths])
    marker, marker_paths = ct_study("after-loop", tmp_path)
    send(site.node, marker_paths)
    site.node.delivered(marker.study_uid)
    told = site.node.story(identity.study_uid)
    assert told is not None
    assert not told.is_open
    assert (len(told.revisions), len(told.jobs)) == (1, 1)


def test_rules_are_reloaded_without_a_restart_and_a_job_keeps_its_version(
    site: Site, tmp_path: Path
) -> None:
    before, paths = ct_study("old-rules", tmp_path)
    send(site.node, paths)
    site.node.delivered(before.study_uid)
    rules = site.node.folder / "rules.toml"
    good = rules.read_text(encoding="utf-8")
    try:
        rules.write_text(good.replace('name = "air"', 'name = "renamed"'), encoding="utf-8")
        after, paths = ct_study("new-rules", tmp_path)
        send(site.node, paths)
        assert site.node.delivered(after.study_uid).rule == "renamed"
        rules.write_text("[[rule]]\nnonsense = 1\n", encoding="utf-8")
        broken, paths = ct_study("broken-rules", tmp_path)
        send(site.node, paths)
        assert site.node.delivered(broken.study_uid).rule == "renamed"
    finally:
        rules.write_text(good, encoding="utf-8")
    old, new = site.node.story(before.study_uid), site.node.story(after.study_uid)
    assert old is not None
    assert new is not None
    assert old.jobs[0].rule == "air"
    assert old.revisions[0].rule_set_digest != new.revisions[0].rule_set_digest


def test_an_unreadable_file_is_kept_and_listed_and_the_rest_goes_on(
    site: Site, tmp_path: Path
) -> None:
    identity, paths = ct_study("truncated", tmp_path)
    whole = paths[3].read_bytes()
    # The file meta stays whole: the damage is in the data set, which nobody parses on receipt.
    paths[3].write_bytes(whole[: len(whole) - 900])
    send(site.node, paths)
    eventually(
        lambda: (told := site.node.story(identity.study_uid)) and told.jobs,
        what="the study is matched without the damaged image",
    )
    from dicomnode.receiving import now
    from dicomnode.store.overview import overview

    database = site.node.database
    trouble = overview(database, now()).trouble
    database.dispose()
    quarantined = [one for one in trouble if one.what == "quarantine"]
    assert len(quarantined) == 1
    assert quarantined[0].reason.startswith("unreadable")
    kept = site.node.settings.data_dir / quarantined[0].reason.split("(")[-1].rstrip(")")
    assert kept.read_bytes().endswith(paths[3].read_bytes()[-100:])
    told = site.node.story(identity.study_uid)
    assert told is not None
    job = site.node.job_of(identity.study_uid, "refused", "succeeded")
    assert job.state == "refused"
    assert "MissingSlices" in job.error


def test_a_rule_that_needs_one_series_only_runs_on_each_as_it_closes(
    site: Site, tmp_path: Path
) -> None:
    rules = site.node.folder / "rules.toml"
    good = rules.read_text(encoding="utf-8")
    by_series = good.replace('name = "air"', 'name = "by series"\nscope = "series"')
    try:
        rules.write_text(by_series, encoding="utf-8")
        identity = StudyIdentity(seed="by-series")
        for series in ("1", "2"):
            slices = ct_series(identity, GEOMETRY, series=series, description=f"Part {series}")
            send(site.node, write(slices, tmp_path / series))
        site.node.delivered(identity.study_uid, count=2)
    finally:
        rules.write_text(good, encoding="utf-8")
    told = site.node.story(identity.study_uid)
    assert told is not None
    assert len(told.jobs) == 2
    closed_alone = {revision.series_uid for revision in told.revisions} - {""}
    assert closed_alone == {series.series_uid for series in told.series}
