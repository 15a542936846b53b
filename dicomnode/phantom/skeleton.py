"""Bones, with marrow inside, and the muscles that lie along the spine."""

import numpy as np

from dicomnode.phantom.canvas import Canvas
from dicomnode.phantom.plan import Level, Plan
from dicomnode.phantom.shapes import Points, curve, paint_ellipsoid, paint_tube, turned_axes
from dicomnode.phantom.structures import FATS, MUSCLES, Organ, Tissue
from dicomnode.phantom.trunk import Fields

_SOFT = (
    *MUSCLES,
    *FATS,
    Organ.SUBCUTANEOUS_FAT,
    Organ.SPINAL_CANAL,
    Organ.LUNG_RIGHT,
    Organ.LUNG_LEFT,
    Organ.DISC,
    Organ.ARM,
)
_MARROW = Tissue.INNER


def paint_spine(canvas: Canvas, plan: Plan) -> None:
    """Muscles along the spine, then T1 to L5, discs, canal, sacrum."""
    _paint_long_muscles(canvas, plan)
    canal = [[0.0, _canal_y(plan, z), float(z)] for z in range(-60, 541, 20)]
    for level in reversed(plan.levels):
        _paint_arch(canvas, plan, level)
    _paint_sacrum(canvas, plan)
    paint_tube(canvas, Organ.SPINAL_CANAL, np.asarray(canal), plan.rng.uniform(8, 10), over=None)
    above = plan.levels[-1].top + 30
    neck = curve([[0, plan.spine_y.at(z), z] for z in (above - 28, above, above + 60)])
    paint_tube(canvas, Organ.VERTEBRA_T1, neck, 11.0, over=_SOFT, inner=(_MARROW, 2.5))
    for low, level in zip((None, *plan.levels[:-1]), plan.levels, strict=True):
        bottom = low.top if low else 0.0
        _paint_body(canvas, plan, level)
        _paint_disc(canvas, plan, level, bottom)


def _canal_y(plan: Plan, z: float) -> float:
    return plan.spine_y.at(z) + 16.5 - 4.5 * min(max(z / 490, 0), 1) + 8


def _paint_long_muscles(canvas: Canvas, plan: Plan) -> None:
    u, m = plan.rng.uniform, plan.muscle
    for side in (-1, 1):
        back = [
            [side * (30 if z < 200 else 24), plan.spine_y.at(z) + (46 if z < 200 else 38), z]
            for z in range(-70, 521, 30)
        ]
        size = np.array([(24 if p[2] < 200 else 17 if p[2] < 420 else 15) * m for p in back])
        size[:2] *= 0.6
        line = np.asarray(back, np.float64)
        paint_tube(canvas, Organ.PARASPINAL_MUSCLE, line, size, lumps_mm=1.5, over=_SOFT)
        paint_tube(
            canvas,
            Organ.PARASPINAL_MUSCLE,
            line + [side * 14, -1, 0],
            size * 0.72,
            lumps_mm=1.5,
            over=_SOFT,
        )
        loin = np.asarray(
            [[side * x, plan.spine_y.at(z) + 24, z] for x, z in ((58, 25), (60, 80), (50, 165))]
        )
        paint_tube(canvas, Organ.MUSCLE, curve(loin), 13 * m, over=FATS)
        belly = curve(
            [
                plan.before_spine(side * 24, -18, 178) + [6.0 * m],
                plan.before_spine(side * 34, -16, 120) + [14.0 * m],
                plan.before_spine(side * 44, -12, 60) + [19.0 * m],
                [side * 56.0, plan.spine_y.at(0) - 22, 0.0, 19.0 * m],
                [side * 78.0, plan.spine_y.at(0) - 55, -60.0, 17.0 * m],
                [side * u(95, 102), plan.spine_y.at(0) - 35, -140.0, 12.0 * m],
            ]
        )
        paint_tube(canvas, Organ.PSOAS, belly, np.maximum(belly[:, 3], 3), lumps_mm=1, over=_SOFT)


