"""Shapes in coordinates of the body plan, painted on a canvas within their own small box."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from dicomnode.phantom.canvas import Box, Canvas, Floats, Point
from dicomnode.phantom.structures import Organ, Tissue

Points = npt.NDArray[np.float64]


def curve(points: Sequence[Sequence[float] | Points] | Points, step_mm: float = 8.0) -> Points:
    """A smooth curve through `points` `(n, d)`, sampled about every `step_mm` along its length.

    Columns beyond the third (a radius, say) are interpolated with the rest.
    """
    given: Points = np.asarray(points, np.float64)
    moved = np.linalg.norm(np.diff(given[:, :3], axis=0), axis=1) > 0.01
    given = given[np.concatenate([[True], moved])]
    if len(given) < 3:
        return np.asarray(given)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(given[:, :3], axis=0), axis=1))])
    count = max(len(given), int(along[-1] / step_mm) + 1)
    return np.asarray(CubicSpline(along, given)(np.linspace(0, along[-1], count)))


def ellipsoid_field(
    canvas: Canvas, box: Box, centre: Point, half: Point, axes: Points | None = None
) -> Floats:
    """About the distance to the surface in mm, positive inside, on `box`.

    `axes` (3 x 3): rows are the directions of the half lengths; by default x, y, z.
    """
    d = [canvas.x[box] - centre[0], canvas.y[box] - centre[1], canvas.z[box] - centre[2]]
    if axes is not None:
        d = [sum(np.float32(row[i]) * d[i] for i in range(3)) for row in axes]  # type: ignore[misc]
    far = sum((np.float32(1 / h) * v) ** 2 for h, v in zip(half, d, strict=True))
    return np.asarray((1 - np.sqrt(far)) * min(half), np.float32)


def paint_ellipsoid(
    canvas: Canvas,
    organ: Organ,
    centre: Point,
    half: Point,
    *,
    axes: Points | None = None,
    lumps_mm: float = 0.0,
    over: Iterable[Organ] | None = None,
    tissue: Tissue = Tissue.WALL,
    inner: tuple[Tissue, float] | None = None,
) -> None:
    """Paint an ellipsoid; `inner` = (tissue, depth in mm) of what lies deeper than that."""
    reach = max(half) if axes is not None else 0.0
    wide = [max(h, reach) + 2 * lumps_mm for h in half]
    box = canvas.box(
        (centre[0] - wide[0], centre[1] - wide[1], centre[2] - wide[2]),
        (centre[0] + wide[0], centre[1] + wide[1], centre[2] + wide[2]),
    )
    if box is None:
        return
    field = ellipsoid_field(canvas, box, centre, half, axes)
    if lumps_mm:
        field = field + np.float32(lumps_mm) * canvas.fine[box]
    canvas.paint(organ, field > 0, box, over=over, tissue=tissue)
    if inner is not None:
        canvas.paint(organ, field > inner[1], box, over=(organ,), tissue=inner[0])


def capsule_field(
    canvas: Canvas, box: Box, start: Points, end: Points, radii: tuple[float, float]
) -> Floats:
    """Distance in mm to the surface of a capsule whose radius changes along it, positive inside."""
    axis = (end - start).astype(np.float32)
    length = max(float(axis @ axis), 1e-6)
    d = [
        canvas.x[box] - np.float32(start[0]),
        canvas.y[box] - np.float32(start[1]),
        canvas.z[box] - np.float32(start[2]),
    ]
    t = (d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2]) / np.float32(length)
    t = np.clip(t, 0, 1)
    far = (d[0] - t * axis[0]) ** 2 + (d[1] - t * axis[1]) ** 2 + (d[2] - t * axis[2]) ** 2
    radius = np.float32(radii[0]) + t * np.float32(radii[1] - radii[0])
    return np.asarray(radius - np.sqrt(far), np.float32)


def paint_tube(
    canvas: Canvas,
    organ: Organ,
    points: Points,
    radius: float | npt.NDArray[np.float64],
    *,
    lumps_mm: float = 0.0,
    over: Iterable[Organ] | None = None,
    tissue: Tissue = Tissue.WALL,
    inner: tuple[Tissue, float] | None = None,
) -> None:
    """Paint a tube along `points` (n, 3 or more); `inner` as for ellipsoids.

    `radius`: one for all, or one a point. The whole wall is painted before the inside, so that a
    tube which touches itself stays one lumen.
    """
    radii = np.broadcast_to(np.asarray(radius, np.float64), (len(points),))
    fields = []
    for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        start, end = a[:3], b[:3]
        wide = max(float(ra), float(rb)) + 2 * lumps_mm
        low, high = np.minimum(start, end) - wide, np.maximum(start, end) + wide
        box = canvas.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        if box is None:
            continue
        field = capsule_field(canvas, box, start, end, (float(ra), float(rb)))
        if lumps_mm:
            field = field + np.float32(lumps_mm) * canvas.fine[box]
        canvas.paint(organ, field > 0, box, over=over, tissue=tissue)
        fields.append((box, field))
    if inner is not None:
        for box, field in fields:
            canvas.paint(organ, field > inner[1], box, over=(organ,), tissue=inner[0])


def superellipse(dx: Floats, dy: Floats, width: Floats, depth: Floats, power: float) -> Floats:
    """About the distance to a rounded outline in each slice, positive inside, in mm."""
    w, d = np.maximum(width, 1.0), np.maximum(depth, 1.0)
    p = np.float32(power)
    far = (np.abs(dx) / w) ** p + (np.abs(dy) / d) ** p
    far = far ** np.float32(1 / power)
    return np.asarray((1 - far) * np.minimum(w, d), np.float32)


def turned_axes(first: Sequence[float], second: Sequence[float]) -> Points:
    """Three directions at right angles: `first`, what is left of `second`, and their normal."""
    a = np.asarray(first, np.float64)
    a = a / np.linalg.norm(a)
    b = np.asarray(second, np.float64)
    b = b - (b @ a) * a
    b = b / np.linalg.norm(b)
    return np.stack([a, b, np.cross(a, b)])
