"""Loops outlive what their turns meet; logs tell where, never what was read."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest
import structlog

from dicomnode.domain.errors import StoreUnavailable
from dicomnode.logs import configure_logging
from dicomnode.loops import Loop, Loops

MARKER = "Marker^Name"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, one JSON line an event."""
    written = io.StringIO()
    with redirect_stderr(written):
        configure_logging("info")
        yield written
    structlog.reset_defaults()


def logged(lines: io.StringIO) -> dict[str, object]:
    (line,) = lines.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_turn_that_fails_does_not_end_its_loop(lines: io.StringIO) -> None:
    turns = 0
    came_again = threading.Event()

    def action() -> bool:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise KeyError(MARKER)
        came_again.set()
        return False

    loops = Loops((Loop(name="index", action=action, every_s=0.001),))
    loops.start()
    assert came_again.wait(20)
    loops.stop()
    assert logged(lines)["loop"] == "index"


def test_a_loop_that_says_there_is_more_goes_on_at_once() -> None:
    turns: list[int] = []
    done = threading.Event()

    def action() -> bool:
        turns.append(1)
        if len(turns) == 5:
            done.set()
        return len(turns) < 5

    loops = Loops((Loop(name="index", action=action, every_s=3600.0),))
    loops.start()
    assert done.wait(20)
    loops.stop()
    assert len(turns) == 5


def test_loops_that_were_never_started_can_be_stopped() -> None:
    """A node that cannot start, e.g. because its port is taken, is stopped all the same."""
    Loops((Loop(name="index", action=lambda: False, every_s=1.0),)).stop()


def a_turn_that_raises(error: Exception) -> None:
    """One turn of a loop, ended before the next."""
    entered = threading.Event()

    def action() -> bool:
        entered.set()
        raise error

    loops = Loops((Loop(name="index", action=action, every_s=3600.0),))
    loops.start()
    assert entered.wait(20)
    loops.stop()


def test_the_words_of_other_people_s_errors_are_not_logged(lines: io.StringIO) -> None:
    a_turn_that_raises(ValueError(f"cannot read {MARKER}"))
    line = logged(lines)
    assert MARKER not in lines.getvalue()
    assert (line["event"], line["error"], line["reason"]) == ("loop.failed", "ValueError", "")
    assert "loops.py" in str(line["at"])


def test_the_words_of_our_own_errors_are_logged(lines: io.StringIO) -> None:
    a_turn_that_raises(StoreUnavailable("database: locked"))
    assert logged(lines)["reason"] == "database: locked"


def test_a_level_below_the_one_configured_is_not_written(lines: io.StringIO) -> None:
    structlog.get_logger().debug("too.much")
    assert not lines.getvalue()
