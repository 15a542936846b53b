"""Random view aggregation: many random 2.5D views of a candidate, their probabilities averaged.

After Roth, Lu, Liu, Yao, Seff, Cherry, Kim and Summers, "Improving Computer-aided Detection using
Convolutional Neural Networks and Random View Aggregation", IEEE TMI 35(5), 2016: three orthogonal
planes through the candidate are the channels of one view; scale, translation and rotation of
each view are drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = [
    "ViewNet",
    "aggregate",
    "draw_poses",
    "in_window",
    "scales_for",
    "two_windows",
    "views_at",
]

SCALES_MM = (30.0, 35.0, 40.0, 45.0)
"""Side of a view, as in the paper for lymph nodes."""
TRANSLATION_MM = 3.0
TILT = np.pi / 9
SIDE = 24
"""Pixels of a view."""

_TOGETHER = 48
"""Views read at a time: what is computed for them stays near the processor."""
_ABOVE_AIR = 1024.0
"""Added to HU while they are read, so that what lies beyond the volume, 0, is air."""
_SOFT, _WIDE = (-160.0, 240.0), (-1000.0, 1000.0)


def two_windows(hu: Tensor, dim: int) -> Tensor:
    """HU in a soft tissue and in a wide window, each scaled to -1..1, joined along `dim`."""
    return torch.cat([in_window(hu, *window) for window in (_SOFT, _WIDE)], dim)


def in_window(hu: Tensor, low: float, high: float) -> Tensor:
    """HU clipped to a window and scaled to -1..1."""
    return hu.clamp(low, high).sub_(low).mul_(2.0 / (high - low)).sub_(1.0)


def scales_for(radius_mm: float) -> tuple[float, ...]:
    """Sides of the views of a candidate: `SCALES_MM`, wider for lesions that would not fit.

    The paper's lesions were nodes; a mass of 40 mm fills a view of 45 mm and shows no border.
    """
    wider = float(np.clip(radius_mm / 7.0, 1.0, 3.0))
    return tuple(side * wider for side in SCALES_MM)


def draw_poses(
    point: Sequence[float],
    count: int,
    *,
    scales: Sequence[float] = SCALES_MM,
    translation_mm: float = TRANSLATION_MM,
    seed: int = 0,
) -> npt.NDArray[np.float32]:
    """Poses `(count, 3, 4)` of the views of one candidate: view axes times half side, and centre.

    Drawn from the candidate's own place, so that they depend neither on its neighbours nor on the
    order of work, and that the first n of a longer draw are the draw of n. A rotation about the
    body's axis is of any angle, the tilt of up to 20 degrees; half of the views are mirrored.

    Args:
        point: millimetres in the volume's frame.
        count: views.
        scales: sides in millimetres to choose from.
        translation_mm: greatest shift along each axis.
        seed: of the whole run.
    """
    return _poses(_draws(point, count, seed), np.asarray(scales), np.asarray(point), translation_mm)


def _draws(point: Sequence[float], count: int, seed: int) -> npt.NDArray[np.float64]:
    """`(count, 8)` of 0 to 1 for the views of one candidate."""
    place = [round(float(v) * 4) + 2**20 for v in point]
    # Row by row, so that a longer draw begins with the shorter one.
    return np.random.default_rng([seed, *place]).random((count, 8))


def _poses(
    draws: npt.NDArray[np.float64],
    scales: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    translation_mm: float,
) -> npt.NDArray[np.float32]:
    """The poses of `draw_poses`; scales and points for all draws, or a row for each."""
    turns = _about(np.array([[0.0, 0.0, 1.0]]), 2 * np.pi * draws[:, 0])
    toward = np.pi * draws[:, 1]
    across = np.stack([np.cos(toward), np.sin(toward), np.zeros(len(draws))], 1)
    axes = turns @ _about(across, TILT * (2 * draws[:, 2] - 1))
    axes[:, :, 0] *= np.where(draws[:, 3] < 0.5, -1.0, 1.0)[:, None]
    choices = np.broadcast_to(scales, (len(draws), scales.shape[-1]))
    chosen = (draws[:, 4] * choices.shape[1]).astype(int)
    halves = choices[np.arange(len(draws)), chosen] / 2
    poses = np.empty((len(draws), 3, 4), np.float32)
    poses[:, :, :3] = axes * halves[:, None, None]
    poses[:, :, 3] = points + translation_mm * (2 * draws[:, 5:8] - 1)
    return poses


def _about(
    axes: npt.NDArray[np.float64], angles: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Rotation matrices `(n, 3, 3)` about unit axes, by Rodrigues' formula."""
    cross = np.cross(axes[:, None], -np.eye(3)[None])
    sines, cosines = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    turned: npt.NDArray[np.float64] = np.eye(3) + sines * cross + (1 - cosines) * cross @ cross
    return turned


