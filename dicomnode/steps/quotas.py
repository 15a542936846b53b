"""Images of studies that are through, and objects in quarantine, go by quotas, the oldest first."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from dicomnode.domain.receiving import QUARANTINE
from dicomnode.settings import KeepSettings
from dicomnode.steps.node import Node
from dicomnode.store.quarantine import (
    Quarantined,
    given_up,
    looked_at,
    mark_quarantined,
    note_given_up,
    quarantine_bytes,
)
from dicomnode.store.quotas import (
    Through,
    images_bytes,
    mark_images,
    marked_files,
    note_gone,
    studies_through,
)

GB = 1_000_000_000
# Studies in one look, files in one transaction.
STUDIES = 200
FILES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A study whose images go, and why."""

    study: Through
    because: str


def apply_quotas(node: Node) -> bool:
    """All of them; True if there may be more to remove."""
    more = remove_images(node)
    return discard_quarantined(node) or more


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """An object in quarantine whose file goes, and why."""

    quarantined: Quarantined
    because: str


def plan_discards(node: Node) -> tuple[Discard, ...]:
    """What of the quarantine would go now, at most `FILES`; changes nothing.

    Only what a person has looked at: the rest is on the list of trouble and stays there.
    """
    keep, now = node.settings.keep, node.clock()
    planned: list[Discard] = []
    if keep.quarantine_days is not None:
        old = now - timedelta(days=keep.quarantine_days)
        because = f"older than {keep.quarantine_days:g} days"
        found = looked_at(node.database, old, FILES)
        planned = [Discard(quarantined=one, because=because) for one in found]
    if keep.quarantine_gb is None or len(planned) == FILES:
        return tuple(planned)
    missing = quarantine_bytes(node.database) - keep.quarantine_gb * GB
    missing -= sum(one.quarantined.size_bytes for one in planned)
    already = {one.quarantined.number for one in planned}
    for one in looked_at(node.database, now, FILES):
        if missing <= 0:
            break
        if one.number not in already:
            planned.append(Discard(quarantined=one, because="space is needed"))
            missing -= one.size_bytes
    return tuple(planned)


def discard_quarantined(node: Node) -> bool:
    """Do what `plan_discards` says; True if there may be more. May be interrupted and repeated."""
    marked = sum(
        mark_quarantined(node.database, one.quarantined.number, one.because, node.clock())
        for one in plan_discards(node)
    )
    while files := given_up(node.database, FILES):
        for _, path in files:
            path.unlink(missing_ok=True)
            # The folder of conflicts stays, for the receiver moves files into it.
            if path.parent.name != QUARANTINE:
                with suppress(OSError):
                    path.parent.rmdir()
        note_given_up(node.database, files)
    return marked == FILES


def plan_removals(node: Node, free_bytes: int | None = None) -> tuple[Removal, ...]:
    """What would go now, at most `STUDIES`; changes nothing. `free_bytes` None: asks the disk."""
    keep = node.settings.keep
    if free_bytes is None:
        free_bytes = shutil.disk_usage(node.settings.data_dir).free
    now = node.clock()
    planned = []
    if keep.images_days is not None:
        old = now - timedelta(days=keep.images_days)
        because = f"older than {keep.images_days:g} days"
        through = studies_through(node.database, old, STUDIES)
        planned = [Removal(study=one, because=because) for one in through]
    missing = _missing_bytes(node, keep, free_bytes) - sum(one.study.size_bytes for one in planned)
    if missing > 0 and len(planned) < STUDIES:
        planned += _oldest(node, missing, planned)
    return tuple(planned)


def _missing_bytes(node: Node, keep: KeepSettings, free_bytes: int) -> float:
    """How much has to go for space."""
    over = images_bytes(node.database) - keep.images_gb * GB if keep.images_gb is not None else 0.0
    short = keep.free_gb * GB - free_bytes if keep.free_gb is not None else 0.0
    return max(over, short)


def _oldest(node: Node, missing: float, planned: list[Removal]) -> list[Removal]:
    already = {one.study.study_uid for one in planned}
    found = []
    for one in studies_through(node.database, node.clock(), STUDIES):
        if missing <= 0:
            break
        if one.study_uid not in already:
            found.append(Removal(study=one, because="space is needed"))
            missing -= one.size_bytes
    return found


def remove_images(node: Node) -> bool:
    """Do what is planned; True if there may be more. May be interrupted and repeated anywhere."""
    marked = sum(
        mark_images(node.database, one.study.study_uid, one.because, node.clock()) > 0
        for one in plan_removals(node)
    )
    while files := marked_files(node.database, FILES):
        for _, path in files:
            path.unlink(missing_ok=True)
            # Only the last one out finds the folder empty.
            with suppress(OSError):
                path.parent.rmdir()
        note_gone(node.database, files)
    return marked == STUDIES
