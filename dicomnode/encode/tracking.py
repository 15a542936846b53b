"""Names under which viewers track what is drawn (Tracking Identifier, PS3.16 TID 4108).

A viewer merges the groups of one tracking UID and draws the first line of them only (so OHIF does),
so each line of a finding is tracked on its own. All else of a finding goes with its first line.
Where all lines of a lesion show a measurement they stand below their numbers in one group: of such
a group viewers draw every line, and one Tracking UID stays with the lesion over all studies.
"""

from typing import TypeGuard

from dicomnode.domain.findings import (
    CaptionFinding,
    Finding,
    LesionFinding,
    Mark,
    SegmentFinding,
)

WHOLE_IMAGE = "whole image"
"""Tracks the frame around an image on which nothing else is drawn."""


def marks_of(finding: Finding) -> tuple[Mark, ...]:
    """The finding's own lines; empty for kinds that have none."""
    if isinstance(finding, SegmentFinding | CaptionFinding):
        return ()
    return finding.marks


def has_measured_lines(finding: Finding) -> TypeGuard[LesionFinding]:
    """True for a lesion with lines that each show a measurement."""
    if not isinstance(finding, LesionFinding) or not finding.marks:
        return False
    return all(mark.measurement is not None for mark in finding.marks)


def tracking_identifiers(finding: Finding) -> tuple[str, ...]:
    """One name a line; the first, or only one, is the finding's own.

    No two are alike, but for a lesion's measured lines: all of them have its own name.
    """
    if has_measured_lines(finding):
        return (finding.name,) * len(finding.marks)
    names = [finding.name]
    for mark in marks_of(finding)[1:]:
        shown = mark.measurement.name.meaning if mark.measurement else "line"
        name = f"{finding.name}: {shown}"
        names.append(f"{name} {len(names) + 1}" if name in names else name)
    return tuple(names)
