"""Structured logs: one JSON line an event, to standard error. Never a patient's data."""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import Processor, WrappedLogger

from dicomnode.domain.errors import DicomNodeError


def configure_logging(level: str) -> None:
    """Set up logging for this process; libraries are heard from WARNING on."""
    number = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            _tell_where,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(WithoutWords())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    silence_readers()


def configure_process(level: str) -> None:
    """`configure_logging` for a process of the node: what ends it or a thread is logged too."""
    configure_logging(level)
    sys.excepthook = _tell_end
    threading.excepthook = lambda fault: _tell_end(
        fault.exc_type, fault.exc_value, fault.exc_traceback
    )


class WithoutWords(logging.Formatter):
    """Lines of libraries: an error's class and the places it came through, never what it says."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s:%(name)s:%(message)s")

    def formatException(  # noqa: N802 (logging's name)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """In the place of a traceback, whose last line may quote a value of a data set."""
        return told_without_words(ei[1]) if ei[1] is not None else ""


def told_without_words(error: BaseException) -> str:
    """An error's class, and the places it came through; its words only if they are ours."""
    words = f": {error}" if isinstance(error, DicomNodeError) else ""
    return f"{type(error).__name__}{words}; at {', '.join(_places(error.__traceback__))}"


def _places(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)
    return [f"{Path(one.filename).name}:{one.lineno} in {one.name}" for one in frames]


def _tell_end(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """What ended a process or a thread; Python would print its words."""
    where = ", ".join(_places(trace))
    structlog.get_logger().critical("process.failed", error=kind.__name__, at=where)
    if isinstance(error, DicomNodeError):
        structlog.get_logger().critical("process.failed", reason=str(error))


def _tell_where(
    _logger: WrappedLogger, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """An error's class, and the places it came through; its words only if they are ours.

    Other people's errors quote what they stumbled over, which may be a value of a data set.
    """
    exc = sys.exception() if line.pop("exc_info", None) else None
    if exc is not None:
        line["error"] = type(exc).__name__
        line["reason"] = str(exc) if isinstance(exc, DicomNodeError) else ""
        line["at"] = _places(exc.__traceback__)
    return line


def silence_readers() -> None:
    """Keep libraries that read data sets from logging: they quote values, such as names."""
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # pydicom says the same through the warnings module.
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)\..*")
