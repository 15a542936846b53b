"""Structured logs: one JSON line an event, to standard error. Never a patient's data."""

import logging
import sys
import traceback
import warnings
from collections.abc import MutableMapping
from pathlib import Path
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
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    silence_readers()


def _tell_where(
    _logger: WrappedLogger, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """An error's class, and the places it came through; its words only if they are ours.

    Other people's errors quote what they stumbled over, which may be a value of a data set.
    """
    exc = sys.exception() if line.pop("exc_info", None) else None
    if exc is not None:
        frames = traceback.extract_tb(exc.__traceback__)
        line["error"] = type(exc).__name__
        line["reason"] = str(exc) if isinstance(exc, DicomNodeError) else ""
        line["at"] = [f"{Path(one.filename).name}:{one.lineno} in {one.name}" for one in frames]
    return line


def silence_readers() -> None:
    """Keep libraries that read data sets from logging: they quote values, such as names."""
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # pydicom says the same through the warnings module.
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)\..*")
