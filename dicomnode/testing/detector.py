"""A bundle that finds bright balls in a CT: a stand-in for a trained detector of lesions.

What is within a window of Hounsfield units and hangs together is a lesion; its score is 0.9, less
a tenth for each lesion that is larger, so that the order is known.
"""

import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import Transform
from safetensors.numpy import save
from scipy import ndimage

from dicomnode.networks.recist import recist_axes
from dicomnode.testing.bundles import write_json

LEAST_HU, MOST_HU = 150, 450
NODE = ["30746006", "SCT", "Lymph node structure"]
_LEAST_VOXELS = 20


def write_detector(folder: Path, name: str = "bright_balls", **lesions: object) -> Path:
    """Write the bundle below `folder`; `lesions` goes into `outputs.pred` of its `dicom.json`."""
    root = folder / name
    for part in ("configs", "models"):
        (root / part).mkdir(parents=True)
    weights = save(
        {"weight": np.ones((1, 1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    )
    (root / "models" / "model.safetensors").write_bytes(weights)
    write_json(root, "metadata", {"version": "1.0.0", "monai_version": "1.6.1"})
    write_json(root, "inference", _INFERENCE)
    write_json(root, "dicom", _dicom(name, hashlib.sha256(weights).hexdigest(), lesions))
    return root


_INFERENCE = {
    "network_def": {
        "_target_": "torch.nn.Conv3d",
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": 1,
    },
    "inferer": {"_target_": "SimpleInferer"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "dicomnode.testing.detector.BrightBallsd"}],
    },
}


def _dicom(name: str, digest: str, lesions: Mapping[str, object]) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": name,
        "manufacturer": "dicomnode",
        "title": "Test bundle: bright balls",
        "intended_use": "Research use only. A test bundle that thresholds intensities.",
        "inputs": {"image": {"modality": ["CT"], "dimensions": 3}},
        "outputs": {
            "pred": {
                "kind": "lesions",
                "types": {"1": {"name": "Lymph node", "code": NODE}},
                "sites": {"1": {"code": ["51185008", "SCT", "Thorax"]}},
                "operating_points": {"1": 0.7, "3": 0.5, "8": 0.1},
                "false_positives_per_volume": 3,
                **lesions,
            }
        },
        "time_limit_s": 300,
        "files": {"models/model.safetensors": digest},
    }


class BrightBallsd(Transform):
    """`pred` in Hounsfield units (1, columns, rows, slices) -> the dictionary of lesions."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Raises nothing; a volume without bright balls gives no lesion."""
        pred = data["pred"]
        values = torch.as_tensor(pred)[0].numpy()
        labels, count = ndimage.label((values >= LEAST_HU) & (values <= MOST_HU))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        order = [index for index in np.argsort(-sizes) if sizes[index] >= _LEAST_VOXELS]
        affine = pred.affine.numpy()
        axes = [_axes(labels == index + 1, affine) for index in order]
        mask = np.zeros_like(labels)
        for number, index in enumerate(order, start=1):
            mask[labels == index + 1] = number
        return {
            **data,
            "pred": {
                "scores": np.array([max(0.9 - 0.1 * n, 0.0) for n in range(len(order))]),
                "types": np.ones(len(order)),
                "sites": np.ones(len(order)),
                "long_axes": np.array([long for long, _ in axes]).reshape(-1, 2, 3),
                "short_axes": np.array([short for _, short in axes]).reshape(-1, 2, 3),
                "mask": MetaTensor(torch.as_tensor(mask[None]), affine=pred.affine),
            },
        }


def _axes(
    mask: np.ndarray[Any, np.dtype[np.bool_]], affine: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Both axes on the slice of the largest area, as ends in the patient (LPS, mm)."""
    index = int(mask.sum(axis=(0, 1)).argmax())
    across, down = np.linalg.norm(affine[:3, :2], axis=0)
    found = recist_axes(mask[:, :, index], (float(across), float(down)))
    ends = [np.hstack([axis, np.full((2, 1), index), np.ones((2, 1))]) for axis in found]
    long_axis, short_axis = ((end @ affine.T)[:, :3] * (-1, -1, 1) for end in ends)
    return long_axis, short_axis
