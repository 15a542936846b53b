"""What tests of the lesion bundles' recipe share."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "lymph_node"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`scripts.NAME` of the bundle, which is imported from its own folder."""
    monkeypatch.syspath_prepend(str(BUNDLE))
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)

    def named(name: str) -> ModuleType:
        return importlib.import_module(f"scripts.{name}")

    yield named
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        del sys.modules[name]