def _paint_body(canvas: Canvas, plan: Plan, level: Level) -> None:
    x, z = 0.0, level.middle
    y = plan.spine_y.at(z)
    half = (level.half_width, level.half_depth, (level.top - level.bottom) / 2)
    box = canvas.box(
        (x - half[0] - 4, y - half[1] - 4, level.bottom - 3),
        (x + half[0] + 4, y + half[1] + 4, level.top + 3),
    )
    if box is None:
        return
    dz = np.abs(canvas.z[box] - np.float32(z))
    waist = 1 - 0.1 * np.clip(1 - (dz / half[2]) ** 2, 0, 1)
    dx = np.abs(canvas.x[box]) / (half[0] * waist)
    dy = np.abs(canvas.y[box] - np.float32(y)) / (half[1] * waist)
    ring = (1 - (dx**2.6 + dy**2.3) ** 0.4) * half[1]
    field = np.minimum(ring, half[2] - dz) + np.float32(0.4) * canvas.fine[box]
    canvas.paint(level.organ, field > 0, box, over=(*_SOFT, *_near(level.organ)))
    canvas.paint(level.organ, field > 2.2, box, over=(level.organ,), tissue=_MARROW)


def _near(organ: Organ) -> tuple[Organ, ...]:
    return tuple(Organ(c) for c in (int(organ) - 1, int(organ) + 1) if 70 <= c <= 86)


def _paint_disc(canvas: Canvas, plan: Plan, level: Level, bottom: float) -> None:
    z = (bottom + level.bottom) / 2
    half = (level.half_width * 1.02, level.half_depth * 1.02, level.bottom - bottom + 4)
    paint_ellipsoid(canvas, Organ.DISC, (0, plan.spine_y.at(z), z), half, over=_SOFT)


def _paint_arch(canvas: Canvas, plan: Plan, level: Level) -> None:
    lumbar = level.organ >= Organ.VERTEBRA_L1
    z, y = level.middle, plan.spine_y.at(level.middle)
    rear = y + level.half_depth
    size = 5.0 if lumbar else 4.0
    droop = 8 if lumbar else 24
    length = 34 if lumbar else 26
    spur = np.asarray([[0, rear + 19, z - 3], [0, rear + 19 + length, z - 3 - droop]], np.float64)
    tubes: list[tuple[Points, float]] = [(spur, size)]
    for side in (-1, 1):
        root = [side * (level.half_width * 0.72), rear - 2, z + 4]
        joint = [side * (14 if lumbar else 13), rear + 15, z - 2]
        roof = [0.0, rear + 20, z - 4]
        tip = [side * (38 if lumbar else 31), rear + (14 if lumbar else 24), z + 2]
        tubes.append((np.asarray([root, joint, roof], np.float64), size))
        tubes.append((np.asarray([root, tip], np.float64), size * 0.8))
        facet = np.asarray([[joint[0], joint[1], z + 13], [joint[0], joint[1] + 2, z - 14]])
        tubes.append((facet, size))
    for points, radius in tubes:
        paint_tube(canvas, level.organ, points, radius, over=_SOFT, inner=(_MARROW, 2.4))


def _paint_sacrum(canvas: Canvas, plan: Plan) -> None:
    for z in np.arange(-2.0, -118.0, -7.0):
        share = -z / 118
        wide = 52 - 38 * share if share > 0.1 else 48
        half = (wide, 19 - 12 * share, 12.0)
        at = (0.0, plan.spine_y.at(z) + 4 + 6 * share, z - 4)
        paint_ellipsoid(
            canvas, Organ.SACRUM, at, half, over=(*_SOFT, Organ.SACRUM), inner=(_MARROW, 2.6)
        )


