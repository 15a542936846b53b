"""A rule file that is edited to nonsense is told of, and a restart does not stop at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from dicomnode.app import open_node
from dicomnode.domain.errors import RuleError
from dicomnode.settings import Settings
from dicomnode.steps.node import Node
from dicomnode.steps.telling_rules import RuleTeller
from dicomnode.store.gauges import standing
from dicomnode.store.overview import overview
from tests.unit.steps_node import RULES, open_test_node


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> None:
    """A command that was tested in this process may have left a stream that is closed by now."""
    structlog.reset_defaults()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = open_test_node(tmp_path)
    yield made
    made.database.dispose()


def troubles(node: Node) -> list[tuple[str, str]]:
    now = node.clock()
    return [(one.what, one.reason) for one in overview(node.database, now).trouble]


def is_refused(node: Node) -> bool:
    return standing(node.database, node.clock()).rules_refused


def test_nonsense_in_the_rule_file_needs_a_person_until_it_is_mended(
    node: Node, tmp_path: Path
) -> None:
    teller = RuleTeller(node)
    teller.look()
    assert (troubles(node), is_refused(node)) == ([], False)

    (tmp_path / "rules.toml").write_text(RULES.replace("Modality", "Modalty"))
    teller.look()
    teller.look()

    ((what, reason),) = troubles(node)
    assert what == "rules"
    assert "rules.toml:5: 'Modalty' is not a known DICOM keyword" in reason
    assert is_refused(node)
    (tmp_path / "rules.toml").write_text(RULES)
    teller.look()
    assert (troubles(node), is_refused(node)) == ([], False)


def test_a_node_starts_with_the_rules_that_held_when_the_file_was_spoilt(tmp_path: Path) -> None:
    first = open_test_node(tmp_path)
    file = tmp_path / "rules.toml"
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "rules": file})
    file.write_text("nonsense")
    with pytest.raises(RuleError):
        open_node(settings, first.database)
    file.write_text(RULES)
    RuleTeller(open_node(settings, first.database)).look()

    file.write_text("nonsense")
    again = open_node(settings, first.database)
    RuleTeller(again).look()

    assert [rule.name for rule in again.rules.refresh().rules] == ["lungs on chest CT"]
    assert [what for what, _ in troubles(again)] == ["rules"]
    first.database.dispose()
