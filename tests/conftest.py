"""What all tests share: in CI, a missing program is a failure and not a skip."""

import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that does other work as well.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Tests start hundreds of processes, and each would compile our modules again, for two seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = ["tests.contract.postgresql"]

MISSING_PROGRAM = "is not installed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn "X is not installed" into a failure where everything has to be installed."""
    report = yield
    if report.skipped and os.environ.get("DICOMNODE_NO_MISSING_PROGRAMS"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if MISSING_PROGRAM in reason:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {reason}, but nothing may be missing here"
    return report
