"""Outline, wall and cavities of the trunk: skin, fat, muscle, diaphragm, lungs, mediastinum."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from dicomnode.phantom.canvas import Canvas, Floats
from dicomnode.phantom.plan import Plan
from dicomnode.phantom.shapes import curve, paint_ellipsoid, paint_tube, superellipse
from dicomnode.phantom.structures import Organ


@dataclass(frozen=True, slots=True)
class Fields:
    """Distances in mm on the whole grid, positive inside, that later painters build upon."""

    cavity: Floats
    """To the inner wall of chest, abdomen and pelvis."""
    above: Floats
    """To the diaphragm, positive on the side of the chest."""
    body: Floats
    """To the skin."""


def paint_trunk(canvas: Canvas, plan: Plan) -> Fields:
    """Paint everything that is not an organ, and both lungs; return the distances."""
    x, z = canvas.x, canvas.z
    depth, width = plan.cavity_depth(z), plan.cavity_width(z)
    middle = plan.spine_y(z) + plan.cavity_back(z) - depth
    y = canvas.y - middle
    power = plan.power
    cavity = superellipse(x, y, width, depth, power) + 2.0 * canvas.coarse
    body, muscle = _outlines(canvas, plan, y, width, depth)
    muscle = np.maximum(muscle, np.minimum(cavity + 5, 3))
    body = np.maximum(body, muscle + 3)
    canvas.paint(Organ.SUBCUTANEOUS_FAT, body > 0)
    canvas.paint(Organ.SKIN, (body > 0) & (body < 2.0))
    between = (canvas.fine > 1.3 - 0.35 * plan.fat) & (cavity < -4)
    canvas.paint(Organ.MUSCLE, (muscle > 0) & ~between, over=(Organ.SUBCUTANEOUS_FAT,))
    above = z - _dome(canvas, plan)
    canvas.paint(Organ.VISCERAL_FAT, (cavity > 0) & (above <= 0))
    canvas.paint(Organ.MEDIASTINAL_FAT, (cavity > 0) & (above > 0))
    canvas.paint(Organ.DIAPHRAGM, (cavity > 0) & (above <= 0) & (above > -3.5))
    _paint_lungs(canvas, plan, cavity, above)
    _paint_thighs(canvas, plan)
    if plan.female:
        _paint_breasts(canvas, plan)
    return Fields(cavity=cavity, above=above, body=body)


def _outlines(
    canvas: Canvas, plan: Plan, y: Floats, width: Floats, depth: Floats
) -> tuple[Floats, Floats]:
    """Distances to the skin and to the outside of the muscles."""
    z = canvas.z
    wall = plan.wall(z) * plan.muscle
    shoulder = expit((z - 430) / 14) - expit((z - 505) / 7)
    neck = expit((z - 500) / 8)
    wide = np.maximum(width + wall * 1.15 + 62 * shoulder + 12 * neck, 60)
    deep = np.maximum(depth + wall * (0.85 + 0.15 * (z < 0)) + 8 * neck, 52)
    low = expit((-60 - z) / 18)
    wide = wide * (1 - low) + low * 158
    deep = deep * (1 - low) + low * 92
    behind = (24 - 8 * expit((z - 230) / 30)) * (1 - low) * plan.muscle
    deep = deep + behind / 2
    shift = behind / 2 - 0.1 * wall * low
    muscle = superellipse(canvas.x, y - shift, wide, deep, plan.power) + 2.5 * canvas.fine
    fat = plan.skin_fat(z)
    more = 1 + 0.5 * np.clip(y / deep, -1, 1) * (z < 250)
    power = plan.power + 0.1
    body = (
        superellipse(canvas.x, y - shift, wide + fat, deep + fat * 0.75 * more, power)
        + np.float32(2.0) * canvas.coarse
    )
    return np.asarray(body, np.float32), np.asarray(muscle, np.float32)


def _dome(canvas: Canvas, plan: Plan) -> Floats:
    """Height of the diaphragm over every (x, y)."""
    u = plan.rng.uniform
    x, y = canvas.x, canvas.y
    breath = u(-28, 14)
    flat = u(0.75, 1.15)
    top = np.where(x < 0, 288 + u(-5, 12), 276 + u(-10, 10)) + breath
    out = np.abs(x) - 66
    side = np.where(out > 0, 44 * (out / 70) ** 2, 22 * (out / 66) ** 2)
    at = y - (plan.back_wall(260) - 96)
    fore = np.where(at > 0, 80 * (at / 92) ** 2, 26 * (at / 90) ** 2)
    return np.asarray(
        np.maximum(top - flat * (side + fore), 165 + breath) + 3.0 * canvas.coarse, np.float32
    )


def _paint_lungs(canvas: Canvas, plan: Plan, cavity: Floats, above: Floats) -> None:
    u = plan.rng.uniform
    x, y, z = canvas.x, canvas.y, canvas.z
    apex = u(492, 508)
    waist = u(18, 23) + u(8, 16) * np.exp(-(((z - 372) / 34) ** 2))
    waist = waist + u(8, 14) * expit((z - 440) / 12)
    front = np.clip((-y + plan.back_wall(350) - 110) / 60, 0, 1)
    waist = waist * (1 - u(0.55, 0.9) * front)
    lung = np.minimum(cavity - 1.5, np.abs(x - u(-4, 6) * front) - waist - 2.0 * canvas.fine)
    lung = np.minimum(np.minimum(lung, above), apex - z + 2 * canvas.coarse)
    over = (Organ.MEDIASTINAL_FAT,)
    canvas.paint(Organ.LUNG_RIGHT, (lung > 0) & (x < 0), over=over)
    canvas.paint(Organ.LUNG_LEFT, (lung > 0) & (x >= 0), over=over)


def _paint_thighs(canvas: Canvas, plan: Plan) -> None:
    """Part the legs: air between the thighs below the crotch."""
    gap = np.clip((-148 - canvas.z) / 5, -8, 9 - 8 * plan.fat)
    canvas.paint(Organ.OUTSIDE, np.abs(canvas.x) < gap)


def _paint_breasts(canvas: Canvas, plan: Plan) -> None:
    u = plan.rng.uniform
    size = 0.7 + 0.6 * plan.fat
    height = u(330, 375)
    for side in (-1, 1):
        at = (side * u(66, 84), plan.front_wall(height) - 10, height)
        half = (u(48, 62) * size, u(24, 46) * size, u(50, 66) * size)
        paint_ellipsoid(
            canvas, Organ.SUBCUTANEOUS_FAT, at, half, lumps_mm=2, over=(Organ.OUTSIDE, Organ.SKIN)
        )
        gland = (half[0] * 0.6, half[1] * 0.75, half[2] * 0.6)
        paint_ellipsoid(
            canvas,
            Organ.BREAST,
            (at[0], at[1] - half[1] * 0.2, at[2]),
            gland,
            lumps_mm=5 + 6 * plan.age,
            over=(Organ.SUBCUTANEOUS_FAT,),
        )


def paint_arms(canvas: Canvas, plan: Plan) -> None:
    """Arms beside the trunk or, mostly, raised; their bones are `HUMERUS`."""
    u = plan.rng.uniform
    for side in (-1, 1):
        shoulder = [side * u(150, 168), plan.spine_y.at(470) - u(5, 25), u(462, 478)]
        if plan.arms_up:
            elbow = [side * u(165, 200), shoulder[1] - u(-20, 30), 640.0]
        else:
            out = plan.cavity_width.at(120) + plan.wall.at(120) + plan.skin_fat.at(120)
            elbow = [side * (out + u(45, 62)), plan.spine_y.at(150) - u(-20, 30), u(120, 190)]
        line = curve([shoulder, [(s + e) / 2 for s, e in zip(shoulder, elbow, strict=True)], elbow])
        thick = 34 + 16 * plan.fat
        paint_tube(canvas, Organ.ARM, line, thick, lumps_mm=1.5, over=(Organ.OUTSIDE,))
        if not plan.arms_up:
            hand = [elbow[0] * u(0.85, 1.0), elbow[1] - u(0, 40), elbow[2] - u(200, 250)]
            fore = curve([elbow, hand])
            paint_tube(canvas, Organ.ARM, fore, thick * 0.8, lumps_mm=1.5, over=(Organ.OUTSIDE,))
            for aside in (-9, 9):
                bone = np.asarray([elbow, hand]) + [aside, aside / 2, 0]
                paint_tube(canvas, Organ.HUMERUS, bone, 7.0, over=(Organ.ARM,))
