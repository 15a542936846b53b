"""Files of the data folder, as they are named between a node and workers that do not see it.

The name of a file is its path below the data folder, with forward slashes. It is the same on the
node, in a worker's cache, in the address it is fetched from and in the index.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.errors import StudyError

CALIBRATIONS = "calibration"
"""A folder for each algorithm that a site has calibrated."""
RESULTS = "results"
"""A folder for each job, below one named by the first two characters of its id."""
READ = ("instances", RESULTS, CALIBRATIONS)
"""Folders that workers may read."""

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One instance of a closed revision."""

    path: Path
    """Absolute; where it lies, or is to lie, on this machine."""
    sha256: str
    """Of its data set, as it was received, hex: preamble and file meta information are ours."""
    size_bytes: int
    """Of its data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """Whose results of which job a file belongs to."""

    job_id: str
    file: str


def checked_name(name: str) -> str:
    """`name`, if a worker may read what it names.

    Raises:
        StudyError: it names nothing that is for workers.
    """
    parts = name.split("/")
    if parts[0] not in READ or not all(_PART.fullmatch(part) for part in parts):
        raise StudyError("there is no such file for workers")
    return name


def handed_back(name: str) -> HandedBack:
    """The job of a file among results.

    Raises:
        StudyError: it is not where a job's results lie.
    """
    parts = checked_name(name).split("/")
    if len(parts) != 4 or parts[0] != RESULTS or parts[1] != parts[2][:2]:
        raise StudyError("results lie in the folder of their job")
    return HandedBack(job_id=parts[2], file=parts[3])
