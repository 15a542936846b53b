"""Liver, spleen, kidneys, adrenals, pancreas and the vessels between them."""

import numpy as np

from dicomnode.phantom.canvas import Canvas
from dicomnode.phantom.plan import Plan
from dicomnode.phantom.shapes import (
    Points,
    curve,
    ellipsoid_field,
    paint_ellipsoid,
    paint_tube,
    turned_axes,
)
from dicomnode.phantom.structures import Organ, Tissue
from dicomnode.phantom.trunk import Fields

_FAT = (Organ.VISCERAL_FAT,)
_SOFT = (*_FAT, Organ.DIAPHRAGM)


def paint_solid_organs(canvas: Canvas, plan: Plan, fields: Fields) -> dict[int, Points]:
    """Kidneys, adrenals, liver, gallbladder, spleen; return where the kidneys are."""
    kidneys = {side: _paint_kidney(canvas, plan, side) for side in (-1, 1)}
    _paint_adrenals(canvas, kidneys)
    _paint_liver(canvas, plan, fields, kidneys)
    if Organ.SPLEEN not in plan.missing:
        _paint_spleen(canvas, plan, fields, kidneys)
    return kidneys


def _paint_kidney(canvas: Canvas, plan: Plan, side: int) -> Points:
    u = plan.rng.uniform
    organ = Organ.KIDNEY_RIGHT if side < 0 else Organ.KIDNEY_LEFT
    z = u(118, 152) + (12 if side > 0 else 0)
    y = plan.spine_y.at(z) + u(-6, 10) - 6 * plan.belly
    at = np.array([side * u(54, 68) * (1 + 0.08 * plan.belly), y, z])
    if organ in plan.missing:
        return at
    size = u(0.85, 1.12) * (1 - 0.12 * plan.age * u(0, 1))
    axes = turned_axes([side * 0.25, -0.2, -1.0], [side * 0.75, 0.65, 0])
    half = (56 * size, 29 * size, 24 * size)
    place = (float(at[0]), float(at[1]), float(at[2]))
    over = (*_SOFT, Organ.PSOAS, Organ.MUSCLE)
    paint_ellipsoid(
        canvas,
        organ,
        place,
        half,
        axes=axes,
        lumps_mm=u(0.6, 2.0),
        over=over,
        inner=(Tissue.INNER, 6.5),
    )
    inward = at - axes[1] * 15 * size
    hilum = (float(inward[0]), float(inward[1]), float(inward[2]))
    sinus = (26 * size * u(0.8, 1.2), 13 * size * u(0.8, 1.3), 10 * size)
    paint_ellipsoid(
        canvas, organ, hilum, sinus, axes=axes, lumps_mm=2.5, over=(organ,), tissue=Tissue.FATTY
    )
    wet = u(0.35, 0.6) if plan.rng.random() > 0.06 else u(0.9, 1.2)
    pelvis = (sinus[0] * wet, sinus[1] * wet, sinus[2] * wet)
    paint_ellipsoid(
        canvas, organ, hilum, pelvis, axes=axes, over=(organ,), tissue=Tissue.COLLECTING
    )
    if plan.rng.random() < 0.12 + 0.3 * plan.age:
        for _ in range(int(plan.rng.integers(1, 4))):
            way = plan.rng.normal(0, 1, 3)
            edge = at + (way / np.linalg.norm(way) * np.asarray(half) * 0.8) @ axes
            r = u(4, 18)
            paint_ellipsoid(
                canvas,
                organ,
                (float(edge[0]), float(edge[1]), float(edge[2])),
                (r, r, r),
                over=(*_FAT, organ),
                tissue=Tissue.COLLECTING,
            )
    return at


def _paint_adrenals(canvas: Canvas, kidneys: dict[int, Points]) -> None:
    for side, kidney in kidneys.items():
        organ = Organ.ADRENAL_RIGHT if side < 0 else Organ.ADRENAL_LEFT
        top = np.array([side * 30.0, kidney[1] - 12, kidney[2] + 52])
        for way in ([8, 14, -20], [-2, 16, -18]):
            end = top + [side * way[0], way[1], way[2]]
            paint_tube(canvas, organ, np.stack([top, end]), 3.8, lumps_mm=0.5, over=_SOFT)


