"""Heart, great vessels, airways, gullet and what branches inside the lungs."""

import numpy as np

from dicomnode.phantom.canvas import Canvas
from dicomnode.phantom.plan import Plan
from dicomnode.phantom.shapes import Points, curve, paint_ellipsoid, paint_tube, turned_axes
from dicomnode.phantom.structures import FATS, LUNGS, Organ, Tissue

_ROOM = (*FATS, *LUNGS)


def paint_chest(canvas: Canvas, plan: Plan, detail: bool) -> None:
    """Paint the organs between the lungs; `detail`: vessels and bronchi within lungs too."""
    _paint_heart(canvas, plan)
    _paint_aorta(canvas, plan)
    hila = _paint_lung_roots(canvas, plan)
    _paint_veins(canvas, plan)
    _paint_airways(canvas, plan, hila)
    if detail:
        for side, hilum in hila.items():
            _paint_lung_vessels(canvas, plan, side, hilum)


def heart_centre(plan: Plan) -> Points:
    """Where the heart lies; great vessels hang on it."""
    return np.array([20.0, plan.front_wall(312) + 62, 312.0])


def _paint_heart(canvas: Canvas, plan: Plan) -> None:
    u = plan.rng.uniform
    at = heart_centre(plan) + plan.rng.normal(0, 5, 3)
    size = u(0.95, 1.25) + 0.06 * plan.age
    axes = turned_axes([0.62, -0.55, u(-0.7, -0.35)], [0.6, 0.75, 0.1])

    def part(
        organ: Organ, tissue: Tissue, shift: tuple[float, float, float], half: tuple[float, ...]
    ) -> None:
        centre = at + (np.asarray(shift) * size) @ axes
        h = (half[0] * size, half[1] * size, half[2] * size)
        over: tuple[Organ, ...] = _ROOM
        if organ is Organ.HEART and tissue is not Tissue.WALL:
            over = (Organ.HEART,)
        if organ is Organ.HEART and tissue is Tissue.WALL:
            over = (*_ROOM, Organ.HEART, Organ.DIAPHRAGM)
        c = (float(centre[0]), float(centre[1]), float(centre[2]))
        paint_ellipsoid(canvas, organ, c, h, axes=axes, lumps_mm=1.2, over=over, tissue=tissue)

    part(Organ.MEDIASTINAL_FAT, Tissue.WALL, (2, 0, 0), (72, 55, 52))
    part(Organ.HEART, Tissue.WALL, (2, 0, 0), (66, 48, 46))
    part(Organ.HEART, Tissue.COLLECTING, (18, 16, 2), (32, 19, 19))
    part(Organ.HEART, Tissue.RIGHT_BLOOD, (14, -24, 0), (40, 14, 28))
    part(Organ.HEART, Tissue.COLLECTING, (-38, 24, -6), (20, 22, 30))
    part(Organ.HEART, Tissue.RIGHT_BLOOD, (-34, -24, 4), (22, 20, 28))


def aorta_line(plan: Plan) -> Points:
    """Points and radius from the valve to the division at L4; drawn once a plan."""
    u = plan.rng.uniform
    wide = u(0.82, 1.12) + 0.25 * plan.age * u(0, 1)
    heart = heart_centre(plan)
    arch = u(402, 420)
    side = u(16, 27)
    left, split = u(2, 12), plan.level(Organ.VERTEBRA_L4).middle + u(-14, 16)
    points = [
        [-2, heart[1] + 8, 336, 15.5],
        [-14, heart[1] + 2, 372, 15.5],
        [-8, heart[1] + 10, arch - 6, 14.5],
        [8, heart[1] + 28, arch + 4, 14.0],
        [side, plan.front(arch) - 16, arch - 4, 13.0],
        [side + 2, plan.front(370) - 8, 370, 12.5],
        [side, plan.front(310) - 9, 310, 12.0],
        [side - 5, plan.front(260) - 12, 260, 11.5],
        [left, plan.front(200) - 14, 200, 11.0],
        [left + u(-5, 5), plan.front(150) - 12, 150, 10.0],
        [left + u(-7, 7), plan.front(105) - 12, 105, 9.2],
        [u(-2, 6), plan.front(split) - 11, split, 8.8],
    ]
    line = curve(points, 7.0)
    line[:, 3] *= wide
    if plan.rng.random() < 0.05 + 0.08 * plan.age:
        bulge = u(80, 140)
        line[:, 3] += (
            u(4, 20)
            * np.exp(-(((line[:, 2] - bulge) / u(14, 26)) ** 2))
            * (line[:, 1] > plan.front(120) - 60)
        )
    return line