def rib_line(plan: Plan, number: int, side: int, drop: float) -> Points:
    """Middle line of a rib from the spine to its front end, in the plane of the cage."""
    level = plan.levels[17 - number]
    share = (number - 1) / 11
    reach = {11: 1.75, 12: 1.25}.get(number, 2.75 - 0.05 * max(number - 7, 0))
    turn = np.linspace(0.28, reach, 26)
    fall = drop * (22 + 62 * np.sin(share * np.pi * 0.85)) * (1 - np.cos(turn)) / 1.6
    points = []
    for angle, down in zip(turn, fall, strict=True):
        z = level.middle + 6 - down
        width, depth = plan.cavity_width.at(z) + 5.5, plan.cavity_depth.at(z) + 5.5
        middle = plan.back_wall(z) - depth + 5.5
        p = 2 / plan.power
        x = np.sin(angle)
        y = np.cos(angle)
        points.append([side * width * abs(x) ** p, middle + depth * np.sign(y) * abs(y) ** p, z])
    head = [side * (level.half_width + 2), plan.spine_y.at(level.middle) + 8, level.middle + 8]
    return np.asarray([head, *points])


def paint_cage(canvas: Canvas, plan: Plan) -> None:
    """Ribs, cartilages, breastbone, collar bones, shoulder blades."""
    u = plan.rng.uniform
    drop, thick = u(0.8, 1.25), u(4.2, 5.4)
    chest = plan.front_wall
    for side in (-1, 1):
        for number in range(1, 13):
            line = rib_line(plan, number, side, drop)
            size = np.full(len(line), thick * (0.85 if number in (1, 11, 12) else 1.0))
            paint_tube(canvas, Organ.RIBS, line, size, over=_SOFT, inner=(_MARROW, 2.0))
            if number <= 10:
                end = line[-1]
                z = 455 - 17.5 * min(number, 8) + 2 * max(number - 8, 0)
                goal = [side * (16 + 3 * max(number - 7, 0)), chest(z) - 6, z]
                half = [(end[0] + goal[0]) / 2, min(end[1], goal[1]) - 2, end[2] * 0.6 + z * 0.4]
                paint_tube(
                    canvas, Organ.COSTAL_CARTILAGE, curve([end, half, goal]), 5.0, over=_SOFT
                )
        collar = curve(
            [
                [side * 22, chest(465) - 2, 466],
                [side * 75, chest(465) - 4, 478],
                [side * 125, plan.spine_y.at(470) - 22, 488],
            ]
        )
        paint_tube(
            canvas,
            Organ.CLAVICLE,
            collar,
            u(5.5, 7),
            over=(*_SOFT, Organ.SKIN),
            inner=(_MARROW, 2.6),
        )
        _paint_shoulder(canvas, plan, side)
    bone = [[0, chest(z) - 6.0, z] for z in (462, 440, 400, 350, 318)]
    for x in (-11, -4, 4, 11):
        paint_tube(
            canvas,
            Organ.STERNUM,
            np.asarray(bone, np.float64) + [x, 0, 0],
            np.array([8, 7, 6, 6, 4.0]),
            over=(*_SOFT, Organ.COSTAL_CARTILAGE),
            inner=(_MARROW, 2.0),
        )


def _paint_shoulder(canvas: Canvas, plan: Plan, side: int) -> None:
    u = plan.rng.uniform
    y = plan.back_wall(420)
    blade = turned_axes([side * 0.72, -0.55, 0.25], [0.1, 0.1, -1])
    at = (side * u(84, 96), y + 8, u(412, 424))
    paint_ellipsoid(
        canvas, Organ.SCAPULA, at, (38, 62, 5), axes=blade, over=_SOFT, inner=(_MARROW, 2.2)
    )
    spine = np.asarray([[side * 70, y + 26, 440], [side * 140, y - 22, 486]], np.float64)
    paint_tube(canvas, Organ.SCAPULA, spine, 6.5, over=_SOFT, inner=(_MARROW, 2.4))
    head = [side * 148.0, plan.spine_y.at(470) - 20, 464.0]
    socket = np.asarray([[side * 112, head[1] + 16, 452], [side * 124, head[1] + 3, 462]])
    paint_tube(canvas, Organ.SCAPULA, socket, 11, over=_SOFT, inner=(_MARROW, 3))
    over = (*_SOFT, Organ.SKIN)
    paint_ellipsoid(
        canvas,
        Organ.HUMERUS,
        (head[0], head[1], head[2]),
        (23, 23, 23),
        over=over,
        inner=(_MARROW, 3),
    )
    far = 200.0 if plan.arms_up else 175.0
    shaft = np.asarray([head, [side * far, head[1] - 5, 640.0 if plan.arms_up else 250.0]])
    paint_tube(canvas, Organ.HUMERUS, shaft, 12, over=over, inner=(_MARROW, 4))


