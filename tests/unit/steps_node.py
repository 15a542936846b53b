"""A `Node` for tests of steps: a SQLite index, a clock that is told, rules for one algorithm."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dicomnode.algorithm import AlgorithmIdentity, InputSpec
from dicomnode.pipeline.discovery import AlgorithmDescription, AlgorithmSource
from dicomnode.rules.loading import load_rules
from dicomnode.rules.watching import WatchedRules
from dicomnode.settings import Settings
from dicomnode.steps.node import Node
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.testing.studies import Clock
from tests.contract.store_scenes import at

RULES = """\
[[rule]]
name = "lungs on chest CT"
algorithm = "lung_ct"
[rule.series.image]
Modality = "CT"
"""


@cache
def _migrated() -> bytes:
    """A migrated index; made once, since that takes longer than most tests."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "index.sqlite"
        database = Database(f"sqlite:///{file}", file.parent)
        upgrade(database)
        database.dispose()
        return file.read_bytes()


def description(name: str = "lung_ct", *, time_limit_s: float = 100.0) -> AlgorithmDescription:
    """An algorithm as `discover` would list it."""
    return AlgorithmDescription(
        identity=AlgorithmIdentity(
            name=name,
            version="1.0.0",
            manufacturer="dicomnode",
            title="Lungs",
            model_digest="5a" * 32,
            intended_use="Research use only.",
        ),
        needs={"image": InputSpec(modalities=frozenset({"CT"}), dimensions=3)},
        time_limit_s=time_limit_s,
        source=AlgorithmSource(root=Path("bundle")),
    )


def open_test_node(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *,
    rules: str = RULES,
    seconds: float = 20.0,
    broken: Mapping[str, str] | None = None,
    is_new: bool = True,
) -> Node:
    """A node whose clock stands `seconds` after noon; see `tick`. Not `is_new`: opened again."""
    data_dir = folder / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    if is_new:
        (data_dir / "index.sqlite").write_bytes(_migrated())
    database = Database(f"sqlite:///{data_dir}/index.sqlite", data_dir)
    path = folder / "rules.toml"
    path.write_text(rules, encoding="utf-8")
    known = {"lung_ct": description()}
    return Node(
        settings=Settings.model_validate({"data_dir": data_dir, **(settings or {})}),
        database=database,
        clock=Clock(now=at(seconds)),
        rules=WatchedRules(path, partial(load_rules, file=str(path))),
        algorithms=known,
        broken=broken or {},
    )


def tick(node: Node, seconds: float) -> None:
    """Set the node's clock to so many seconds after noon."""
    clock = node.clock
    assert isinstance(clock, Clock)
    clock.now = at(seconds)


def real_time(node: Node) -> None:
    """Set the node's clock to now, for files that were just received."""
    clock = node.clock
    assert isinstance(clock, Clock)
    clock.now = datetime.now(UTC)


def column(database: Database, table: str, name: str) -> list[Any]:
    """One column of a table, in the order its rows were made."""
    with database.reading() as connection:
        return list(
            connection.exec_driver_sql(f"SELECT {name} FROM {table} ORDER BY rowid").scalars()
        )


def event_names(database: Database) -> list[str]:
    """What was logged."""
    return [str(name) for name in column(database, "event", "name")]
