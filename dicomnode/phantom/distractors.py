"""What detectors take for lesions: vessels and loops of bowel through fat, fissures of the lung.

None of them has a label of its own; they are painted into HU `(slice, row, column)` in place.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicomnode.phantom.canvas import Bools, Box, Painting, smooth_noise
from dicomnode.phantom.structures import FATS, LUNGS, Organ, Tissue


class Distractors(Painting):
    """Paints them; `blood` is the density of vessels in this scan."""

    def add_vessels(self, count: int, blood: float) -> None:
        """Small curved vessels through fat."""
        for start in self._somewhere(FATS, count):
            points = self._course(start, int(self.rng.integers(15, 45)), 0.25)
            value = blood * self.rng.uniform(0.7, 1.1)
            self._tube(points, float(self.rng.uniform(1.5, 4.5)), value, None)

    def add_loops(self, count: int) -> None:
        """Short loops of bowel, collapsed or full of fluid: no contrast medium marks them."""
        u = self.rng.uniform
        for start in self._somewhere((Organ.VISCERAL_FAT,), count):
            points = self._course(start, int(self.rng.integers(10, 30)), 0.35)
            inside = None if self.rng.random() < 0.5 else float(u(0, 30))
            self._tube(points, float(u(5, 10)), float(u(35, 95)), inside)

    def add_fissures(self, count: int) -> None:
        """Thin wavy sheets through a lung."""
        rng = self.rng
        for side in LUNGS:
            lung = (self.labels == side) & (self.tissue == Tissue.WALL)
            found = np.flatnonzero(lung)
            if not found.size:
                continue
            for at in rng.choice(found, count):
                through = np.array(np.unravel_index(int(at), lung.shape)) * self.spacing
                way = rng.standard_normal(3) * (1.0, 0.8, 0.35)
                way /= np.linalg.norm(way)
                lines = [
                    ((np.arange(n) * s - t) * w).reshape([-1 if a == axis else 1 for a in range(3)])
                    for axis, (n, s, t, w) in enumerate(
                        zip(lung.shape, self.spacing, through, way, strict=True)
                    )
                ]
                wave = 4 * smooth_noise(rng, lung.shape, tuple(self.spacing), 60.0)
                away = np.abs(lines[0] + lines[1] + lines[2] + wave)
                sheet = lung * np.clip(1 - away / self.spacing.min(), 0, 1)
                self.hu += np.float32(rng.uniform(80, 320)) * sheet.astype(np.float32)

    def _somewhere(self, organs: tuple[Organ, ...], count: int) -> list[npt.NDArray[np.float64]]:
        """Points in mm."""
        found = np.flatnonzero(np.isin(self.labels, organs))
        if not found.size:
            return []
        return [
            np.array(np.unravel_index(int(at), self.labels.shape), float) * self.spacing
            for at in self.rng.choice(found, count)
        ]

    def _course(
        self, start: npt.NDArray[np.float64], steps: int, bend: float
    ) -> npt.NDArray[np.float64]:
        """Points `(steps, 3)` in mm, 2 mm apart."""
        at, way = start.copy(), self.rng.standard_normal(3)
        way /= np.linalg.norm(way)
        points = []
        for _ in range(steps):
            points.append(at.copy())
            way += bend * self.rng.standard_normal(3)
            way /= np.linalg.norm(way)
            at = at + 2.0 * way
        return np.array(points)

    def _tube(
        self,
        points: npt.NDArray[np.float64],
        radius: float,
        value: float,
        inside: float | None,
    ) -> None:
        """Paint fat along a line; `inside`: density beyond a wall of 2.5 mm."""
        index = points / self.spacing
        reach = np.ceil(radius / self.spacing).astype(int) + 2
        start = np.maximum(np.floor(index.min(0)).astype(int) - reach, 0)
        stop = np.minimum(np.ceil(index.max(0)).astype(int) + reach + 1, self.labels.shape)
        if (start >= stop).any():
            return
        part: Box = (
            slice(start[0], stop[0]),
            slice(start[1], stop[1]),
            slice(start[2], stop[2]),
        )
        line: Bools = np.ones(tuple(stop - start), bool)
        fine = np.concatenate([np.linspace(a, b, 4) for a, b in pairwise(index)])
        on = np.round(fine - start).astype(int)
        on = on[((on >= 0) & (on < stop - start)).all(1)]
        line[tuple(on.T)] = False
        away = ndimage.distance_transform_edt(line, sampling=self.spacing)
        cover = np.clip(0.5 + (radius - away) / self.spacing.min(), 0, 1)
        cover = cover * np.isin(self.labels[part], FATS)
        own = value if inside is None else np.where(away < radius - 2.5, inside, value)
        self.hu[part] = self.hu[part] * (1 - cover) + own * cover