def _paint_liver(canvas: Canvas, plan: Plan, fields: Fields, kidneys: dict[int, Points]) -> None:
    u = plan.rng.uniform
    box = canvas.box((-175, -190, 20), (125, 140, 330))
    if box is None:
        return
    x, y, z = canvas.x[box], canvas.y[box], canvas.z[box]
    low, slope = u(88, 160), u(0.3, 0.75)
    left_end = u(28, 92)
    field = np.minimum(fields.cavity[box] - 3.5, -fields.above[box] - 3.0)
    floor = low + slope * (x + 118) + u(10, 26) * np.clip((y + 20) / 70, -0.6, 1.2)
    floor = floor + np.clip(x + 10, 0, None) * u(-0.45, -0.1)
    field = np.minimum(field, (z - floor) * 0.75 + 4 * canvas.coarse[box])
    field = np.minimum(field, left_end - x - np.clip(y + 30, 0, None) * 0.5 + 6 * canvas.fine[box])
    back = np.where(x > -40, plan.spine_y.at(230) - 45 - (x + 40) * u(0.35, 0.7), 200)
    field = np.minimum(field, (back - y) * 0.8)
    column = 44 - np.hypot(x, y - np.float32(plan.spine_y.at(220) + 5))
    field = np.minimum(field, -column)
    kidney = ellipsoid_field(
        canvas, box, tuple(kidneys[-1]), (34.0 + 8 * plan.belly, 34.0 + 8 * plan.belly, 62.0)
    )
    field = np.minimum(field, -kidney)
    field = field + canvas.fine[box]
    canvas.paint(Organ.LIVER, field > 0, box, over=_SOFT)
    _paint_liver_vessels(canvas, plan)
    if Organ.GALLBLADDER not in plan.missing:
        axes = turned_axes([-0.3, -0.5, -0.8], [1, 0, 0])
        at = (u(-62, -42), plan.front(180) - u(48, 66), low + slope * 70 - u(0, 18))
        half = (u(22, 38), u(10, 18), u(10, 18))
        paint_ellipsoid(
            canvas,
            Organ.GALLBLADDER,
            at,
            half,
            axes=axes,
            over=(*_FAT, Organ.LIVER),
            inner=(Tissue.INNER, 1.6),
        )


def _paint_liver_vessels(canvas: Canvas, plan: Plan) -> None:
    rng = plan.rng
    gate = np.array([-38.0, plan.front(212) - 44, 212.0])
    cava = np.array([-26.0, plan.front(262) - 44, 258.0])
    tips = []
    for way in ([-1, 0.3, -0.3], [-0.9, 0.2, 0.6], [-0.5, -0.7, -0.2], [0.7, -0.8, 0.25]):
        tips.append((gate, np.asarray(way) / np.linalg.norm(way), 5.0, 34.0))
    for way in ([-1, 0.1, -0.35], [-0.3, -1, -0.5], [0.8, -0.8, -0.1]):
        tips.append((cava, np.asarray(way) / np.linalg.norm(way), 4.8, 36.0))
    for _ in range(3):
        grown = []
        for start, way, radius, length in tips:
            end = start + way * length * rng.uniform(0.8, 1.2)
            paint_tube(
                canvas,
                Organ.LIVER,
                np.stack([start, end]),
                np.array([radius, radius * 0.75]),
                over=(Organ.LIVER,),
                tissue=Tissue.VESSEL,
            )
            for _ in range(2):
                turned = way + rng.normal(0, 0.45, 3)
                grown.append((end, turned / np.linalg.norm(turned), radius * 0.7, length * 0.8))
        tips = grown


def _paint_spleen(canvas: Canvas, plan: Plan, fields: Fields, kidneys: dict[int, Points]) -> None:
    u = plan.rng.uniform
    size = u(0.78, 1.15) if plan.rng.random() < 0.85 else u(1.2, 1.7)
    z = u(188, 216) - 14 * (size - 1)
    wide = plan.cavity_width.at(z)
    at = (wide * u(0.66, 0.86), plan.back_wall(z) - u(36, 60), z)
    axes = turned_axes([0.35, -0.65, -0.75], [0.8, 0.6, 0])
    half = (60 * size, 36 * size, 44 * size)
    box = canvas.box(
        (at[0] - half[0], at[1] - half[0], at[2] - half[0]),
        (at[0] + half[0], at[1] + half[0], at[2] + half[0]),
    )
    if box is None:
        return
    field = ellipsoid_field(canvas, box, at, half, axes)
    field = np.minimum(field, np.minimum(fields.cavity[box] - 3.5, -fields.above[box] - 3.0))
    kidney = ellipsoid_field(canvas, box, tuple(kidneys[1]), (32.0, 32.0, 60.0))
    field = np.minimum(field, -kidney) + 1.5 * canvas.fine[box]
    canvas.paint(Organ.SPLEEN, field > 0, box, over=_SOFT)


def pancreas_line(plan: Plan) -> Points:
    """Points and radius from the head to the tail; drawn once a plan."""
    u = plan.rng.uniform
    rise, ahead = u(-16, 18), u(-4, 10) + 14 * plan.belly
    tail_x, tail_up = u(58, 98), u(4, 52)
    thin = u(1.1, 1.65) * (1 - 0.28 * plan.age)
    bend = u(-10, 10)
    points = [
        [*plan.before_spine(-31 + u(-5, 5), 20 + ahead * 0.6, 112 + rise + u(-8, 6)), 9.0],
        [*plan.before_spine(-30 + u(-5, 5), 27 + ahead * 0.8, 133 + rise), 14.0],
        [*plan.before_spine(-18, 38 + ahead, 147 + rise), 11.5],
        [*plan.before_spine(-1, 48 + ahead, 155 + rise), 8.5],
        [*plan.before_spine(20, 48 + ahead, 161 + rise + bend * 0.4), 9.5],
        [*plan.before_spine(42, 34 + ahead, 167 + rise + bend), 10.0],
        [*plan.before_spine((42 + tail_x) / 2 + 4, 14 + ahead, 171 + rise + tail_up * 0.5), 9.5],
        [*plan.before_spine(tail_x, -4 + ahead, 176 + rise + tail_up), 6.5],
    ]
    line = curve(points, 6.0)
    line[:, 3] = np.clip(line[:, 3], 4.5, None) * thin
    return line