def _paint_aorta(canvas: Canvas, plan: Plan) -> None:
    line = aorta_line(plan)
    over = (*_ROOM, Organ.DIAPHRAGM, Organ.PSOAS)
    paint_tube(canvas, Organ.AORTA, line, line[:, 3], lumps_mm=0.4, over=(*over, Organ.HEART))
    top = line[np.argmax(line[:, 2])]
    for x, y, r in ((-12, -14, 6.0), (2, -4, 4.2), (14, 6, 5.2)):
        goal = [3.2 * x, plan.front(490) - 22 + y * 0.5, 545.0]
        start = [top[0] + 0.6 * x, top[1] + y, top[2] - 4]
        half = [(start[0] + goal[0]) / 2, (start[1] + goal[1]) / 2, 470]
        paint_tube(canvas, Organ.ARTERY, curve([start, half, goal]), r, over=_ROOM)
    for side in (-1, 1):
        arm = curve(
            [
                [side * 34, plan.front(490) - 20, 492],
                [side * 80, plan.front(490) - 22, 488],
                [side * 138, plan.front(470) - 8, 462],
            ]
        )
        soft = (*_ROOM, Organ.MUSCLE, Organ.SUBCUTANEOUS_FAT)
        paint_tube(canvas, Organ.ARTERY, arm, 4.5, over=soft)
        paint_tube(canvas, Organ.VEIN, arm + [0, -11, -7], 5.5, over=soft)
    end = line[-1]
    for side in (-1, 1):
        leg = curve(
            [
                [end[0], end[1], end[2]],
                [side * 30, plan.front(20) - 8, 12],
                [side * 58, plan.spine_y.at(0) - 40, -45],
                [side * 74, plan.spine_y.at(0) - 78, -100],
                [side * 84, plan.spine_y.at(0) - 78, -150],
                [side * 92, plan.spine_y.at(0) - 50, -240],
            ]
        )
        paint_tube(canvas, Organ.ARTERY, leg, 5.6, over=(*over, Organ.MUSCLE))
        paint_tube(canvas, Organ.VEIN, leg + [-side * 4, 10, -6], 6.6, over=(*over, Organ.MUSCLE))


def _paint_lung_roots(canvas: Canvas, plan: Plan) -> dict[int, Points]:
    """Pulmonary arteries and veins up to the hila, which are returned by side."""
    u = plan.rng.uniform
    heart = heart_centre(plan)
    hila = {
        -1: np.array([-48.0, heart[1] + 42, u(352, 366)]),
        1: np.array([50.0, heart[1] + 48, u(358, 374)]),
    }
    over = (*_ROOM, Organ.HEART)
    trunk = curve([[22, heart[1] - 16, 334], [22, heart[1] + 2, 358], [14, heart[1] + 26, 370]])
    paint_tube(canvas, Organ.PULMONARY_ARTERY, trunk, u(13, 17), over=over)
    for side, hilum in hila.items():
        goal = hilum + [side * 4, 2, 6]
        line = curve([[14, heart[1] + 24, 368], [side * 24, heart[1] + 32, 368], goal])
        paint_tube(canvas, Organ.PULMONARY_ARTERY, line, u(9, 12), over=over)
        for drop in (-8, -34):
            root = [side * 14.0, heart[1] + 40, 338.0 + drop / 4]
            vein = curve([root, [side * 34, heart[1] + 38, 340 + drop / 2], hilum + [0, -6, drop]])
            paint_tube(canvas, Organ.PULMONARY_VEIN, vein, 6.5, over=over)
    return hila


