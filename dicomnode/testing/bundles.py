"""Tiny MONAI bundles that work in a moment, and ones that fail in each way a bundle can.

The network is one 1x1x1 convolution that changes nothing; intensities do the rest: voxels of at
most -500 HU are `air`, for radiographs pixels of at least half brightness are `bright`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save


class Behaviour(Enum):
    """What a test bundle does when it is run."""

    WORKS = "works"
    MOVES_AND_INVERTS = "moves-and-inverts"
    """Turned to another orientation and spacing before the network, and back afterwards."""
    MOVES = "moves"
    """Turned before the network and left there: the adapter has to resample."""
    HANGS = "hangs"
    DIES = "dies"
    """Its process is killed as by the kernel's out-of-memory killer."""
    OUT_OF_MEMORY = "out-of-memory"
    RAISES = "raises"
    WRONG_SHAPE = "wrong-shape"
    UNKNOWN_LABEL = "unknown-label"
    NOT_A_LABEL = "not-a-label"
    WRONG_DIGEST = "wrong-digest"
    UNLISTED_FILE = "unlisted-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleRecipe:
    """What a test bundle is like."""

    name: str = "test_air"
    behaviour: Behaviour = Behaviour.WORKS
    dimensions: int = 3
    time_limit_s: float = 60.0
    orientation: str = "RAS"
    """Where MOVES and MOVES_AND_INVERTS turn the image, in MONAI's letters."""
    spacing_mm: tuple[float, float, float] | None = None
    """And the spacing they resample it to; None keeps it."""


def write_bundle(folder: Path, recipe: BundleRecipe | None = None) -> Path:
    """Write a bundle below `folder`; returns its root, `folder / name`."""
    recipe = recipe or BundleRecipe()
    root = folder / recipe.name
    for part in ("configs", "models"):
        (root / part).mkdir(parents=True)
    weights = save(_identity_weights(recipe.dimensions))
    (root / "models" / "model.safetensors").write_bytes(weights)
    digest = hashlib.sha256(weights).hexdigest()
    if recipe.behaviour is Behaviour.WRONG_DIGEST:
        digest = hashlib.sha256(b"other weights").hexdigest()
    if recipe.behaviour is Behaviour.UNLISTED_FILE:
        (root / "models" / "model.pt").write_bytes(b"not listed")
    write_json(root, "metadata", {"version": "1.0.0", "monai_version": "1.6.1"})
    write_json(root, "inference", inference_config(recipe))
    write_json(root, "dicom", dicom_config(recipe, digest))
    return root


def dicom_config(recipe: BundleRecipe, digest: str) -> dict[str, Any]:
    """`configs/dicom.json` of a test bundle; `digest` is of its weights."""
    volumetric = recipe.dimensions == 3
    name = "air" if volumetric else "bright"
    spec = {"modality": ["CT"] if volumetric else ["CR", "DX"], "dimensions": recipe.dimensions}
    return {
        "schema": 1,
        "name": recipe.name,
        "manufacturer": "dicomnode",
        "title": f"Test bundle: {name}",
        "intended_use": "Research use only. A test bundle that thresholds intensities.",
        "inputs": {"image": spec},
        "outputs": {
            "pred": {
                "kind": "segments",
                "encoding": "labels",
                "segments": {
                    "1": {
                        "name": name,
                        "category": ["123037004", "SCT", "Anatomical Structure"],
                        "type": ["39607008", "SCT", "Lung"],
                        "color": [230, 159, 0],
                    }
                },
            }
        },
        "measurements": [{"measure": "volume" if volumetric else "area", "of": [name]}],
        "time_limit_s": recipe.time_limit_s,
        "files": {"models/model.safetensors": digest},
    }


def inference_config(recipe: BundleRecipe) -> dict[str, Any]:
    """`configs/inference.json` of a test bundle."""
    return {
        "imports": ["$import os", "$import signal", "$import threading"],
        "network_def": {
            "_target_": f"torch.nn.Conv{recipe.dimensions}d",
            "in_channels": 1,
            "out_channels": 1,
            "kernel_size": 1,
        },
        "preprocessing": {"_target_": "Compose", "transforms": list(_before(recipe))},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": list(_after(recipe))},
    }


def _identity_weights(dimensions: int) -> dict[str, np.ndarray[Any, Any]]:
    shape = (1, 1) + (1,) * dimensions
    return {"weight": np.ones(shape, np.float32), "bias": np.zeros(1, np.float32)}


_FAULTS = {
    Behaviour.HANGS: "$lambda image: threading.Event().wait()",
    Behaviour.DIES: "$lambda image: os.kill(os.getpid(), signal.SIGKILL)",
    Behaviour.OUT_OF_MEMORY: "$lambda image: (_ for _ in ()).throw(MemoryError())",
    Behaviour.RAISES: "$lambda image: image.no_such_attribute",
}
_SPOILED = {
    Behaviour.WRONG_SHAPE: "$lambda pred: pred.as_tensor()[:, 1:]",
    Behaviour.UNKNOWN_LABEL: "$lambda pred: pred * 7",
    Behaviour.NOT_A_LABEL: "$lambda pred: pred * 0.5",
}


def _before(recipe: BundleRecipe) -> Sequence[dict[str, Any]]:
    transforms: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
    ]
    if recipe.behaviour in _FAULTS:
        transforms.append(_lambda("image", _FAULTS[recipe.behaviour]))
    if recipe.behaviour in (Behaviour.MOVES, Behaviour.MOVES_AND_INVERTS):
        transforms.append(
            {"_target_": "Orientationd", "keys": "image", "axcodes": recipe.orientation}
        )
        if recipe.spacing_mm:
            transforms.append(
                {"_target_": "Spacingd", "keys": "image", "pixdim": list(recipe.spacing_mm)}
            )
    if recipe.dimensions == 3:
        # 0 HU to 0, -1000 HU to 1 (MONAI clips to b_min..b_max), so that half is -500 HU.
        transforms.append(
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": 0,
                "a_max": -1000,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            }
        )
    return transforms


def _after(recipe: BundleRecipe) -> Sequence[dict[str, Any]]:
    transforms: list[dict[str, Any]] = []
    if recipe.behaviour is Behaviour.MOVES_AND_INVERTS:
        transforms.append(
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@preprocessing",
                "orig_keys": "image",
                "nearest_interp": False,
                "to_tensor": True,
            }
        )
    transforms.append({"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5})
    if recipe.behaviour in _SPOILED:
        transforms.append(_lambda("pred", _SPOILED[recipe.behaviour]))
    transforms.append({"_target_": "SaveImaged", "keys": "pred", "output_dir": "eval"})
    return transforms


def _lambda(key: str, function: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": key, "func": function}


def write_json(root: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write `configs/<name>.json` of the bundle at `root`."""
    text = json.dumps(content, indent=2) + "\n"
    (root / "configs" / f"{name}.json").write_text(text, encoding="utf-8")
