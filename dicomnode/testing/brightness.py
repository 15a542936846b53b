"""A bundle that calls bright radiographs positive: a stand-in for a trained classifier."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from dicomnode.networks.thorax import ThoraxReading
from dicomnode.testing.bundles import write_json

CRITICAL = "Pneumothorax"
"""What the one class is called."""
_MAPS = 64


def write_classifier(folder: Path, name: str = "bright_images") -> Path:
    """Write the bundle below `folder`; a mean above half brightness is positive."""
    root = folder / name
    for part in ("configs", "models"):
        (root / part).mkdir(parents=True)
    weights = save({"steepness": np.full(1, 20, np.float32)})
    (root / "models" / "model.safetensors").write_bytes(weights)
    write_json(root, "metadata", {"version": "1.0.0", "monai_version": "1.6.1"})
    write_json(
        root,
        "inference",
        {
            "network_def": {"_target_": "dicomnode.testing.brightness.Brightness"},
            "inferer": {"_target_": "SimpleInferer"},
        },
    )
    one = {
        "name": CRITICAL,
        "code": ["36118008", "SCT", "Pneumothorax"],
        "operating_point": 0.5,
        "reported": True,
    }
    write_json(
        root,
        "dicom",
        {
            "schema": 1,
            "name": name,
            "manufacturer": "dicomnode",
            "title": "Test bundle: bright images",
            "intended_use": "Research use only. A test bundle that looks at brightness.",
            "inputs": {"image": {"modality": ["CR", "DX"], "dimensions": 2}},
            "outputs": {"pred": {"kind": "classes", "classes": {"0": one}}},
            "time_limit_s": 300,
            "files": {"models/model.safetensors": hashlib.sha256(weights).hexdigest()},
        },
    )
    return root


class Brightness(nn.Module):
    """(N, 1, columns, rows) -> a reading with one class: its logit rises with the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> ThoraxReading:
        """Return the reading; the heatmap is the picture."""
        small = nn.functional.interpolate(image, (_MAPS, _MAPS))
        logits = self.steepness * (image.mean((1, 2, 3)) - 0.5)
        return {
            "logits": logits[:, None],
            "heatmaps": small,
            "organs": torch.ones(len(image), 3, _MAPS, _MAPS),
            "ratio": torch.full((len(image),), torch.nan),
        }
