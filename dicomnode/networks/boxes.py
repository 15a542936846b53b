"""Box detectors of MONAI on a node: run them, and make lesions on the CT's slices of their boxes.

For bundles like `lung_nodule_ct_detection` of the Model Zoo, whose RetinaNet gives boxes in voxels
of its own grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import product
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.config.type_definitions import KeysCollection
from monai.inferers.inferer import Inferer
from monai.networks.blocks.feature_pyramid_network import (
    FeaturePyramidNetwork,
    LastLevelMaxPool,
)
from monai.transforms.transform import MapTransform
from torch import Tensor, nn

from dicomnode.networks.resampling import affine_of

__all__ = ["BoxesToLesionsd", "DetectorInferer", "KeepGridd", "ResNetPyramid"]

Points = npt.NDArray[np.float64]
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class ResNetPyramid(nn.Module):
    """A feature pyramid over stages of a ResNet, as RetinaNet reads it.

    Parts and names of weights are those of MONAI's `resnet_fpn_feature_extractor`, which cannot
    be built without torchvision.

    Args:
        backbone: MONAI's `ResNet`; what comes after the last of `layers` is left out.
        layers: stages whose maps are read, from 1.
        out_channels: of every map of the pyramid.
    """

    def __init__(
        self, backbone: nn.Module, layers: Sequence[int] = (1, 2), out_channels: int = 256
    ) -> None:
        super().__init__()
        self.body = nn.ModuleDict()
        for name, part in backbone.named_children():
            self.body[name] = part
            if name == f"layer{max(layers)}":
                break
        self.names = [f"layer{n}" for n in layers]
        first = int(cast("Any", backbone).in_planes) // 8
        self.fpn = FeaturePyramidNetwork(
            spatial_dims=3,
            in_channels_list=[first * 2 ** (n - 1) for n in layers],
            out_channels=out_channels,
            extra_blocks=LastLevelMaxPool(3),
        )
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps, the finest first, and one more on half the coarsest grid."""
        maps: dict[str, Tensor] = {}
        for name, part in self.body.items():
            x = part(x)
            if name in self.names:
                maps[str(len(maps))] = x
        said: dict[str, Tensor] = self.fpn(maps)
        return said


class DetectorInferer(Inferer):
    """Run a `RetinaNetDetector`; the result is its dictionary of one volume.

    Args:
        detector: the detector; the network it is given at each call takes the place of its own.
        ready: what has to be evaluated before (the bundle's `detector_ops`); not read.
    """

    def __init__(self, detector: RetinaNetDetector, ready: object = None) -> None:
        super().__init__()
        self.detector = detector
        self.ready = ready

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Return boxes and scores of one volume `(1, C, x, y, z)`."""
        if len(inputs) != 1:
            raise ValueError("a detector reads one volume at a time")
        # The detector is a module, and would take the network in as a part of itself.
        object.__setattr__(self.detector, "network", network)
        self.detector.eval()
        windows = self.detector.inferer
        size = math.inf if windows is None else int(np.prod(windows.roi_size))
        volume = inputs[0].as_subclass(Tensor)
        found: list[dict[str, Tensor]] = self.detector(
            [volume], *args, use_inferer=volume[0].numel() > size, **kwargs
        )
        return found[0]


class KeepGridd(MapTransform):
    """Keep which grid an image came on under `grid`, before it is read onto another one."""

    def __init__(
        self, keys: KeysCollection, *, grid: str = "grid", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.grid = grid

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with (affine, shape) of the last of `keys`."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            result[self.grid] = (affine_of(image).numpy(), tuple(image.shape[1:]))
        return result


class BoxesToLesionsd(MapTransform):
    """Boxes in voxels of the network's grid to what a bundle of lesions leaves in `pred`.

    Of a box the axes are drawn on the slice of the CT that its middle lies on: the long one along
    its longer side there, the short one across. They are sides of a box, not diameters of an
    outline. Boxes whose middle lies outside of the CT are left out.

    Args:
        keys: the detector's dictionary.
        box_key, label_key, score_key: its keys; boxes are `(N, 6)`, lowest corner first, in voxels
            whose centres are whole numbers; label 0 becomes type 1.
        image_key: the image on the network's grid.
        grid: where `KeepGridd` put the CT's own grid.
        least_score: boxes of lower scores are left out.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        box_key: str = "box",
        label_key: str = "label",
        score_key: str = "label_scores",
        image_key: str = "image",
        grid: str = "grid",
        least_score: float = 0.05,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.box_key, self.label_key, self.score_key = box_key, label_key, score_key
        self.image_key, self.grid, self.least_score = image_key, grid, least_score

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with lesions in place of boxes."""
        result = dict(data)
        affine = affine_of(result[self.image_key]).numpy()
        ct, shape = result[self.grid]
        for key in self.key_iterator(result):
            result[key] = self._lesions(result[key], affine, ct, shape)
        return result

    def _lesions(
        self, found: Mapping[str, Tensor], affine: Points, ct: Points, shape: tuple[int, ...]
    ) -> dict[str, Points]:
        boxes = found[self.box_key].float().cpu().numpy().astype(np.float64).reshape(-1, 6)
        scores = found[self.score_key].float().cpu().numpy().astype(np.float64).reshape(-1)
        types = found[self.label_key].cpu().numpy().reshape(-1) + 1
        to_ct = np.linalg.inv(ct) @ affine
        rows = []
        for box, score, kind in zip(boxes, scores, types, strict=True):
            if score < self.least_score:
                continue
            drawn = _axes(_corners(box), to_ct, ct, shape)
            if drawn is not None:
                world = _moved(_TO_LPS @ affine, _corners(box))
                rows.append((score, kind, *drawn, np.stack([world.min(0), world.max(0)])))
        return {
            "scores": np.array([row[0] for row in rows]),
            "types": np.array([row[1] for row in rows], dtype=np.float64),
            "long_axes": np.array([row[2] for row in rows]).reshape(-1, 2, 3),
            "short_axes": np.array([row[3] for row in rows]).reshape(-1, 2, 3),
            "boxes": np.array([row[4] for row in rows]).reshape(-1, 2, 3),
        }


def _corners(box: Points) -> Points:
    return np.array(list(product(*zip(box[:3], box[3:], strict=True))))


def _moved(affine: Points, points: Points) -> Points:
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def _axes(
    corners: Points, to_ct: Points, ct: Points, shape: tuple[int, ...]
) -> tuple[Points, Points] | None:
    """Long and short axis in LPS mm, on the slice of the box's middle; None: it is not shown."""
    inside = _moved(to_ct, corners)
    middle = inside.mean(0)
    index = round(float(middle[2]))
    if not (
        0 <= index < shape[2]
        and all(-0.5 <= m <= n - 0.5 for m, n in zip(middle, shape, strict=True))
    ):
        return None
    sides = []
    for axis in (0, 1):
        ends = np.tile([middle[0], middle[1], float(index)], (2, 1))
        reach = inside[:, axis].min(), inside[:, axis].max()
        ends[:, axis] = np.clip(reach, -0.5, shape[axis] - 0.5)
        sides.append(_moved(_TO_LPS @ ct, ends))
    sides.sort(key=lambda ends: -float(np.linalg.norm(ends[1] - ends[0])))
    return sides[0], sides[1]
