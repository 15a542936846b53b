"""Results on their way: each answer judged for what it is, and proof asked for until there is some.

The destinations are embedded PACS on ports of their own.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage

from dicomnode.cli.common import console
from dicomnode.cli.stories import print_story
from dicomnode.domain.identifiers import InstanceUid, SeriesUid
from dicomnode.domain.jobs import Job
from dicomnode.domain.results import EncodedObject, ResultKind
from dicomnode.domain.sop_classes import LABELMAP_SEGMENTATION, STORAGE_COMMITMENT_PUSH
from dicomnode.receiving import EventWriter, open_receiver
from dicomnode.steps.delivery import (
    DONE,
    READ_BACK_TRIES,
    Next,
    confirm_results,
    longest_wait,
    send_results,
)
from dicomnode.steps.forms import parcels_of
from dicomnode.steps.node import Node
from dicomnode.store.deliveries import outbox, resend
from dicomnode.store.outcomes import record_outcome
from dicomnode.store.story import story
from dicomnode.store.unfinished import overdue_deliveries
from dicomnode.testing.misbehaviour import Misbehaviour
from dicomnode.testing.pacs import EmbeddedPacs
from dicomnode.testing.pacs_commitment import ReportTo
from tests.acceptance.running_node import eventually, free_port
from tests.contract.store_scenes import at, outcome_of, running_job
from tests.unit.steps_node import column, event_names, open_test_node, tick

SOP_CLASSES = {
    ResultKind.SEG: SegmentationStorage,
    ResultKind.SR: Comprehensive3DSRStorage,
    ResultKind.LABELMAP: LABELMAP_SEGMENTATION,
    ResultKind.LABELMAP_REPORT: Comprehensive3DSRStorage,
}
CONFIRM_NOW = Next(send_again_s=None, confirm_after_s=0.0)


def written(encoded: EncodedObject) -> EncodedObject:
    """The object with a real file behind it."""
    ds = Dataset()
    ds.SOPClassUID = SOP_CLASSES[encoded.kind]
    ds.SOPInstanceUID = encoded.sop_instance_uid
    ds.StudyInstanceUID = encoded.study_uid
    ds.SeriesInstanceUID = encoded.series_uid
    ds.PatientID = "PHANTOM-177"
    ds.PatientName = ["Quebec-Lima^Oscar", "Zulu"]
    ds.PatientBirthDate = "19430217"
    ds.Modality = encoded.kind.value
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    encoded.path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(encoded.path, enforce_file_format=True)
    digest = hashlib.sha256(encoded.path.read_bytes()).hexdigest()
    return replace(encoded, sop_class_uid=str(ds.SOPClassUID), sha256=digest)


class Site:
    """A node whose job has just ended, and the PACS its results go to."""

    def __init__(self, folder: Path, pacs: EmbeddedPacs) -> None:
        self._folder = folder
        self.pacs = pacs

    def node(self, receive: Mapping[str, Any] | None = None, **destination: Any) -> Node:
        """The node, with one destination, `pacs`."""
        known = {
            "name": "pacs",
            "ae_title": self.pacs.ae_title,
            "host": "127.0.0.1",
            "port": self.pacs.port,
            "timeout_s": 5.0,
            "first_retry_s": 8.0,
            "longest_retry_s": 100.0,
            "give_up_after_s": 1000.0,
            "commitment_wait_s": 7.0,
            **destination,
        }
        return open_test_node(self._folder, {"receive": receive or {}, "destinations": [known]})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with EmbeddedPacs(tmp_path / "pacs") as pacs:
        yield Site(tmp_path, pacs)


def finished(node: Node) -> Job:
    """A job whose SEG and SR wait in the outboxes of `pacs` and `archive`, since 12:00:05."""
    job = running_job(node.database)
    made = outcome_of(node.database, job)
    made = replace(made, objects=tuple(written(one) for one in made.objects))
    assert record_outcome(node.database, job, made, at(5))
    return job


def with_labelmap(node: Node) -> Job:
    """A job that made all four, of which the LABELMAP and its report wait for `pacs`."""
    job = running_job(node.database)
    made = outcome_of(node.database, job)
    objects: list[EncodedObject] = []
    for kind in SOP_CLASSES:
        model = made.objects[0]
        uid = InstanceUid(f"{model.sop_instance_uid[:-1]}{len(objects) + 1}")
        path = model.path.with_name(f"{kind.value}.dcm")
        series = SeriesUid(f"{uid}.0")
        objects.append(
            written(replace(model, kind=kind, sop_instance_uid=uid, series_uid=series, path=path))
        )
    made = replace(made, objects=tuple(objects))
    parcels = parcels_of(made.objects, node.settings, ["pacs"])
    assert record_outcome(node.database, job, made, at(5), parcels=parcels)
    return job


def forms(node: Node, job: Job) -> dict[str, str]:
    return {
        item.object.kind.value: item.state.value for item in outbox(node.database, job.id, "pacs")
    }


def states(node: Node, job: Job, destination: str = "pacs") -> list[str]:
    return [item.state.value for item in outbox(node.database, job.id, destination)]


def reasons(node: Node) -> list[str]:
    """Of the SEG and SR that go to `pacs`."""
    with node.database.reading() as connection:
        query = "SELECT reason FROM delivery WHERE destination = 'pacs' ORDER BY id"
        return [str(reason) for reason in connection.exec_driver_sql(query).scalars()]


class TestSending:
    def test_objects_that_are_taken_are_sent_and_have_to_be_proven(self, site: Site) -> None:
        node = site.node()
        job = finished(node)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert states(node, job) == ["sent-unconfirmed"] * 2
        assert len(site.pacs.stored) == 2

    def test_where_no_proof_is_wanted_the_matter_ends_there(self, site: Site) -> None:
        node = site.node(confirm="none")
        job = finished(node)
        assert send_results(node, job.id, "pacs") == DONE
        assert states(node, job) == ["sent-unconfirmed"] * 2

    def test_sending_twice_sends_once(self, site: Site) -> None:
        node = site.node()
        job = finished(node)
        send_results(node, job.id, "pacs")
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert len(site.pacs.answers) == 2

    def test_a_labelmap_goes_to_a_pacs_that_takes_it(self, site: Site) -> None:
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert forms(node, job) == {"SEGL": "sent-unconfirmed", "SRL": "sent-unconfirmed"}
        assert "delivery.fell-back" not in event_names(node.database)

    def test_binary_goes_to_a_pacs_that_refuses_the_context_and_it_is_told(
        self, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(refuse_sop_classes=frozenset({LABELMAP_SEGMENTATION}))
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert forms(node, job) == {
            "SEG": "sent-unconfirmed",
            "SEGL": "dismissed",
            "SR": "sent-unconfirmed",
            "SRL": "dismissed",
        }
        kept = {instance.sop_class_uid for instance in site.pacs.stored}
        assert kept == {SegmentationStorage, Comprehensive3DSRStorage}
        assert len(site.pacs.stored) == 2
        assert event_names(node.database).count("delivery.fell-back") == 1
        assert any("accepts no LABELMAP" in reason for reason in reasons(node))
        with console.capture() as captured:
            print_story(story(node.database, job.study_uid))
        said = " ".join(captured.get().split())
        assert "pacs gets BINARY: accepts no LABELMAP segmentation" in said

    @pytest.mark.parametrize("status", [0x0122, 0xA900, 0xC123])
    def test_binary_goes_to_a_pacs_that_refuses_the_labelmap_by_status_and_it_is_told(
        self, status: int, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            store_status=status, only_sop_class=LABELMAP_SEGMENTATION
        )
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert forms(node, job) == {
            "SEG": "sent-unconfirmed",
            "SEGL": "dismissed",
            "SR": "sent-unconfirmed",
            "SRL": "dismissed",
        }
        # Neither the LABELMAP nor the report that refers to it is there.
        waiting_for = {
            item.object.sop_instance_uid
            for item in outbox(node.database, job.id, "pacs")
            if item.object.kind in (ResultKind.SEG, ResultKind.SR)
        }
        assert {instance.sop_instance_uid for instance in site.pacs.stored} == waiting_for
        assert confirm_results(node, job.id, "pacs", 1) == DONE
        assert event_names(node.database).count("delivery.fell-back") == 1
        assert "result.refused" not in event_names(node.database)
        with console.capture() as captured:
            print_story(story(node.database, job.study_uid))
        said = " ".join(captured.get().split())
        assert (
            f"pacs gets BINARY: refused the LABELMAP segmentation (pacs: answered 0x{status:04X}"
            in (said)
        )

    def test_a_pacs_that_refuses_binary_too_is_sent_no_third_form(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=0xA900)
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs") == DONE
        refused = {"SEG": "refused", "SEGL": "dismissed", "SR": "refused", "SRL": "dismissed"}
        assert forms(node, job) == refused
        assert send_results(node, job.id, "pacs") == DONE
        assert len(site.pacs.answers) == 3
        site.pacs.misbehaviour = Misbehaviour()
        resend(node.database, job, "pacs", at(20))
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert forms(node, job)["SEG"] == "sent-unconfirmed"
        assert forms(node, job)["SEGL"] == "dismissed"

    def test_a_refusal_of_the_sender_is_no_refusal_of_the_form(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            store_status=0x0124, only_sop_class=LABELMAP_SEGMENTATION
        )
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        send_results(node, job.id, "pacs")
        assert forms(node, job) == {"SEGL": "refused", "SRL": "sent-unconfirmed"}

    def test_the_report_of_a_labelmap_waits_for_it(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            store_status=0xA700, only_sop_class=LABELMAP_SEGMENTATION
        )
        node = site.node(segmentation="labelmap")
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs")["confirm_after_s"] is None
        assert forms(node, job) == {"SEGL": "waiting", "SRL": "waiting"}
        assert "waits for the LABELMAP it refers to" in reasons(node)
        assert len({item.next_try_at for item in outbox(node.database, job.id, "pacs")}) == 1
        site.pacs.misbehaviour = Misbehaviour()
        tick(node, 20 + 8)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert forms(node, job) == {"SEGL": "sent-unconfirmed", "SRL": "sent-unconfirmed"}
        # By hand: what fell back stays so.
        assert resend(node.database, job, "pacs", at(30)) == 2

    def test_a_pacs_that_cannot_be_asked_is_tried_again_with_the_labelmap(self, site: Site) -> None:
        node = site.node(segmentation="labelmap")
        site.pacs.stop()
        job = with_labelmap(node)
        assert send_results(node, job.id, "pacs")["send_again_s"] is not None
        assert forms(node, job) == {"SEGL": "waiting", "SRL": "waiting"}

    @pytest.mark.parametrize("status", [0xA700, 0x0110])
    def test_a_busy_pacs_is_tried_again_later_and_not_before(self, status: int, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=status)
        node = site.node()
        job = finished(node)
        follow = send_results(node, job.id, "pacs")
        assert 6.0 <= (follow["send_again_s"] or 0) <= 8.0
        assert follow["confirm_after_s"] is None
        assert states(node, job) == ["waiting"] * 2
        assert f"0x{status:04X}" in reasons(node)[0]
        # A second line of tries, e.g. one resumed by the node, ends here: nothing is due.
        assert send_results(node, job.id, "pacs") == DONE
        assert len(site.pacs.answers) == 2
        site.pacs.misbehaviour = Misbehaviour()
        tick(node, 20 + 8)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW

    def test_a_try_planned_before_the_clock_was_set_back_is_not_waited_for(
        self, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=0xA700)
        node = site.node()
        job = finished(node)
        assert send_results(node, job.id, "pacs")["send_again_s"] is not None
        site.pacs.misbehaviour = Misbehaviour()
        tick(node, 20 - 3600)
        longest = longest_wait(node.settings.destinations[0])
        now = node.clock()
        assert (job.id, "pacs") not in overdue_deliveries(node.database, now)
        assert (job.id, "pacs") in overdue_deliveries(node.database, now, now + longest)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW

    def test_waits_grow_from_try_to_try(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=0xA700)
        node = site.node()
        job = finished(node)
        waits = []
        for seconds in (20, 100, 200):
            tick(node, seconds)
            waits.append(send_results(node, job.id, "pacs")["send_again_s"] or 0)
        assert waits[0] < waits[1] < waits[2]

    def test_a_lasting_refusal_of_one_object_does_not_touch_the_other(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            store_status=0xA900, only_sop_class=str(SegmentationStorage)
        )
        node = site.node()
        job = finished(node)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert states(node, job) == ["refused", "sent-unconfirmed"]
        assert "0xA900" in reasons(node)[0]
        assert "result.refused" in event_names(node.database)

    def test_a_dead_pacs_is_given_up_after_the_time_its_settings_say(self, site: Site) -> None:
        node = site.node(port=free_port())
        job = finished(node)
        assert send_results(node, job.id, "pacs")["send_again_s"] is not None
        tick(node, 1000)
        assert send_results(node, job.id, "pacs") == DONE
        assert states(node, job) == ["given-up"] * 2
        assert reasons(node)[0].startswith("PeerUnavailable: ")

    def test_results_for_a_destination_that_is_gone_are_given_up_by_name(self, site: Site) -> None:
        node = site.node()
        job = finished(node)
        assert send_results(node, job.id, "archive") == DONE
        assert states(node, job, "archive") == ["given-up"] * 2
        assert states(node, job) == ["waiting"] * 2
        given_up = [reason for reason in column(node.database, "delivery", "reason") if reason]
        assert given_up == ["no destination called 'archive' is configured any more"] * 2

    def test_a_resend_by_a_person_is_due_at_once_and_starts_anew(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=0xA900)
        node = site.node()
        job = finished(node)
        send_results(node, job.id, "pacs")
        site.pacs.misbehaviour = Misbehaviour()
        resend(node.database, job, "pacs", at(20))
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW

    @pytest.mark.parametrize(
        ("said", "kept"),
        [
            ("quota exceeded for QUEBEC-LIMA^OSCAR", "quota exceeded for [...]-[...]^[...]"),
            ("no such patient: phantom-177", "no such patient: [...]-[...]"),
            ("already filed under Zulu", "already filed under [...]"),
            ("x" * 60 + " Que", "x" * 60 + " [.."),
            ("born 19430217, ID=PHANTOM177", "born [...], ID=[...]"),
            ("disk quota exceeded", "disk quota exceeded"),
        ],
    )
    def test_what_a_pacs_says_of_the_patient_is_not_kept(
        self, said: str, kept: str, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(store_status=0xA700, store_comment=said)
        node = site.node()
        job = finished(node)
        send_results(node, job.id, "pacs")
        assert reasons(node)[0].endswith(f"0xA700, out of resources: {kept}")

    def test_a_damaged_file_is_not_sent(self, site: Site) -> None:
        node = site.node()
        job = finished(node)
        path = outbox(node.database, job.id, "pacs")[0].object.path
        path.write_bytes(path.read_bytes() + b"\0\0")
        send_results(node, job.id, "pacs")
        assert states(node, job) == ["refused", "sent-unconfirmed"]
        assert reasons(node)[0].startswith("ObjectDamaged: ")
        assert len(site.pacs.stored) == 1

    def test_an_answer_lost_in_a_crash_is_made_up_for_by_proof(self, site: Site) -> None:
        """The PACS has the objects and says 0x0111; whether they are ours, C-FIND tells."""
        node = site.node()
        job = finished(node)
        send_results(node, job.id, "pacs")
        resend(node.database, job, "pacs", at(20))
        site.pacs.misbehaviour = Misbehaviour(store_status=0x0111)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert states(node, job) == ["sent-unconfirmed"] * 2
        assert confirm_results(node, job.id, "pacs", 1) == DONE
        assert states(node, job) == ["confirmed"] * 2


def sent(node: Node) -> Job:
    """A job whose results the PACS has said to have taken."""
    job = finished(node)
    send_results(node, job.id, "pacs")
    return job


class TestReadBack:
    def test_what_c_find_shows_is_confirmed(self, site: Site) -> None:
        node = site.node()
        job = sent(node)
        assert confirm_results(node, job.id, "pacs", 1) == DONE
        assert states(node, job) == ["confirmed"] * 2
        assert set(column(node.database, "delivery", "confirmed_by")) == {None, "c-find"}

    def test_what_it_does_not_show_is_asked_again_ever_later_then_shown_as_unconfirmed(
        self, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(forget=True)
        node = site.node()
        job = sent(node)
        waits = [
            confirm_results(node, job.id, "pacs", attempt)["confirm_after_s"]
            for attempt in range(1, READ_BACK_TRIES + 1)
        ]
        assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
        assert confirm_results(node, job.id, "pacs", READ_BACK_TRIES + 1) == DONE
        assert states(node, job) == ["sent-unconfirmed"] * 2
        assert reasons(node) == ["sent, unconfirmed: C-FIND does not show it"] * 2

    def test_a_pacs_without_c_find_leaves_results_unconfirmed_at_once(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(find_status=0xA900)
        node = site.node()
        job = sent(node)
        assert confirm_results(node, job.id, "pacs", 1) == DONE
        assert states(node, job) == ["sent-unconfirmed"] * 2
        assert reasons(node)[0].startswith("sent, unconfirmed: ")

    def test_a_pacs_that_is_down_for_a_moment_is_asked_again(self, site: Site) -> None:
        node = site.node()
        job = sent(node)
        site.pacs.stop()
        assert confirm_results(node, job.id, "pacs", 1)["confirm_after_s"] == 2.0
        site.pacs.start()
        assert confirm_results(node, job.id, "pacs", 2) == DONE
        assert states(node, job) == ["confirmed"] * 2

    def test_confirming_twice_asks_once(self, site: Site) -> None:
        node = site.node()
        job = sent(node)
        confirm_results(node, job.id, "pacs", 1)
        site.pacs.stop()
        assert confirm_results(node, job.id, "pacs", 1) == DONE
        site.pacs.start()
        assert event_names(node.database).count("result.confirmed") == 2


class TestCommitment:
    def test_a_report_on_the_same_association_confirms(self, site: Site) -> None:
        node = site.node(confirm="commitment")
        job = sent(node)
        follow = confirm_results(node, job.id, "pacs", 1)
        assert states(node, job) == ["confirmed"] * 2
        assert confirm_results(node, job.id, "pacs", 2) == DONE
        assert follow["send_again_s"] is None
        assert "storage-commitment" in column(node.database, "delivery", "confirmed_by")

    def test_a_pacs_that_offers_none_is_asked_by_c_find(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            refuse_sop_classes=frozenset({STORAGE_COMMITMENT_PUSH})
        )
        node = site.node(confirm="commitment")
        job = sent(node)
        assert confirm_results(node, job.id, "pacs", 1) == CONFIRM_NOW
        assert confirm_results(node, job.id, "pacs", 2) == DONE
        assert states(node, job) == ["confirmed"] * 2
        assert "c-find" in column(node.database, "delivery", "confirmed_by")

    def test_a_report_that_does_not_come_is_waited_for_then_c_find_is_asked(
        self, site: Site
    ) -> None:
        site.pacs.misbehaviour = Misbehaviour(commitment_silent=True)
        node = site.node(confirm="commitment")
        job = sent(node)
        assert confirm_results(node, job.id, "pacs", 1)["confirm_after_s"] == 7.0
        assert states(node, job) == ["sent-unconfirmed"] * 2
        assert confirm_results(node, job.id, "pacs", 2) == DONE
        assert states(node, job) == ["confirmed"] * 2

    def test_what_the_pacs_disowns_is_sent_again_and_the_rest_confirmed(self, site: Site) -> None:
        site.pacs.misbehaviour = Misbehaviour(
            commitment_fails_for=frozenset({str(SegmentationStorage)})
        )
        node = site.node(confirm="commitment")
        job = sent(node)
        confirm_results(node, job.id, "pacs", 1)
        assert states(node, job) == ["waiting", "confirmed"]
        # Not at once: it is given a minute.
        assert send_results(node, job.id, "pacs") == DONE
        tick(node, 20 + 60)
        assert send_results(node, job.id, "pacs") == CONFIRM_NOW
        assert len(site.pacs.answers) == 3

    def test_a_report_on_a_new_association_comes_to_the_receiver(self, tmp_path: Path) -> None:
        port = free_port()
        report_to = ReportTo(ae_title="DICOMNODE", host="127.0.0.1", port=port)
        with EmbeddedPacs(tmp_path / "pacs", report_to=report_to) as pacs:
            receive = {"port": port, "reserve_mb": 1}
            node = Site(tmp_path, pacs).node(receive, confirm="commitment")
            job = sent(node)
            events = EventWriter(node.database)
            with open_receiver(node.settings, node.database, events):
                follow = confirm_results(node, job.id, "pacs", 1)
                eventually(
                    lambda: states(node, job) == ["confirmed"] * 2, what="both are confirmed"
                )
            events.close()
        assert follow["confirm_after_s"] == 7.0
        assert confirm_results(node, job.id, "pacs", 2) == DONE

    def test_each_try_has_a_transaction_of_its_own(self, site: Site) -> None:
        """PS3.4 J.3.2.1.1: a Transaction UID is not used again."""
        site.pacs.misbehaviour = Misbehaviour(commitment_silent=True)
        node = site.node(confirm="commitment")
        job = sent(node)
        used = set()
        for _ in range(2):
            confirm_results(node, job.id, "pacs", 1)
            used |= set(column(node.database, "delivery", "transaction_uid")) - {None}
        assert len(used) == 2
        assert all(uid.startswith("2.25.") for uid in used)
