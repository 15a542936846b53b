"""`docs/architecture.md` names only what is there, and leaves out no room and no table."""

import re
from pathlib import Path

from dicomnode.store.tables import Base

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DIAGRAMS = re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)
# Folders that come into being below the data folder.
MADE_AT_RUN_TIME = {"spool", "instances", "quarantine", "results"}


def named_paths() -> set[str]:
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    quoted = set(re.findall(r"`([\w./]+)`", prose))
    in_diagram = set(re.findall(r"[\w/]+\.py", DIAGRAMS[0]))
    drawn = {path if path.startswith("dicomnode/") else f"dicomnode/{path}" for path in in_diagram}
    paths = {name for name in quoted if "/" in name or name.endswith(".py")}
    folders = {"algorithms", "docker"} & quoted
    return paths | drawn | folders


def test_every_module_named_exists() -> None:
    assert len(named_paths()) > 40
    missing = sorted(name for name in named_paths() if not (ROOT / name).exists())
    assert missing == []


def test_every_step_of_the_flow_page_is_drawn() -> None:
    flow = (ROOT / "dicomnode" / "flow.py").read_text(encoding="utf-8")
    steps = re.findall(r"^    \w+ +`([\w.]+)`", flow.split('"""')[1], re.MULTILINE)
    assert len(steps) == 8
    assert [step for step in steps if step.replace(".", "/") not in DIAGRAMS[0]] == []


def test_every_room_is_described() -> None:
    folders = {
        path.parent.name
        for path in (ROOT / "dicomnode").glob("*/__init__.py")
        if len(list(path.parent.glob("*.py"))) > 1
    }
    described = {name for name in folders if f"`dicomnode/{name}`" in TEXT}
    assert folders - described <= {"conformance"}


def test_every_table_and_reference_is_drawn() -> None:
    diagram = "".join(DIAGRAMS[1:])
    for table in Base.metadata.sorted_tables:
        assert re.search(rf"\b{table.name}\b", diagram), table.name
    drawn = {frozenset(pair) for pair in re.findall(r"(\w+) [|}]\S+ (\w+) :", diagram)}
    for table in Base.metadata.sorted_tables:
        if table.name == "study_association":
            continue
        for key in table.foreign_keys:
            pair = frozenset((table.name, key.column.table.name))
            is_left_out = pair <= SHORTCUTS_FOR_READERS or VERSIONED in pair
            assert pair in drawn or is_left_out, sorted(pair)


# Columns that spare a join and would only tangle the picture.
SHORTCUTS_FOR_READERS = frozenset({"instance", "study", "job", "result", "delivery"})
# Points to the miner's version from every row of what it read.
VERSIONED = "mining_version"


def test_data_folders_named_are_those_used() -> None:
    receiving = (ROOT / "dicomnode" / "domain" / "receiving.py").read_text(encoding="utf-8")
    results = (ROOT / "dicomnode" / "domain" / "files.py").read_text(encoding="utf-8")
    for folder in MADE_AT_RUN_TIME:
        assert f'"{folder}"' in receiving + results
        assert f"`{folder}`" in TEXT
