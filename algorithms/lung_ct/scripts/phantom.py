"""Parametric chests: lungs, heart, spine, ribs, airways, domes and upper abdomen from formulas.

No patient is behind them. They are there for variety of shape: the real training CTs are few.
Every surface is a function in mm, positive inside; a label or a density is its smooth step, so
that the labels are fractions. Deterministic by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.draws import Random
from scripts.synthesis import Anatomy

SPACING = (2.0, 2.0, 3.0)
SHAPE = (132, 160, 208)
"""Voxels along z, y, x."""


@dataclass(frozen=True, slots=True)
class Space:
    """Coordinates in mm: x to the right, y to the front, z to the head; `(z, y, x)` broadcast."""

    x: Tensor
    y: Tensor
    z: Tensor


def inside(surface: Tensor, width: float = 0.8) -> Tensor:
    """Return 0 to 1: the share of a voxel within the surface, of blur `width` mm."""
    return torch.sigmoid(surface / width)


def lumps(random: Random, grain_mm: float) -> Tensor:
    """Return `(z, y, x)` smooth noise of about unit variance."""
    knots = [
        max(3, round(n * s / grain_mm) + 1) for n, s in zip(SHAPE, reversed(SPACING), strict=True)
    ]
    noise = F.interpolate(
        random.normal(1, 1, *knots), size=SHAPE, mode="trilinear", align_corners=True
    )[0, 0]
    return noise / noise.std()


def ellipsoid(
    space: Space, centre: tuple[float, float, float], half: tuple[float, float, float]
) -> Tensor:
    """Return about the distance to the surface in mm, positive inside."""
    far = (
        ((space.x - centre[0]) / half[0]) ** 2
        + ((space.y - centre[1]) / half[1]) ** 2
        + ((space.z - centre[2]) / half[2]) ** 2
    ).sqrt()
    return (1 - far) * min(half)


def tube(
    space: Space, start: tuple[float, float, float], end: tuple[float, float, float], radius: float
) -> Tensor:
    """Return the distance in mm to the surface of a capsule, positive inside."""
    axis = [e - s for s, e in zip(start, end, strict=True)]
    length = sum(a * a for a in axis)
    point = (space.x - start[0], space.y - start[1], space.z - start[2])
    along = sum((p * a for p, a in zip(point, axis, strict=True)), torch.zeros(1)) / length
    along = along.clamp(0, 1)
    far = sum(((p - along * a) ** 2 for p, a in zip(point, axis, strict=True)), torch.zeros(1))
    return radius - far.sqrt()


def paint(hu: Tensor, share: Tensor, value: Tensor | float) -> Tensor:
    return hu + share * (value - hu)


def make_phantom(seed: int) -> Anatomy:
    """Return one parametric chest with its lungs."""
    random = Random(7_919 + seed)
    u = random.uniform
    line = [
        (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s
        for n, s in zip(SHAPE, reversed(SPACING), strict=True)
    ]
    sway = u(-12, 12) * torch.sin(line[0] / u(60, 160) + u(0, 6))
    x = line[2][None, None, :] - sway[:, None, None]
    space = Space(x, line[1][None, :, None], line[0][:, None, None])
    y, z = space.y, space.z

    # the cage: inner surface of the ribs
    apex, height = u(110, 150), u(200, 290)
    cage_w, cage_d = u(112, 150), u(72, 112)
    power = u(2.0, 3.0)
    t = ((apex - z) / height).clamp(0, 1.4)
    narrow = (
        1 - (1 - t.clamp(0, 0.999 / u(0.55, 0.9)) * u(0.55, 0.9)).clamp(0, 1) ** u(2.5, 5)
    ) ** u(0.45, 0.7)
    taper = 1 - u(0.0, 0.12) * (t - 0.6).clamp(0)
    width, depth = cage_w * narrow * taper + 1e-3, cage_d * (0.35 + 0.65 * narrow) * taper + 1e-3
    lean = u(-0.12, 0.05) * (z - apex)
    yc = y - lean * 0.3
    far = ((x.abs() / width) ** power + (yc.abs() / depth) ** power) ** (1 / power)
    bumps = lumps(random, 55.0)
    ragged = lumps(random, 25.0)
    cage = (1 - far) * torch.minimum(width, depth) + 3.0 * bumps
    cage = torch.minimum(cage, apex - z + 4.0 * bumps)

    # the mediastinum between the lungs, with spine and heart
    back = -cage_d * u(0.72, 0.95)
    spine_r = u(15, 20)
    spine = spine_r - ((x**2) + (y - back + 3) ** 2).sqrt()
    root = apex - height * u(0.42, 0.5)
    waist = u(8, 22) + u(12, 24) * torch.exp(-(((z - root) / u(35, 55)) ** 2))
    waist = waist + u(6, 14) * torch.sigmoid((z - apex + 35) / 12)
    front = ((y - u(15, 45)) / cage_d).clamp(0, 1)
    waist = waist * (1 - front * u(0.5, 0.95))
    middle = waist - x.abs() + 2.5 * ragged
    heart_at = (-u(12, 32), u(5, 25), apex - height * u(0.62, 0.74))
    heart = ellipsoid(space, heart_at, (u(45, 72), u(36, 56), u(42, 60))) + 2.0 * bumps
    aorta = torch.maximum(
        tube(
            space,
            (-u(14, 26), back + u(15, 28), apex - height),
            (-u(14, 26), back + u(15, 28), root + 35),
            u(10, 16),
        ),
        tube(space, (-u(14, 26), back + 25, root + 38), (u(5, 18), u(0, 25), root + 38), u(11, 16)),
    )
    hilum = torch.maximum(
        ellipsoid(space, (u(24, 36), back + u(45, 65), root), (u(16, 28), u(14, 22), u(18, 32))),
        ellipsoid(
            space, (-u(24, 36), back + u(45, 65), root + 8), (u(16, 28), u(14, 22), u(18, 32))
        ),
    )
    solid = torch.stack([s.expand(SHAPE) for s in (middle, spine + 3, heart, aorta, hilum)]).amax(0)

    # the domes of the diaphragm
    base = apex - height * u(0.85, 1.0)
    lift = u(25, 75)
    domes = []
    for sign, rise in ((1.0, u(0, 22)), (-1.0, u(-8, 8))):
        at = sign * cage_w * u(0.45, 0.58)
        reach_x, reach_y = cage_w * u(0.5, 0.62), cage_d * u(0.85, 1.15)
        medial = torch.where((x - at) * sign < 0, u(0.3, 0.6), 1.0)
        round_ = (medial * (x - at) / reach_x) ** 2 + ((y - u(0, 20)) / reach_y) ** 2
        domes.append(base + rise + lift * (1 - round_) - u(0, 25) * ((-y) / cage_d).clamp(0, 1))
    dome = torch.where(x > 0, domes[0], domes[1])
    above = (z - dome) * 0.75 + 3.0 * bumps

    lung = torch.minimum(torch.minimum(cage, -solid), above) + 0.6 * ragged
    right, left = (torch.minimum(lung, side * x) for side in (1.0, -1.0))

    # airways: in the mediastinum, not lung
    carina = root + u(15, 30)
    gullet_y = back + spine_r + u(14, 30)
    tube_r = u(6.5, 11)
    trachea = tube(space, (u(-3, 8), gullet_y + 5, 200.0), (u(-2, 5), gullet_y + 8, carina), tube_r)
    main = [
        tube(
            space,
            (0, gullet_y + 8, carina),
            (sign * u(26, 40), gullet_y + u(0, 10), carina - drop),
            tube_r * u(0.6, 0.8),
        )
        for sign, drop in ((1.0, u(12, 25)), (-1.0, u(18, 35)))
    ]
    airway = torch.stack([s.expand(SHAPE) for s in (trachea, *main)]).amax(0)
    right, left = (torch.minimum(side, -(airway + 2.0)) for side in (right, left))

    # the outside of the body
    fat = u(6, 45)
    wall = u(12, 22)
    shoulder = torch.sigmoid((z - apex + u(10, 50)) / u(8, 20))
    neck = torch.sigmoid((z - apex - u(0, 25)) / u(6, 14))
    body_w = torch.maximum(
        cage_w + wall + fat + u(0, 50) * shoulder - (cage_w + wall - 30) * neck, torch.tensor(45.0)
    )
    body_d = torch.maximum(
        cage_d + wall * 0.8 + fat * u(0.3, 0.8) - cage_d * 0.35 * neck, torch.tensor(50.0)
    )
    belly = 1 + u(-0.08, 0.12) * torch.sigmoid((base - z) / 30)
    round_p = u(2.0, 2.8)
    far_out = (
        (x.abs() / (body_w * belly)) ** round_p + (y.abs() / (body_d * belly)) ** round_p
    ) ** (1 / round_p)
    body = (1 - far_out) * torch.minimum(body_w, body_d) + 2.0 * bumps
    body = torch.maximum(body, (cage + wall * 0.6) * 1.0)
    if random.chance(0.4):
        for sign in (1.0, -1.0):
            breast = ellipsoid(
                space,
                (sign * u(55, 80), cage_d + wall, root - u(20, 50)),
                (u(40, 65), u(25, 50), u(40, 65)),
            )
            body = torch.maximum(body, breast)
    arms = torch.full(SHAPE, -50.0)
    if random.chance(0.5):
        low = u(apex - 60, apex) if random.chance(0.7) else -250.0
        for sign in (1.0, -1.0):
            at = sign * (cage_w + wall + fat + u(20, 45))
            arms = torch.maximum(
                arms,
                tube(
                    space, (at, u(-30, 20), low), (at * u(0.8, 1.1), u(-30, 30), 230.0), u(28, 48)
                ),
            )

    # densities
    hu = torch.full(SHAPE, -1000.0)
    flesh = u(20, 70)
    hu = paint(hu, inside(body), u(-120, -80))
    hu = paint(hu, inside(arms), u(20, 60))
    hu = paint(hu, inside(arms - u(18, 24)), u(400, 900))
    muscle = torch.minimum(cage + wall * u(0.6, 1.0), body - 3)
    hu = paint(hu, inside(muscle), flesh)
    hu = paint(hu, inside(torch.minimum(body - fat * 0.5 - 4, spine + u(35, 50))), flesh)
    hu = paint(hu, inside(torch.minimum(cage, -above)), u(40, 120))
    hu = paint(
        hu,
        inside(torch.minimum(cage, solid)),
        torch.where(lumps(random, 18.0) > u(-0.5, 1.0), flesh, -90.0),
    )
    hu = paint(hu, inside(heart), flesh + u(-10, 180))
    hu = paint(hu, inside(aorta), flesh + u(-10, 250))
    hu = paint(hu, inside(spine), u(120, 350) + 60 * ragged)
    wave = torch.sin((z + y * u(0.2, 0.6) - x.abs() * u(0.1, 0.4)) * (6.283 / u(22, 34)))
    ribs = inside((wave - u(0.2, 0.5)) * 4) * inside(
        torch.minimum(cage + u(9, 12), -(cage + u(1.5, 3)))
    )
    hu = paint(hu, ribs, u(250, 700))
    breastbone = ellipsoid(space, (0, cage_d + wall * 0.5, root), (u(14, 22), u(6, 9), u(70, 100)))
    hu = paint(hu, inside(breastbone), u(120, 300))
    for sign in (1.0, -1.0):
        blade = ellipsoid(
            space,
            (sign * u(75, 105), back + u(-5, 15), apex - u(40, 80)),
            (u(35, 45), u(4, 7), u(50, 70)),
        )
        hu = paint(
            hu, inside(torch.minimum(torch.minimum(blade, body - 8), -(cage + 4))), u(250, 600)
        )
        collar = tube(
            space,
            (sign * 20, cage_d * 0.6, apex - u(0, 25)),
            (sign * u(110, 140), u(-10, 20), apex + u(-10, 25)),
            u(5, 8),
        )
        hu = paint(
            hu, inside(torch.minimum(torch.minimum(collar, body - 4), -(cage + 3))), u(300, 700)
        )

    # under the left dome: stomach with gas and contents; bowel below
    stomach = ellipsoid(
        space,
        (-u(35, 75), u(10, 40), base + lift * u(-0.4, 0.5)),
        (u(22, 48), u(20, 40), u(20, 45)),
    )
    stomach = torch.minimum(stomach, torch.minimum(cage - 3, -above - u(3, 6)))
    level = inside(y - u(-10, 50), 1.5)
    hu = paint(hu, inside(stomach), u(-20, 150) * (1 - level) - 1000 * level)
    for _ in range(random.integer(6)):
        gut = ellipsoid(
            space, (u(-110, 110), u(-30, 70), base - u(10, 130)), (u(12, 40), u(10, 30), u(10, 40))
        )
        gut = torch.minimum(gut, torch.minimum(-above - u(3, 8), body - 20)) + 1.5 * ragged
        hu = paint(hu, inside(gut), u(-1000, -850))

    # the lungs: parenchyma, vessels that thin out, fissures
    both = inside(right) + inside(left)
    air = u(-920, -730) + u(-0.4, 0.1) * y + 25 * lumps(random, 12.0)
    deep = (torch.maximum(right, left) / u(20, 40)).clamp(0, 1)
    for grain, thick in ((u(16, 24), 0.16), (u(10, 14), 0.2)):
        branch = torch.exp(
            -((lumps(random, grain) / thick) ** 2 + (lumps(random, grain) / thick) ** 2)
        )
        air = air + branch * (40 - air) * (0.35 + 0.65 * deep)
    for _ in range(2):
        plane = y * u(0.5, 0.9) + (z - root + u(-20, 40)) * u(0.5, 0.9) + 6 * bumps
        air = air + torch.exp(-((plane / 0.9) ** 2)) * u(30, 200)
    hu = paint(hu, both, air)
    hu = paint(hu, inside(airway + u(1.0, 2.0)) * (1 - both), 10.0)
    hu = paint(hu, inside(airway), -990.0)
    if random.chance(0.3):
        gullet = tube(
            space, (-u(0, 8), gullet_y - 8, 200.0), (-u(0, 10), gullet_y - 8, base), u(2, 6)
        )
        hu = paint(hu, inside(torch.minimum(gullet, -airway - 4)) * (1 - both), u(-1000, -600))
    hu = torch.where(z < u(-200, -150), torch.where(body > 0, hu, -1000.0), hu)
    outline = torch.maximum(body, arms)
    planes = [
        hu.clamp(-1024, 2000) + 1024,
        inside(right),
        inside(left),
        torch.zeros(SHAPE),
        inside(outline + 1),
    ]
    return Anatomy(
        name=f"phantom_{seed:03d}",
        channels=torch.stack([p.expand(SHAPE) for p in planes]).half(),
        spacing=SPACING,
        weight=1.0,
    )
