"""What was found makes its study urgent: event, line to the destinations, list of studies."""

from dataclasses import replace
from pathlib import Path

import pytest

from dicomnode.domain.identifiers import JobId
from dicomnode.domain.matching import Priority
from dicomnode.domain.outcomes import FindingRecord
from dicomnode.domain.results import result_folder
from dicomnode.steps.inference import write_outcome
from dicomnode.steps.node import Node
from dicomnode.steps.running import record_job
from dicomnode.store.jobs import load_job, save_rule_set, start_job
from dicomnode.store.story import story
from dicomnode.store.study_list import StudySearch, list_studies
from dicomnode.store.unfinished import urgency_of
from tests.contract.store_scenes import RULES, STUDY, at, outcome_of, queued_job
from tests.unit.steps_node import RULES as RULE_FILE
from tests.unit.steps_node import event_names, open_test_node

ALERT = '\n[[rule.alert]]\nfinding = "Pneumothorax"\nto = "stat"\n'


def recorded(folder: Path, *, said: str, rules: str = RULE_FILE + ALERT) -> Node:
    """A node whose only job, made by this version of the rules, has found something."""
    node = open_test_node(folder)
    save_rule_set(node.database, RULES, rules, at(0))
    job = load_job(node.database, queued_job(node.database))
    assert start_job(node.database, job.id, deadline=at(600), now=at(1))
    finding = FindingRecord(kind="class", name="Pneumothorax", score=0.7, text=said)
    outcome = replace(outcome_of(node.database, job), findings=(finding,))
    out = result_folder(node.settings.data_dir, job.id)
    out.mkdir(parents=True)
    moved = tuple(replace(one, path=out / one.path.name) for one in outcome.objects)
    write_outcome(replace(outcome, objects=moved, preview=None), out)
    record_job(node, job.id)
    record_job(node, job.id)
    return node


def test_an_urgent_finding_flags_its_study_once_and_its_results_go_first(tmp_path: Path) -> None:
    node = recorded(tmp_path, said="positive")
    assert event_names(node.database).count("study.flagged") == 1
    page = list_studies(node.database, StudySearch(is_flagged=True), at(60))
    (study,) = page.studies
    assert study.flagged == ("stat: Pneumothorax",)
    told = story(node.database, STUDY)
    (job,) = told.jobs
    assert job.priority == Priority.STAT.value == urgency_of(node.database, JobId(job.id))


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        ("negative", RULE_FILE + ALERT),
        ("positive", RULE_FILE),
        ("positive", "not TOML any more ["),
    ],
    ids=["negative", "no alert", "rules of another version"],
)
def test_anything_else_flags_nothing(tmp_path: Path, said: str, rules: str) -> None:
    node = recorded(tmp_path, said=said, rules=rules)
    assert "study.flagged" not in event_names(node.database)
    assert "job.succeeded" in event_names(node.database)
    assert list_studies(node.database, StudySearch(is_flagged=True), at(60)).studies == ()
