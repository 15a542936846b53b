"""Detections of neighbouring slices joined to lesions in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dicomnode.networks.slice_detector import SliceDetections, overlap

__all__ = ["JoinedLesion", "join_slices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedLesion:
    """One lesion over one or more slices; pixels as in `SliceDetections`."""

    score: float
    """The best of its slices."""
    type: int
    """That the slices say together, each with the weight of its score."""
    first: int
    last: int
    """Slices, both inclusive."""
    key: int
    """The slice on which its long axis is longest: where RECIST measures it."""
    box: Tensor
    """(4,): around the boxes of all its slices."""
    ends: Tensor
    """(4, 2): of the axes on the key slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growing:
    """What lesions grow from."""

    found: Sequence[SliceDetections]
    left: list[list[int]]
    """Rows of each slice that belong to no lesion yet."""
    least: float
    gap: int


def join_slices(
    found: Sequence[SliceDetections], *, overlap_least: float = 0.3, gap: int = 1
) -> list[JoinedLesion]:
    """Lesions of a volume, the surest first.

    The surest detection that is left begins a lesion, which grows to both sides with the surest
    detection of the next slice that overlaps it.

    Args:
        found: of every slice, in their order.
        overlap_least: intersection over union of two slices of one lesion.
        gap: slices without a detection that a lesion may bridge.
    """
    left = [[*range(len(one.scores))] for one in found]
    order = sorted(
        (
            (float(one.scores[row]), z, row)
            for z, one in enumerate(found)
            for row in range(len(one.scores))
        ),
        key=lambda each: (-each[0], each[1], each[2]),
    )
    lesions = []
    growing = _Growing(found=found, left=left, least=overlap_least, gap=gap)
    for _, z, row in order:
        if row not in left[z]:
            continue
        left[z].remove(row)
        members = {z: row}
        for step in (1, -1):
            _grow(growing, members, z, step)
        lesions.append(_joined(found, members))
    return sorted(lesions, key=lambda one: -one.score)


def _grow(growing: _Growing, members: dict[int, int], start: int, step: int) -> None:
    """Add detections of the slices ahead to `members` (slice -> row) until none overlaps."""
    found, left = growing.found, growing.left
    at = start
    while True:
        box = found[at].boxes[members[at]][None]
        ahead = [at + step * n for n in range(1, growing.gap + 2)]
        for z in ahead:
            row = _best(found[z], left[z], box, growing.least) if 0 <= z < len(found) else None
            if row is not None:
                break
        else:
            return
        at, members[z] = z, row
        left[z].remove(row)


def _best(one: SliceDetections, rows: list[int], box: Tensor, least: float) -> int | None:
    """The surest of the rows that overlaps the box."""
    if not rows:
        return None
    overlaps = overlap(one.boxes[rows], box)[:, 0]
    fits = [row for row, shared in zip(rows, overlaps.tolist(), strict=True) if shared >= least]
    return max(fits, key=lambda row: float(one.scores[row]), default=None)


def _joined(found: Sequence[SliceDetections], members: dict[int, int]) -> JoinedLesion:
    slices = sorted(members)
    scores = [float(found[z].scores[members[z]]) for z in slices]
    votes: dict[int, float] = {}
    for z, score in zip(slices, scores, strict=True):
        kind = int(found[z].types[members[z]])
        votes[kind] = votes.get(kind, 0.0) + score
    boxes = torch.stack([found[z].boxes[members[z]] for z in slices])
    ends = [found[z].ends[members[z]] for z in slices]
    lengths = [float((each[1] - each[0]).norm()) for each in ends]
    longest = max(range(len(slices)), key=lambda n: lengths[n])
    return JoinedLesion(
        score=max(scores),
        type=max(votes, key=lambda kind: votes[kind]),
        first=slices[0],
        last=slices[-1],
        key=slices[longest],
        box=torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)]),
        ends=ends[longest],
    )
