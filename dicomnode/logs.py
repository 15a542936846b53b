"""Structured logs: one JSON line an event, to standard error. Never a patient's data."""

import logging
import sys
import warnings

import structlog


def configure_logging(level: str) -> None:
    """Set up logging for this process; libraries are heard from WARNING on."""
    number = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    silence_readers()


def silence_readers() -> None:
    """Keep libraries that read data sets from logging: they quote values, such as names."""
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    # pydicom says the same through the warnings module.
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom|highdicom)\..*")
