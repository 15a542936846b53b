"""Stomach, duodenum, small and large bowel with what is inside; organs of the pelvis."""

import numpy as np

from dicomnode.phantom.canvas import Canvas
from dicomnode.phantom.plan import Plan
from dicomnode.phantom.shapes import Points, curve, paint_ellipsoid, paint_tube
from dicomnode.phantom.structures import Organ, Tissue

_FAT = (Organ.VISCERAL_FAT,)
_SOFT = (*_FAT, Organ.DIAPHRAGM)


def paint_stomach_and_duodenum(canvas: Canvas, plan: Plan, head: Points) -> None:
    """From the gullet's end to the duodenum around `head`, the head of the pancreas (x, y, z)."""
    u = plan.rng.uniform
    full = u(0.45, 1.15)
    front = plan.front_wall(190)
    ylow = front + u(28, 42)
    y = plan.front(200)
    gate = np.array([head[0] - 4, (head[1] + ylow) / 2 - 4, head[2] + u(18, 30)])
    if Organ.STOMACH not in plan.missing:
        line = curve(
            [
                [20, plan.front(252) - 42, 254, 9],
                [u(48, 62), y + u(-20, 12), u(244, 262), 40 * full],
                [u(58, 76), (y + ylow) / 2 - 6, u(206, 226), 37 * full],
                [u(44, 66), ylow, u(168, 196), 29 * full],
                [u(8, 26), ylow + 3, u(138, 166), 21 * full + 4],
                [*gate, 10],
            ]
        )
        size = np.clip(line[:, 3], 8, None)
        paint_tube(
            canvas,
            Organ.STOMACH,
            line,
            size,
            lumps_mm=2.0,
            over=_SOFT,
            inner=(Tissue.INNER, u(3.2, 5.0)),
        )
    ahead = plan.front(head[2] - 36)
    loop = curve(
        [
            [*gate, 11],
            [head[0] - 20, head[1] - 4, head[2] + 12, 13],
            [head[0] - 25, head[1] + 4, head[2] - 12, 13],
            [head[0] - 16, head[1] + 8, head[2] - 34, 13],
            [-4, ahead - 30, head[2] - 42, 11],
            [20, ahead - 28, head[2] - 32, 12],
            [34, ahead - 40, head[2] + u(-12, 8), 12],
        ]
    )
    wide = loop[:, 3] * u(0.72, 1.15)
    paint_tube(
        canvas, Organ.DUODENUM, loop, wide, lumps_mm=1.2, over=_SOFT, inner=(Tissue.INNER, 2.6)
    )


def paint_colon(canvas: Canvas, plan: Plan) -> Points:
    """The colon with its folds, filled or collapsed by stretch; return its middle line."""
    u, w = plan.rng.uniform, plan.cavity_width.at(100)
    hang = u(0, 60)

    def front(z: float, gap: float) -> float:
        return plan.front_wall(z) + gap

    points = [
        [-w * 0.62, front(10, 60), 8, 27],
        [-w * 0.74, plan.spine_y.at(60) - 18, 55, 25],
        [-w * 0.76, plan.spine_y.at(110) - 20, 105, 22],
        [-w * 0.6, front(120, 62), 132, 21],
        [-w * 0.3, front(120, 32), 126 - hang * 0.6, 20],
        [0, front(110, 28), 122 - hang, 19],
        [w * 0.35, front(140, 32), 142 - hang * 0.5, 19],
        [w * 0.66, front(180, 62), 190, 19],
        [w * 0.82, plan.spine_y.at(200) - 24, u(196, 222), 18],
        [w * 0.86, plan.spine_y.at(140) - 2, 140, 15],
        [w * 0.82, plan.spine_y.at(60) - 14, 60, 14],
        [w * 0.62, plan.spine_y.at(0) - 40, -5, 14],
        [w * 0.25, plan.spine_y.at(0) - 60 - u(0, 30), u(-25, 20), 14],
        [-u(0, 30), plan.spine_y.at(-30) - 50, u(-35, 10), 14],
        [0, plan.spine_y.at(-50) - 32, -58, 15],
        [0, plan.spine_y.at(-90) - 28, -92, 17],
        [0, plan.spine_y.at(-120) - 22, -135, 11],
    ]
    line = curve(plan.jitter(points, 5.0).tolist(), 6.0)
    along = np.arange(len(line))
    stretch = np.interp(along, np.linspace(0, len(line), 9), u(0.6, 1.4, 9))
    folds = 1 + 0.16 * np.sin(along * 1.5)
    size = np.clip(line[:, 3] * stretch * folds, 7, 42)
    paint_tube(
        canvas, Organ.COLON, line, size, lumps_mm=1.5, over=_FAT, inner=(Tissue.INNER, u(2.0, 3.2))
    )
    return np.concatenate([line[:, :3], size[:, None]], axis=1)


def paint_small_bowel(canvas: Canvas, plan: Plan) -> None:
    """Loops wherever the belly has room left, each of its own width."""
    rng, u = plan.rng, plan.rng.uniform
    loops = int(rng.integers(12, 30) * (1 + 0.3 * plan.belly))
    top = u(120, 165)
    for _ in range(loops):
        z = u(-55, top)
        wide = plan.cavity_width.at(z) * 0.72
        y0, y1 = plan.front_wall(z) + 20, plan.front(z) - 16
        at = np.array([u(-wide, wide), u(min(y0, y1 - 10), y1), z])
        way = rng.normal(0, 1, 3)
        points = [at]
        for _ in range(int(rng.integers(5, 11))):
            way = way + rng.normal(0, 0.9, 3)
            way = way / np.linalg.norm(way)
            at = at + way * 17
            z = float(np.clip(at[2], -60, top))
            at[2] = z
            wide = plan.cavity_width.at(z) * 0.78
            at[0] = np.clip(at[0], -wide, wide)
            at[1] = np.clip(at[1], plan.front_wall(z) + 17, max(plan.front(z) - 14, -200))
            points.append(at.copy())
        size = u(9, 15) if rng.random() < 0.85 else u(15, 24)
        paint_tube(
            canvas,
            Organ.SMALL_BOWEL,
            curve([p.tolist() for p in points], 7.0),
            size,
            lumps_mm=1.2,
            over=_FAT,
            inner=(Tissue.INNER, u(2.4, 5.0)),
        )


def paint_pelvic_organs(canvas: Canvas, plan: Plan) -> None:
    """Bladder, prostate or uterus."""
    u = plan.rng.uniform
    y = plan.spine_y.at(0) - 72
    size = u(0.4, 1.35)
    at = (u(-6, 6), y, -78 + 22 * size)
    half = (40 * size, 32 * size, 30 * size)
    paint_ellipsoid(
        canvas,
        Organ.BLADDER,
        at,
        half,
        lumps_mm=1.0,
        over=_FAT,
        inner=(Tissue.INNER, 2.5 + 2 * (1.3 - size)),
    )
    if plan.female:
        if Organ.UTERUS not in plan.missing:
            womb = (u(-10, 10), y + 36, u(-66, -50))
            paint_ellipsoid(
                canvas, Organ.UTERUS, womb, (u(20, 30), u(18, 26), u(24, 36)), lumps_mm=2, over=_FAT
            )
    elif Organ.PROSTATE not in plan.missing:
        gland = (0.0, y + 10, -112.0)
        over = (*_FAT, Organ.MUSCLE, Organ.SUBCUTANEOUS_FAT)
        paint_ellipsoid(
            canvas, Organ.PROSTATE, gland, (u(18, 28), u(14, 22), u(16, 24)), lumps_mm=1, over=over
        )