def paint_pelvis(canvas: Canvas, plan: Plan, fields: Fields) -> None:
    """Hip bones, femora and the muscles around them."""
    u, y0 = plan.rng.uniform, plan.spine_y.at(0)
    hip_x, hip_y, hip_z = u(86, 93), y0 - 38, u(-92, -82)
    box = canvas.box((-190, -140, -75), (190, 140, 72))
    if box is not None:
        x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
        behind = (y - (y0 - 60)) / 90
        crest = 58 - 30 * (behind - 0.45) ** 2 * 3
        wing = -fields.cavity[box] - 8
        thick = 5.5 + 3.5 * np.clip(-z / 60, 0, 1)
        bone = thick - np.abs(wing - thick)
        bone = np.minimum(np.minimum(bone, (crest - z) * 0.7), (behind + 0.16) * 60)
        bone = np.minimum(bone, (np.abs(x) - 38) * 0.7)
        bone = np.minimum(bone, (z + 72) * 1.0)
        canvas.paint(Organ.HIP_BONE, bone > 0, box, over=_SOFT)
        canvas.paint(Organ.HIP_BONE, bone > 2.4, box, over=(Organ.HIP_BONE,), tissue=_MARROW)
    for side in (-1, 1):
        hip = np.array([side * hip_x, hip_y, hip_z])
        paint_ellipsoid(
            canvas,
            Organ.HIP_BONE,
            (hip[0] * 0.94, hip[1] + 4, hip[2] + 4),
            (31, 33, 35),
            over=_SOFT,
            inner=(_MARROW, 3.5),
        )
        knob = [side * 52, y0 + 8, hip_z - 72]
        pubis = [side * 7.0, hip_y - 38, hip_z - 22]
        low = [side * 26, hip_y - 16, hip_z - 52]
        for points, radius in (
            ([hip * [0.8, 1, 1] + [0, -8, -6], pubis], 10.0),
            ([hip * [0.92, 1, 1] + [0, 18, -10], knob], 13.0),
            ([knob, low, pubis], 8.0),
        ):
            paint_tube(
                canvas,
                Organ.HIP_BONE,
                np.asarray(points, np.float64),
                radius,
                over=_SOFT,
                inner=(_MARROW, 2.8),
            )
        _paint_femur(canvas, plan, side, hip)


def _paint_femur(canvas: Canvas, plan: Plan, side: int, hip: Points) -> None:
    u = plan.rng.uniform
    gap = (*_SOFT, Organ.HIP_BONE)
    at = (float(hip[0]), float(hip[1]), float(hip[2]))
    size = u(22, 25)
    paint_ellipsoid(canvas, Organ.MUSCLE, at, (size + 3,) * 3, over=gap)
    paint_ellipsoid(canvas, Organ.FEMUR, at, (size,) * 3, over=_SOFT, inner=(_MARROW, 2.5))
    knob = np.array([side * u(128, 138), hip[1] + 12, hip[2] - 22])
    shaft = curve([knob, [knob[0] - side * 6, hip[1] + 6, hip[2] - 70], [side * 112, hip[1], -260]])
    over = (*_SOFT, Organ.FEMUR, Organ.SKIN)
    neck = np.asarray([hip, knob])
    paint_tube(canvas, Organ.FEMUR, shaft, 15, over=over, inner=(_MARROW, 5.0))
    paint_tube(canvas, Organ.FEMUR, neck, np.array([17, 18.0]), over=over, inner=(_MARROW, 3.0))
