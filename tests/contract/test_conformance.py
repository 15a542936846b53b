"""The conformance statement says what the code does."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomnode.conformance import conformance_tables
from dicomnode.conformance.attributes import attribute_table
from dicomnode.conformance.objects import example_results, object_tables
from dicomnode.documents import filled, table
from dicomnode.domain.errors import ConfigError
from dicomnode.domain.results import ResultKind
from dicomnode.receive.contexts import TRANSFER_SYNTAXES, storage_sop_classes

STATEMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    return conformance_tables(tmp_path_factory.mktemp("conformance"))


def test_the_statement_has_not_fallen_behind(tables: Mapping[str, str]) -> None:
    written = STATEMENT.read_text(encoding="utf-8")
    assert filled(written, tables) == written, (
        "run `python -m dicomnode.conformance docs/conformance.md`"
    )


def test_every_class_and_syntax_of_the_receiver_is_listed(tables: Mapping[str, str]) -> None:
    for uid in storage_sop_classes():
        assert f"`{uid}`" in tables["storage-classes"]
    for uid in TRANSFER_SYNTAXES:
        assert f"`{uid}`" in tables["transfer-syntaxes"]


def test_equal_code_makes_equal_tables(tables: Mapping[str, str], tmp_path: Path) -> None:
    assert conformance_tables(tmp_path) == tables


def test_no_object_holds_a_private_element(tables: Mapping[str, str]) -> None:
    assert tables["private-elements"].startswith("None")


def test_a_private_element_would_be_told(tmp_path: Path) -> None:
    results = example_results(tmp_path)
    results[ResultKind.SR][0].add_new(0x00191001, "LO", "x")
    assert "(0019,1001)" in object_tables(results)["private-elements"]


def test_the_examples_own_uids_and_names_are_not_in_the_tables(tables: Mapping[str, str]) -> None:
    for name in ("seg-attributes", "sr-attributes", "sr-content"):
        assert not re.search(r"2\.25\.\d|Phantom|PHANTOM|phantom", tables[name])


def test_attributes_not_in_every_object_are_marked() -> None:
    both, one = Dataset(), Dataset()
    both.Modality = one.Modality = "SEG"
    both.ContentLabel = "X"
    lines = attribute_table([both, one]).splitlines()
    assert lines[2] == "| (0008,0060) | Modality | CS | always | `SEG` |"
    assert lines[3] == "| (0070,0080) | Content Label | CS | where it applies | `X` |"


def test_a_document_and_its_parts_must_fit() -> None:
    document = "a\n<!-- begin one -->\nold\n<!-- end one -->\nz\n"
    assert filled(document, {"one": "new"}) == document.replace("old", "new")
    with pytest.raises(ConfigError, match="no place for 'two'"):
        filled(document, {"one": "", "two": ""})
    with pytest.raises(ConfigError, match="nothing is known of 'one'"):
        filled(document, {})
    with pytest.raises(ConfigError, match="several places"):
        filled(document * 2, {"one": ""})


def test_cells_cannot_break_a_table() -> None:
    assert table(("a", "b"), [("x|y", "1\n2")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