def views_at(volume: Tensor, spacing: Sequence[float], poses: Tensor, side: int = SIDE) -> Tensor:
    """Views `(n, 3, side, side)` in HU: the planes across z, y and x of each pose.

    Args:
        volume: `(x, y, z)` HU; voxel 0 has its centre at 0 mm. Beyond it is air.
        spacing: millimetres.
        poses: `(n, 3, 4)` of `draw_poses`, millimetres.
        side: pixels.
    """
    return _cut(_raised(volume), spacing, poses, side)


def _raised(volume: Tensor) -> Tensor:
    """The volume with a voxel more on each side, and all that lies there: air is 0."""
    raised = volume.new_zeros([n + 2 for n in volume.shape])
    raised[1:-1, 1:-1, 1:-1] = volume
    raised[1:-1, 1:-1, 1:-1] += _ABOVE_AIR
    return raised


def _cut(raised: Tensor, spacing: Sequence[float], poses: Tensor, side: int) -> Tensor:
    """The views in HU of a volume that was raised."""
    poses = poses.to(raised.device)
    step = torch.tensor(list(spacing), dtype=torch.float32, device=raised.device)
    line = (torch.arange(side, dtype=torch.float32, device=raised.device) + 0.5) * (2 / side) - 1
    parts = []
    for some in poses.split(_TOGETHER):
        # (coordinate, view, plane, row, column) of each pixel, in voxels
        along = (some[..., :3] / step[:, None]).transpose(0, 1)[..., None] * line
        middle = (some[..., 3] / step + 1).T[..., None, None]
        rows, columns = along[:, :, [0, 0, 1]] + middle, along[:, :, [1, 2, 2]]
        parts.append(_read(raised, rows[..., None] + columns[..., None, :]))
    return torch.cat(parts).sub_(_ABOVE_AIR)


def _read(raised: Tensor, at: Tensor) -> Tensor:
    """Linear between the voxels at `(3, ...)`; twice as fast as `grid_sample` on a CPU."""
    flat = raised.view(-1)
    first = torch.zeros(at.shape[1:], dtype=torch.int32, device=raised.device)
    shares = []
    for places, size, stride in zip(at, raised.shape, raised.stride(), strict=True):
        places.clamp_(0, size - 1)
        whole = places.floor().clamp_(max=size - 2)
        shares.append((places - whole).flatten())
        first += whole.to(torch.int32) * stride
    x, y, _ = raised.stride()
    index = first.flatten()

    def edge(start: int) -> Tensor:
        near, far = (flat[n:].index_select(0, index) for n in (start, start + 1))
        return near.lerp_(far, shares[2])

    def face(start: int) -> Tensor:
        return edge(start).lerp_(edge(start + y), shares[1])

    return face(0).lerp_(face(x), shares[0]).view(first.shape)


class ViewNet(nn.Module):
    """A small CNN that classifies one 2.5D view; class 0 is "no lesion".

    Takes views `(n, 3, side, side)` in HU, gives logits `(n, classes)`.
    """

    def __init__(self, classes: int, features: Sequence[int] = (16, 24, 40)) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        before = 6
        for number, width in enumerate(features):
            if number:
                layers.append(nn.MaxPool2d(2))
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            before = width
        self.features = nn.Sequential(*layers)
        self.classify = nn.Sequential(
            nn.Conv2d(before, 2 * before, 6),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * before, classes),
        )
        # Three times as quick on a CPU.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, views: Tensor) -> Tensor:
        """Logits `(n, classes)`."""
        logits: Tensor = self.classify(self.features(two_windows(views, 1)))
        return logits


def aggregate(
    network: Callable[[Tensor], Tensor],
    volume: Tensor,
    spacing: Sequence[float],
    points: npt.NDArray[np.float64],
    *,
    views: int,
    radii: npt.NDArray[np.float64] | None = None,
    batch: int = 512,
    seed: int = 0,
) -> Tensor:
    """Probabilities `(candidates, views, classes)` of every view; the mean over views decides.

    Args:
        network: a `ViewNet`, in evaluation mode.
        volume: `(x, y, z)` HU.
        spacing: of the volume, millimetres.
        points: `(candidates, 3)` millimetres in the volume's frame.
        views: random views of each candidate.
        radii: `(candidates,)` millimetres, which the views' sides follow; None: `SCALES_MM`.
        batch: views a forward pass.
        seed: of the whole run.
    """
    if not len(points):
        return torch.zeros(0, views, 1)
    sizes = np.zeros(len(points)) if radii is None else radii
    poses = _poses(
        np.concatenate([_draws(point, views, seed) for point in points]),
        np.repeat([scales_for(float(radius)) for radius in sizes], views, axis=0),
        np.repeat(points, views, axis=0),
        TRANSLATION_MM,
    )
    raised = _raised(volume)
    parts = [
        network(_cut(raised, spacing, torch.from_numpy(some), SIDE)).float().softmax(1)
        for some in (poses[first : first + batch] for first in range(0, len(poses), batch))
    ]
    return torch.cat(parts).reshape(len(points), views, -1)
