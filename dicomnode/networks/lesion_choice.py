"""Which candidates are outlined: those that are reported, and those that decide how these look.

Lesions are placed by score. One whose middle lies in the outline of a surer one is the same lesion
and goes; what two outlines share belongs to the surer one. An outline stays within its cube, so of
the types that nobody is told of only those candidates count that are surer than a reported one and
whose cube touches its cube, or that of another one that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Choice"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int_]

_BEYOND = 41 / 40
"""Side of what is read of a cube over its own: half a step of 40 more on each side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Candidates, a row for each, and what of them is wanted."""

    points: Floats
    """(n, 3) millimetres."""
    sides: Floats
    """(n,) millimetres along each side of the cube that the outline is read from."""
    kinds: Rows
    """(n,) types."""
    most_scores: Floats
    """(n,): no score exceeds it."""
    floors: Floats
    """(n,): score from which on a row is reported; infinite if it never is."""
    most: int
    """Lesions of each type that are outlined at most: the surest."""

    def made(self, look: Callable[[Rows], Floats]) -> tuple[Rows, Floats]:
        """The rows to outline, the surest first, and the scores of all rows that were looked at.

        Args:
            look: the scores of some rows, each asked for once; this is what costs.
        """
        scores = np.full(len(self.points), np.nan)

        def look_at(wanted: npt.NDArray[np.bool_]) -> None:
            rows = np.flatnonzero(wanted & np.isnan(scores))
            if len(rows):
                scores[rows] = look(rows)

        look_at(self.most_scores >= self.floors)
        new = self._surest(np.flatnonzero(scores >= self.floors), scores, look_at)
        chosen = new
        while len(new):
            touching = self._touching(new)
            look_at(np.any(touching & (self.most_scores[:, None] >= scores[new]), axis=1))
            surer = np.asarray(np.any(touching & (scores[:, None] >= scores[new]), axis=1))
            surer[chosen] = False
            new = self._surest(np.flatnonzero(surer), scores, look_at)
            chosen = np.concatenate([chosen, new])
        chosen = np.sort(chosen)
        return chosen[np.argsort(-scores[chosen], kind="stable")], scores

    def _touching(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """`(n, rows)`: whether the cube of one reaches that of the other."""
        apart = np.abs(self.points[:, None] - self.points[rows]).max(2)
        return np.asarray(apart <= _BEYOND * (self.sides[:, None] + self.sides[rows]) / 2)

    def _surest(
        self,
        rows: Rows,
        scores: Floats,
        look_at: Callable[[npt.NDArray[np.bool_]], None],
    ) -> Rows:
        """Those of the rows that are among the `most` surest of their type."""
        kept = []
        for kind in np.unique(self.kinds[rows]):
            own = rows[self.kinds[rows] == kind]
            rivals = (self.kinds == kind) & (self.most_scores >= scores[own].min())
            if np.count_nonzero(rivals) > self.most:
                look_at(rivals)
                among = np.flatnonzero(rivals)
                first = among[np.argsort(-scores[among], kind="stable")][: self.most]
                own = own[np.isin(own, first)]
            kept.append(own)
        return np.concatenate(kept) if kept else rows[:0]
