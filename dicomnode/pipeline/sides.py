"""Right and left on a frontal radiograph are told only where the heart lies as it usually does.

A radiograph may be stored mirrored without saying so, its header may be wrong, or the patient's
heart may lie on the right (dextrocardia, situs inversus). Pixels do not tell which, so such an
image gets a note. Where its header is silent, too, nothing found on it is called right or left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import HEART, LEFT, LUNG, RIGHT
from dicomnode.domain.findings import Finding, SegmentFinding
from dicomnode.pipeline.turning import is_frontal

Mask = npt.NDArray[np.bool_]

_USUALLY = 0.0
"""Least share of the thorax's width by which a heart's centre usually lies to the left of the
middle of the lungs, as the patient counts. How it was chosen: card of `cxr_heart_lung`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """The heart does not lie where it usually does."""

    note: str
    """What a reader has to know before believing sides."""
    is_told: bool
    """The header states the sides; else nothing is to be called right or left."""


def heart_to_the_left(heart: Mask, lungs: tuple[Mask, Mask]) -> float | None:
    """How far the heart's centre lies beyond the middle of the lungs, as a share of their width.

    Masks are `(rows, columns)` of an upright image; positive is towards its right border, where
    the patient's left usually is. The middle is the mean of two: between both lungs' centres, and
    between the outer ends of both. None: heart or a lung is missing.
    """
    profiles = [mask.sum(axis=0) for mask in (heart, *lungs)]
    if not all(profile.any() for profile in profiles):
        return None
    columns = np.arange(heart.shape[1]) + 0.5
    middle, *centres = (float(columns @ each / each.sum()) for each in profiles)
    (both,) = np.nonzero(profiles[1] + profiles[2])
    first, last = int(both[0]), int(both[-1]) + 1
    between = (sum(centres) / 2 + (first + last) / 2) / 2
    return (middle - between) / (last - first)


def doubt(
    heart: Mask, lungs: tuple[Mask, Mask], orientation: tuple[str, str] | None
) -> Doubt | None:
    """None where the heart lies as usual, or where it or a lung is missing.

    `orientation` is the PatientOrientation of the header, by which the image was made upright.
    """
    offset = heart_to_the_left(heart, lungs)
    if offset is None or offset >= _USUALLY:
        return None
    if orientation is not None and is_frontal(orientation):
        return Doubt(
            is_told=True,
            note="sides are not certain: by its header (PatientOrientation) the heart lies at the "
            "patient's right: dextrocardia, situs inversus, or a header that is wrong; right and "
            "left are named by the header",
        )
    return Doubt(
        is_told=False,
        note="sides are not certain: the heart lies at the left of the image, where the patient's "
        "right usually is, and the header does not say how the image lies: mirrored image, "
        "dextrocardia or situs inversus; nothing is called right or left",
    )


def doubt_of_segments(
    findings: Sequence[Finding], orientation: tuple[str, str] | None
) -> Doubt | None:
    """The same, of outlines of a heart and both lungs; None where these are not all there."""
    segments = [one for one in findings if isinstance(one, SegmentFinding)]
    hearts = [one.mask[0] for one in segments if one.type == HEART]
    lungs = {one.laterality: one.mask[0] for one in segments if one.type == LUNG}
    if len(hearts) != 1 or set(lungs) != {RIGHT, LEFT}:
        return None
    return doubt(hearts[0], (lungs[RIGHT], lungs[LEFT]), orientation)


def without_sides(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings on an upright image; what has a side is named by where it lies on that image."""
    return tuple(
        _by_place(one) if isinstance(one, SegmentFinding) and one.laterality else one
        for one in findings
    )


def _by_place(finding: SegmentFinding) -> SegmentFinding:
    # Networks that have never seen a mirrored chest tell the lungs by where they lie.
    place = "left" if finding.laterality == RIGHT else "right"
    name = f"{finding.type.meaning.lower()} at the {place} of the image"
    return replace(finding, name=name, laterality=None)
