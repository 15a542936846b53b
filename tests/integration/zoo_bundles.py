"""Bundles as MONAI's Model Zoo lays out its own, with random weights and small networks."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets.dints import DiNTS, TopologyInstance
from monai.networks.nets.unet import UNet
from torch import nn

SPLEEN_NETWORK: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8, 16],
    "strides": [2, 2],
    "num_res_units": 2,
    "norm": "batch",
}

CODE = """
from monai.inferers import SlidingWindowInferer
from monai.transforms import MapTransform

from scripts.numbers import SHIFT


class Shifted(MapTransform):
    def __call__(self, data):
        return {**data, **{key: data[key] + SHIFT for key in self.keys}}


class Halves(SlidingWindowInferer):
    pass
"""


def spleen(folder: Path, *, version: str = "0.5.9", seed: int = 0, own_code: bool = False) -> Path:
    """`spleen_ct_segmentation`: JSON, UNet, `models/model.pt` with MONAI's wrapper."""
    torch.manual_seed(seed)
    root = _made(folder, "spleen_ct_segmentation", version, {"0": "background", "1": "spleen"})
    inference = _spleen_inference()
    if own_code:
        (root / "scripts").mkdir()
        (root / "scripts" / "__init__.py").write_text("")
        (root / "scripts" / "numbers.py").write_text("SHIFT = 0.25\n")
        (root / "scripts" / "parts.py").write_text(CODE)
        shifted = {"_target_": "scripts.parts.Shifted", "keys": "image"}
        inference["preprocessing"]["transforms"].insert(-1, shifted)
        inference["inferer"]["_target_"] = "scripts.parts.Halves"
    _json(root / "configs" / "inference.json", inference)
    network = UNet(**SPLEEN_NETWORK)
    with torch.no_grad():
        # Random weights rarely choose both classes: the last bias makes them even.
        for module in network.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and module.bias is not None:
                module.bias.zero_()
    torch.save({"model": network.state_dict()}, root / "models" / "model.pt")
    return root


def _spleen_inference() -> dict[str, Any]:
    key = {"keys": "image"}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data/Task09_Spleen",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": "UNet", **SPLEEN_NETWORK},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **key},
                {"_target_": "EnsureChannelFirstd", **key},
                {"_target_": "Orientationd", **key, "axcodes": "RAS"},
                {"_target_": "Spacingd", **key, "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged",
                    **key,
                    "a_min": -57,
                    "a_max": 164,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "EnsureTyped", **key},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [32, 32, 32],
            "sw_batch_size": 4,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": True,
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
    }


PANCREAS_INFERENCE = """
imports:
- "$import glob"
- "$import os"
bundle_root: "."
input_channels: 1
output_classes: 3
arch_ckpt_path: "$@bundle_root + '/models/search_code_18590.pt'"
arch_ckpt: "$torch.load(@arch_ckpt_path, map_location=torch.device('cuda'))"
device: "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
dints_space:
  _target_: monai.networks.nets.TopologyInstance
  channel_mul: 0.25
  num_blocks: 12
  num_depths: 4
  use_downsample: true
  arch_code:
  - "$@arch_ckpt['arch_code_a']"
  - "$@arch_ckpt['arch_code_c']"
  device: "$torch.device('cuda')"
network_def:
  _target_: monai.networks.nets.DiNTS
  dints_space: "@dints_space"
  in_channels: "@input_channels"
  num_classes: "@output_classes"
  use_downsample: true
  node_a: "$torch.from_numpy(@arch_ckpt['node_a'])"
network: "$@network_def.to(@device)"
preprocessing:
  _target_: Compose
  transforms:
  - {_target_: LoadImaged, keys: image}
  - {_target_: EnsureChannelFirstd, keys: image}
  - {_target_: Orientationd, keys: image, axcodes: RAS}
  - {_target_: Spacingd, keys: image, pixdim: [1, 1, 1], mode: bilinear}
  - {_target_: ScaleIntensityRanged, keys: image, a_min: -87, a_max: 199,
     b_min: 0, b_max: 1, clip: true}
  - {_target_: EnsureTyped, keys: image}
inferer: {_target_: SlidingWindowInferer, roi_size: [96, 96, 96], sw_batch_size: 4, overlap: 0.625}
postprocessing:
  _target_: Compose
  transforms:
  - {_target_: Activationsd, keys: pred, softmax: true}
  - {_target_: Invertd, keys: pred, transform: "@preprocessing", orig_keys: image,
     meta_key_postfix: meta_dict, nearest_interp: false, to_tensor: true}
  - {_target_: AsDiscreted, keys: pred, argmax: true}
  - {_target_: SaveImaged, keys: pred, output_dir: "@bundle_root"}
"""


def pancreas(folder: Path) -> Path:
    """`pancreas_ct_dints_segmentation`: YAML, its searched architecture as arrays in a pickle."""
    channels = {"0": "background", "1": "pancreas", "2": "pancreatic tumor"}
    root = _made(folder, "pancreas_ct_dints_segmentation", "0.4.5", channels)
    (root / "configs" / "inference.yaml").write_text(PANCREAS_INFERENCE)
    generator = np.random.default_rng(1)
    found = {
        "node_a": np.ones((13, 4)),
        "arch_code_a": generator.integers(0, 2, (12, 10)).astype(np.float64),
        "arch_code_c": generator.integers(0, 5, (12, 10)).astype(np.float64),
    }
    torch.save(found, root / "models" / "search_code_18590.pt")
    space = TopologyInstance(
        channel_mul=0.25,
        num_blocks=12,
        num_depths=4,
        use_downsample=True,
        arch_code=[found["arch_code_a"], found["arch_code_c"]],
    )
    network = DiNTS(space, 1, 3, use_downsample=True, node_a=torch.from_numpy(found["node_a"]))
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def zipped(root: Path, target: Path) -> Path:
    """The bundle as the Model Zoo hands it out: one folder in a zip file."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return target


def _made(folder: Path, name: str, version: str, channels: dict[str, str]) -> Path:
    root = folder / name
    for part in ("configs", "models", "docs"):
        (root / part).mkdir(parents=True)
    (root / "LICENSE").write_text("a licence\n")
    (root / "docs" / "README.md").write_text("# Description\n")
    metadata = {
        "version": version,
        "monai_version": "1.4.0",
        "network_data_format": {"outputs": {"pred": {"channel_def": channels}}},
    }
    _json(root / "configs" / "metadata.json", metadata)
    return root


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=4))