def _paint_veins(canvas: Canvas, plan: Plan) -> None:
    u = plan.rng.uniform
    heart = heart_centre(plan)
    over = (*_ROOM, Organ.HEART, Organ.DIAPHRAGM, Organ.PSOAS, Organ.LIVER)
    upper = curve([[-26, heart[1] + 8, 330], [-27, heart[1] + 12, 372], [-24, heart[1] + 10, 420]])
    paint_tube(canvas, Organ.SUPERIOR_VENA_CAVA, upper, u(7.5, 10.5), over=_ROOM)
    for side in (-1, 1):
        mid = [side * 10, heart[1] + 2, 436] if side > 0 else [-28, heart[1] + 12, 445]
        goal = [side * 46, plan.front(490) - 34, 500]
        paint_tube(
            canvas, Organ.VEIN, curve([[-24, heart[1] + 10, 416], mid, goal]), 6.5, over=_ROOM
        )
    lower = curve(
        [
            [-14, plan.front(45) - 12, 45],
            [-18, plan.front(100) - 12, 100],
            [-20, plan.front(160) - 15, 160],
            [-24, plan.front(215) - 28, 215],
            [-26, plan.front(262) - 42, 262],
            [-24, heart[1] + 14, 298],
        ]
    )
    paint_tube(canvas, Organ.INFERIOR_VENA_CAVA, lower, u(8, 13), lumps_mm=1.0, over=over)
    azygos = curve([[-6, plan.front(z) - 4, z] for z in (200, 260, 330, 400)])
    paint_tube(canvas, Organ.VEIN, azygos, 3.2, over=_ROOM)


def _paint_airways(canvas: Canvas, plan: Plan, hila: dict[int, Points]) -> None:
    u = plan.rng.uniform
    carina = np.array([2.0, plan.front(388) - 22, u(380, 394)])
    line = curve([[0, plan.front(520) - 26, 560], [0, plan.front(480) - 24, 480], carina])
    over = (*FATS, *LUNGS, Organ.PULMONARY_ARTERY, Organ.PULMONARY_VEIN)
    wide = u(7, 10)
    air = (Tissue.INNER, 1.6)
    paint_tube(canvas, Organ.AIRWAY, line, wide, over=over, inner=air)
    for side, hilum in hila.items():
        main = curve([carina, (carina + hilum) / 2 + [0, 0, 2], hilum + [0, 6, -2]])
        paint_tube(canvas, Organ.AIRWAY, main, wide * 0.72, over=over, inner=air)
        for goal in ([26, 10, 40], [22, -26, -4], [24, 26, -46], [12, 10, -58]):
            end = hilum + [side * goal[0], goal[1], goal[2]]
            paint_tube(
                canvas, Organ.AIRWAY, np.stack([hilum + [0, 6, -2], end]), 3.8, over=over, inner=air
            )
    gullet = [[3 + 6 * (z < 320), plan.front(z) - 14 - 10 * (z < 275), z] for z in (545, 450, 350)]
    gullet += [[10, plan.front(285) - 30, 285], [20, plan.front(252) - 42, 252]]
    gas = (Tissue.INNER, u(3.0, 6.0))
    paint_tube(
        canvas,
        Organ.ESOPHAGUS,
        curve(gullet),
        u(6, 9),
        over=(*_ROOM, Organ.DIAPHRAGM, Organ.VEIN),
        inner=gas,
    )
    for side in (-1, 1):
        paint_ellipsoid(
            canvas,
            Organ.THYROID,
            (side * 19, plan.front(510) - 28, u(512, 528)),
            (9, 10, u(18, 26)),
            over=(*FATS, Organ.MUSCLE),
        )


def _paint_lung_vessels(canvas: Canvas, plan: Plan, side: int, hilum: Points) -> None:
    """Trees of arteries and veins, by repeated division towards the pleura."""
    rng = plan.rng
    lung = Organ.LUNG_RIGHT if side < 0 else Organ.LUNG_LEFT
    for tree in range(2):
        tips = []
        for goal in ([30, 0, 45], [25, -40, 5], [30, 30, -20], [20, 25, -60]):
            start = hilum + [0, -6 * tree, -10 * tree]
            heading = np.asarray([side * goal[0], goal[1], goal[2]], np.float64)
            heading += rng.normal(0, 12, 3)
            tips.append((start, heading / np.linalg.norm(heading), 4.6, 34.0))
        for _ in range(5):
            grown = []
            for start, way, radius, length in tips:
                end = start + way * length * rng.uniform(0.7, 1.25)
                paint_tube(
                    canvas,
                    lung,
                    np.stack([start, end]),
                    np.array([radius, radius * 0.8]),
                    over=(lung,),
                    tissue=Tissue.VESSEL,
                )
                for _ in range(2):
                    turned = way + rng.normal(0, 0.5, 3)
                    grown.append(
                        (end, turned / np.linalg.norm(turned), radius * 0.72, length * 0.82)
                    )
            tips = grown
