"""The body plan of one phantom: what varies from person to person, and lines along the body.

Coordinates are LPS in mm, z = 0 at the top of the sacrum: the top of L1 lies near 175, of T1 near
490; the upper thighs end at -220.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomnode.phantom.canvas import Floats
from dicomnode.phantom.structures import Organ

Z_LOW, Z_HIGH = -240, 560


class Profile:
    """A number along z, linear between knots; looked up every mm."""

    def __init__(self, knots: dict[float, float]) -> None:
        at = np.array(sorted(knots), np.float64)
        line = np.interp(np.arange(Z_LOW, Z_HIGH + 1), at, [knots[k] for k in sorted(knots)])
        kernel = np.hanning(27) / np.hanning(27).sum()
        self.table = np.convolve(np.pad(line, 13, mode="edge"), kernel, "valid").astype(np.float32)

    def __call__(self, z: Floats) -> Floats:
        """The value at every `z`."""
        return np.asarray(self.table[np.clip(z - Z_LOW, 0, Z_HIGH - Z_LOW).astype(np.int32)])

    def at(self, z: float) -> float:
        """The value at one `z`."""
        return float(np.interp(z, np.arange(Z_LOW, Z_HIGH + 1), self.table))


@dataclass(frozen=True, slots=True)
class Level:
    """One vertebra of the plan: body between `bottom` and `top` in mm, half width and depth."""

    organ: Organ
    bottom: float
    top: float
    half_width: float
    half_depth: float

    @property
    def middle(self) -> float:
        """Height of the middle of the body."""
        return (self.bottom + self.top) / 2


_HEIGHTS: Final = (  # L5 upwards: body and disc, mm
    *((27.0, 9.5),) * 5,
    (26.0, 6.5),
    (25.0, 6.0),
    (24.0, 5.5),
    (23.0, 5.0),
    *((22.0, 4.5),) * 3,
    *((20.0, 4.0),) * 3,
    *((18.0, 4.0),) * 2,
)


class Plan:
    """Everything that is decided about a person before painting. Deterministic by `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform
        self.rng = rng
        self.female = bool(rng.random() < 0.5)
        self.fat = float(rng.beta(1.6, 2.0))
        """0 thin to 1 obese."""
        self.belly = float(np.clip(self.fat + u(-0.3, 0.3) - 0.1 * self.female, 0, 1))
        """Visceral fat, 0 to 1."""
        self.age = float(u(0, 1))
        """0 young adult to 1 very old."""
        self.muscle = float(np.clip(u(0.7, 1.25) - 0.2 * self.age, 0.5, 1.25))
        self.arms_up = bool(rng.random() < 0.7)
        self.missing = self._missing()
        self._lines()
        self.levels = self._levels()

    def _missing(self) -> frozenset[Organ]:
        chances = {
            Organ.GALLBLADDER: 0.15,
            Organ.SPLEEN: 0.02,
            Organ.KIDNEY_RIGHT: 0.015,
            Organ.KIDNEY_LEFT: 0.015,
            Organ.PANCREAS: 0.01,
            Organ.UTERUS: 0.2,
            Organ.PROSTATE: 0.03,
            Organ.STOMACH: 0.01,
        }
        return frozenset(organ for organ, p in chances.items() if self.rng.random() < p)

    def _lines(self) -> None:
        u = self.rng.uniform
        lordosis, kyphosis = u(0.5, 1.5), u(0.5, 1.5)
        self.spine_y = Profile(
            {
                -140: 60,
                -90: 36 + 42 * lordosis,
                -50: 36 + 36 * lordosis,
                0: 40,
                35: 36 - 6 * lordosis,
                90: 36 - 12 * lordosis,
                150: 36 - 2 * lordosis,
                220: 42 + 8 * kyphosis,
                330: 42 + 22 * kyphosis,
                420: 42 + 12 * kyphosis,
                490: 34,
                540: 18,
            }
        )
        """y of the middle of the vertebral bodies."""
        w, d = u(0.92, 1.08), u(0.88, 1.12)
        waist = 1 + 0.12 * self.belly
        depth = 58 + 58 * self.belly
        self.cavity_width = Profile(
            {
                540: 28,
                500: 36,
                480: 58,
                460: 80,
                430: 102,
                400: 117,
                340: 131 * w,
                280: 138 * w,
                220: 134 * w,
                150: 124 * w * waist,
                80: 120 * w * waist,
                40: 112 * w * waist,
                0: 104,
                -40: 72,
                -80: 54,
                -105: 42,
                -118: 8,
            }
        )
        """Half the inner width of the trunk: ribs, muscle wall, bowl of the pelvis."""
        self.cavity_depth = Profile(
            {
                540: 30,
                500: 32,
                480: 40,
                460: 52,
                430: 68,
                400: 80,
                340: 92 * d,
                280: 98 * d,
                220: (92 + 0.16 * depth) * d,
                150: depth * 1.18 * d + 14,
                80: depth * d + 14,
                40: depth * 0.95 * d + 14,
                0: depth * 0.5 + 48,
                -40: 66,
                -80: 52,
                -105: 40,
                -118: 8,
            }
        )
        """Half the inner depth of the trunk."""
        self.cavity_back = Profile(
            {
                540: -2,
                500: 6,
                470: 14,
                430: 22,
                330: 26,
                220: 22,
                150: 16,
                80: 14,
                0: 4,
                -40: -14,
                -90: -16,
                -120: -22,
            }
        )
        """How far the cavity reaches behind the middle of the vertebrae."""
        self.wall = Profile(
            {
                540: 20,
                480: 24,
                430: 20,
                380: 17,
                300: 15,
                220: 14,
                150: 13,
                80: 14,
                40: 18,
                0: 26,
                -40: 60,
                -80: 78,
                -120: 90,
                -220: 90,
            }
        )
        """Thickness of muscle and bone around the cavity at the sides."""
        fat = self.fat**1.3
        self.skin_fat = Profile(
            {
                540: 4 + 10 * fat,
                430: 5 + 22 * fat,
                300: 5 + 26 * fat,
                200: 6 + 34 * fat,
                80: 8 + 44 * fat,
                -20: 12 + 48 * fat,
                -120: 10 + 40 * fat,
                -220: 8 + 34 * fat,
            }
        )
        """Thickness of the fat under the skin."""
        self.power = float(u(2.15, 2.7))

    def _levels(self) -> tuple[Level, ...]:
        """L5 first, T1 last."""
        u = self.rng.uniform
        wide, deep = u(0.9, 1.12), u(0.9, 1.1)
        levels, z = [], 8.0
        for index, (body, disc) in enumerate(_HEIGHTS):
            thin = 1 - 0.15 * self.age * u(0, 1)
            share = index / 16
            levels.append(
                Level(
                    Organ(86 - index),
                    z,
                    z + body * thin + (body * (1 - thin)) * 0.3,
                    (24.5 - 9.5 * min(share * 1.5, 1)) * wide,
                    (16.5 - 4.5 * share) * deep,
                )
            )
            z += body + disc
        return tuple(levels)

    def level(self, organ: Organ) -> Level:
        """The vertebra by its name."""
        return self.levels[86 - int(organ)]

    def front(self, z: float) -> float:
        """y of the front of the spine."""
        depth = 16.5 - 4.5 * min(max(z / 490, 0), 1)
        return self.spine_y.at(z) - depth

    def before_spine(self, x: float, ahead: float, z: float) -> list[float]:
        """The point `ahead` mm in front of the spine."""
        return [x, self.front(z) - ahead, z]

    def back_wall(self, z: float) -> float:
        """y of the back of the cavity."""
        return self.spine_y.at(z) + self.cavity_back.at(z)

    def front_wall(self, z: float) -> float:
        """y of the front of the cavity."""
        return self.back_wall(z) - 2 * self.cavity_depth.at(z)

    def jitter(self, points: list[list[float]], amount: float) -> npt.NDArray[np.float64]:
        """The points, each moved by about `amount` mm."""
        given = np.asarray(points, np.float64)
        given[:, :3] += self.rng.normal(0, amount, (len(given), 3))
        return given