def paint_pancreas(canvas: Canvas, plan: Plan, line: Points) -> None:
    """The pancreas with fat between its lobules; splenic and portal veins behind it."""
    u = plan.rng.uniform
    over = (*_SOFT, Organ.VEIN)
    if Organ.PANCREAS not in plan.missing:
        paint_tube(canvas, Organ.PANCREAS, line, line[:, 3], lumps_mm=u(1.2, 2.4), over=over)
        hook = np.stack([line[1, :3], line[1, :3] + [14, 9, -6]])
        paint_tube(canvas, Organ.PANCREAS, hook, np.array([10.0, 6.0]), lumps_mm=1.2, over=over)
        box = canvas.box((-70, -190, 80), (130, 110, 260))
        if box is not None:
            fatty = canvas.fine[box] + 0.6 * canvas.coarse[box] > u(0.6, 2.6) - 1.1 * plan.age
            canvas.paint(Organ.PANCREAS, fatty, box, over=(Organ.PANCREAS,), tissue=Tissue.FATTY)
    body = line[len(line) // 2 :, :3]
    behind = body + np.stack([0 * body[:, 0], line[len(line) // 2 :, 3] * 0.9, 0 * body[:, 0]], 1)
    meeting = line[len(line) // 2 - 2, :3] + [-8, 14, -2]
    splenic = np.concatenate([[meeting], behind[1:], [body[-1] + [16, 8, 12]]])
    room = (*_SOFT, Organ.PANCREAS, Organ.LIVER)
    paint_tube(canvas, Organ.PORTAL_VEIN, splenic, u(3.6, 5.5), over=room)
    gate = [-38.0, plan.front(212) - 44, 212.0]
    portal = curve([meeting, (meeting + gate) / 2 + [-4, 2, 0], gate])
    paint_tube(canvas, Organ.PORTAL_VEIN, portal, u(6, 8), over=room)
    root = [-8.0, plan.front(60) - 40 - 16 * plan.belly, 60.0]
    mesenteric = curve([meeting, meeting + [-2, -6, -30], root])
    paint_tube(canvas, Organ.VEIN, mesenteric, 5.4, over=room)


def paint_abdominal_arteries(
    canvas: Canvas, plan: Plan, kidneys: dict[int, Points], line: Points
) -> None:
    """Coeliac and mesenteric trunks with their first branches, vessels of the kidneys."""
    u = plan.rng.uniform
    room = (*_SOFT, Organ.PANCREAS)
    trunk = np.asarray([plan.before_spine(5, a, 182 - a * 0.1) for a in (14, 32, 44)])
    paint_tube(canvas, Organ.ARTERY, trunk, 4.0, over=room)
    tail = line[len(line) // 2 :, :3] + [0, 2, 9]
    wavy = tail + plan.rng.normal(0, 4.0, tail.shape)
    paint_tube(canvas, Organ.ARTERY, np.concatenate([trunk[-1:], wavy]), 2.9, over=room)
    liver = curve([trunk[-1], [-14, trunk[-1][1] - 6, 182], [-38, plan.front(206) - 50, 204]])
    paint_tube(canvas, Organ.ARTERY, liver, 2.8, over=room)
    lower = [plan.before_spine(6, a, z) for a, z in ((14, 166), (28, 152), (34, 120))]
    lower.append([2, plan.front(60) - 38 - 16 * plan.belly, 55])
    paint_tube(canvas, Organ.ARTERY, curve(lower), 3.6, over=_SOFT)
    for side, kidney in kidneys.items():
        name = Organ.KIDNEY_RIGHT if side < 0 else Organ.KIDNEY_LEFT
        if name in plan.missing:
            continue
        hilum = kidney - [side * 22, 6, 0]
        start = plan.before_spine(side * 8 + 4, 11, 150)
        paint_tube(canvas, Organ.ARTERY, curve([start, hilum]), 2.8, over=(*_SOFT, Organ.PSOAS))
        root = plan.before_spine(-18 if side < 0 else -6, 24 if side > 0 else 14, 146)
        vein = [root, plan.before_spine(side * 24, 22, 145), list(hilum + [0, -4, -2])]
        paint_tube(canvas, Organ.VEIN, curve(vein), u(4, 6), over=(*_SOFT, Organ.PSOAS))
