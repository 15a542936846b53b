"""A rule file is tried on the studies of the past, and put to work whole or not at all."""

from pathlib import Path

import pytest

from dicomnode.domain.errors import RuleError
from dicomnode.rules.loading import kept_text
from dicomnode.steps.installed import Loader
from dicomnode.steps.matching import match_revision
from dicomnode.steps.node import Node
from dicomnode.steps.ruling import RuleDesk, in_words
from dicomnode.store.jobs import rule_set_text
from dicomnode.store.rule_versions import Activation, rule_versions
from tests.contract.store_scenes import at, close, receive
from tests.unit.steps_node import RULES, column, event_names, open_test_node

THIN = RULES + "SliceThickness.at_most = 1\n"
EACH = RULES.replace('"lung_ct"', '"lung_ct"\nscope = "series"')


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Two CT studies are closed, the second with two series; one more is still open."""
    made = open_test_node(tmp_path)
    receive(made.database, ["1.2.1.1.1"])
    close(made.database)
    receive(made.database, ["1.2.2.1.1", "1.2.2.2.1"], association="b", moment=at(2))
    close(made.database, at(3))
    receive(made.database, ["1.2.3.1.1"], association="c", moment=at(4))
    return made


@pytest.fixture
def desk(node: Node, tmp_path: Path) -> RuleDesk:
    load = Loader(file="rules.toml", algorithms=("lung_ct",), destinations=())
    return RuleDesk(path=tmp_path / "rules.toml", load=load, needs={})


def activation(based_on: str, remark: str = "") -> Activation:
    return Activation(by="anna", at=at(30), based_on=kept_text(based_on).digest, remark=remark)


def test_a_dry_run_says_what_new_rules_would_have_done(node: Node, desk: RuleDesk) -> None:
    tried = desk.try_on_history(node.database, desk.load(THIN), last=100)
    counts, newest, oldest = in_words(tried)
    assert counts == "2 closings looked at: 0 runs, today 2; 2 differences"
    assert newest.startswith("study 1.2.2, rule 'lungs on chest CT': would no longer run lung_ct")
    assert oldest.startswith("study 1.2.1,")
    assert event_names(node.database).count("job.queued") == 0


def test_a_dry_run_looks_at_the_newest_studies_only(node: Node, desk: RuleDesk) -> None:
    tried = desk.try_on_history(node.database, desk.load(THIN), last=1)
    assert [change.study_uid for change in tried.changes] == ["1.2.2"]


def test_rules_on_series_alone_are_tried_on_each_series(node: Node, desk: RuleDesk) -> None:
    tried = desk.try_on_history(node.database, desk.load(EACH), last=100)
    assert (tried.matched_before, tried.matched_after) == (2, 3)


def test_an_activated_file_is_taken_up_by_the_running_node(node: Node, desk: RuleDesk) -> None:
    receive(node.database, ["1.2.4.1.1"], association="d", moment=at(5))
    new = desk.activate(node.database, THIN, activation(RULES, "thin only"))
    assert desk.path.read_text() == THIN
    assert match_revision(node, 1) == ()
    assert column(node.database, "revision", "rule_set_digest")[0] == new.digest
    first, second = rule_versions(node.database, 10)
    assert (first.digest, first.by, first.remark) == (new.digest, "anna", "thin only")
    assert rule_set_text(node.database, second.digest) == RULES


def test_an_old_version_can_be_put_to_work_again(node: Node, desk: RuleDesk) -> None:
    desk.activate(node.database, THIN, activation(RULES))
    text = rule_set_text(node.database, kept_text(RULES).digest)
    assert text is not None
    desk.activate(node.database, text, activation(THIN))
    assert desk.path.read_text() == RULES
    assert rule_versions(node.database, 10)[0].digest == kept_text(RULES).digest


def test_of_two_who_edit_at_once_the_second_is_told(node: Node, desk: RuleDesk) -> None:
    desk.activate(node.database, THIN, activation(RULES))
    with pytest.raises(RuleError, match="changed since you opened it"):
        desk.activate(node.database, EACH, activation(RULES))
    assert desk.path.read_text() == THIN


def test_a_faulty_text_changes_nothing(node: Node, desk: RuleDesk) -> None:
    with pytest.raises(RuleError, match=r"rules.toml:5: 'Modalty'"):
        desk.activate(node.database, RULES.replace("Modality", "Modalty"), activation(RULES))
    assert desk.path.read_text() == RULES
    assert rule_versions(node.database, 10) == []


def test_a_file_that_cannot_be_written_is_said_and_not_recorded(node: Node, desk: RuleDesk) -> None:
    gone = RuleDesk(path=desk.path.parent / "no" / "rules.toml", load=desk.load, needs={})
    with pytest.raises(RuleError, match="cannot be read"):
        gone.activate(node.database, THIN, activation(RULES))
    assert rule_versions(node.database, 10) == []
    assert list(desk.path.parent.glob(".rules-*")) == []
