"""Where received files lie below the data folder, and how an association can end.

The receiver writes the files and the store writes the rows: both must name the same places. Nothing
a peer sent is part of any path: folders are named by our association ids, files are counted.
"""

from enum import Enum
from pathlib import Path

from dicomnode.domain.instances import Association

SPOOL = "spool"
"""Files on their way: `<association id>-<n>.part`."""
STOW_SPOOL = "spool-stow"
"""The same for STOW requests, which another process takes."""
INSTANCES = "instances"
QUARANTINE = "quarantine"


class AssociationOutcome(Enum):
    """How an association ended."""

    RELEASED = "released"
    """By A-RELEASE: the sender said all it wanted to say."""
    ABORTED = "aborted"
    """By A-ABORT, from either side."""
    LOST = "lost"
    """The connection broke, or the receiver itself ended before the association did."""


def association_folder(data_dir: Path, association: Association) -> Path:
    """The folder of all instances of one association: `instances/<day opened>/<association id>`.

    Instances are `<n>.dcm`, counted from 1 in the order they were sent.
    """
    return data_dir / INSTANCES / f"{association.opened_at:%Y%m%d}" / association.id


def quarantine_path(data_dir: Path, kept_at: Path) -> Path:
    """Where an instance that was to be kept at `kept_at` goes if it is a conflict."""
    return data_dir / QUARANTINE / f"{kept_at.parent.name}-{kept_at.name}"
