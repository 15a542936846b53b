"""Which slices show what was found: the ones that are captured and flagged."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dicomnode.domain.findings import (
    CaptionFinding,
    ClassFinding,
    Finding,
    LesionFinding,
    SegmentFinding,
)
from dicomnode.encode.outlines import largest_slice


def key_slices(findings: Iterable[Finding]) -> tuple[int, ...]:
    """Slice indices in the order of the findings, each once; empty if nothing is marked anywhere.

    A line or lesion is shown where it is drawn, a mask on the slice of its largest area: organs
    would otherwise flag every slice of a study.
    """
    return tuple(dict.fromkeys(index for one in findings for index in _slices_of(one)))


def flagged_slices(findings: Sequence[Finding], slices: int) -> tuple[int, ...]:
    """The key slices, and an only image also for a class that it shows without a mark.

    On a volume of more `slices` a class without a mark points nowhere.
    """
    found = key_slices(findings)
    if not found and slices == 1:
        return (0,) if any(isinstance(f, ClassFinding) and f.positive for f in findings) else ()
    return found


def _slices_of(finding: Finding) -> Iterator[int]:
    if not isinstance(finding, SegmentFinding | CaptionFinding):
        yield from (mark.slice_index for mark in finding.marks)
        if finding.marks:
            return
    if isinstance(finding, SegmentFinding | LesionFinding):
        mask = finding.mask
        if mask is not None and np.any(mask):
            yield largest_slice(mask)
