"""Which findings become segments, in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.domain.codes import ABNORMAL_STRUCTURE, Code
from dicomnode.domain.errors import EncodeError
from dicomnode.domain.findings import Finding, LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment of the segmentation object."""

    number: int
    """SegmentNumber, 1, 2, ..."""
    name: str
    """The finding's name."""
    category: Code
    type: Code
    laterality: Code | None
    site: Code | None
    """Where it lies; None for organs, whose type says it."""
    color: tuple[int, int, int]
    mask: npt.NDArray[np.bool_]
    """On the volume's grid; at least one voxel."""

    @property
    def label(self) -> str:
        """SegmentLabel; 64 characters at most (VR LO)."""
        return self.name[:64]


def segments_of(findings: Iterable[Finding], volume: Volume) -> tuple[Segment, ...]:
    """The findings with a mask that marks anything, numbered in their order.

    Raises:
        EncodeError: names are not unique, or a mask is not on the volume's grid.
    """
    _check_names(tuple(findings := tuple(findings)))
    masked = [
        finding
        for finding in findings
        if isinstance(finding, SegmentFinding | LesionFinding)
        and finding.mask is not None
        and _any_voxel(finding.name, finding.mask, volume)
    ]
    return tuple(_segment(number, finding) for number, finding in enumerate(masked, start=1))


def _check_names(findings: Sequence[Finding]) -> None:
    names = [finding.name for finding in findings]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise EncodeError(f"findings share a name: {', '.join(doubled)}")


def _any_voxel(name: str, mask: npt.NDArray[np.bool_], volume: Volume) -> bool:
    if mask.shape != volume.grid.shape or mask.dtype != np.bool_:
        raise EncodeError(
            f"mask of {name!r} is {mask.dtype} {mask.shape}, not bool {volume.grid.shape}"
        )
    return bool(mask.any())


def _segment(number: int, finding: SegmentFinding | LesionFinding) -> Segment:
    if finding.mask is None:
        raise EncodeError(f"{finding.name!r} has no mask")
    return Segment(
        number=number,
        name=finding.name,
        category=finding.category if isinstance(finding, SegmentFinding) else ABNORMAL_STRUCTURE,
        type=finding.type,
        laterality=finding.laterality,
        site=finding.site,
        color=finding.color,
        mask=finding.mask,
    )
