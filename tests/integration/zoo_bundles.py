"""Bundles as MONAI's Model Zoo lays out its own, with random weights and small networks."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.networks.nets.dints import DiNTS, TopologyInstance
from monai.networks.nets.resnet import resnet10
from monai.networks.nets.unet import UNet
from torch import nn

from dicomnode.networks.boxes import ResNetPyramid
from dicomnode.networks.plain_unet import PlainUNet

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


def nodules(folder: Path) -> Path:
    """`lung_nodule_ct_detection`: a RetinaNet whose inferer and evaluator are its own Python."""
    torch.manual_seed(2)
    root = _made(folder, "lung_nodule_ct_detection", "0.6.9", {"0": "image"})
    metadata = {
        "version": "0.6.9",
        "network_data_format": {"outputs": {"pred": {"format": "dict"}}},
    }
    _json(root / "configs" / "metadata.json", metadata)
    (root / "scripts").mkdir()
    for name in ("__init__", "detection_inferer", "detection_saver", "evaluator"):
        (root / "scripts" / f"{name}.py").write_text("raise RuntimeError('not to be run')\n")
    inference = _nodules_inference()
    _json(root / "configs" / "inference.json", inference)
    # MONAI's own builder of the pyramid needs torchvision; the names of weights are the same
    backbone = resnet10(
        spatial_dims=3, n_input_channels=1, conv1_t_stride=[2, 2, 1], conv1_t_size=[7, 7, 7]
    )
    network = RetinaNet(
        spatial_dims=3,
        num_classes=1,
        num_anchors=3,
        feature_extractor=ResNetPyramid(backbone),
        size_divisible=[16, 16, 8],
    )
    with torch.no_grad():
        # a new RetinaNet is sure of nothing: every score is .01, and none is a detection
        network.classification_head.cls_logits.bias.zero_()
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return root


def _nodules_inference() -> dict[str, Any]:
    key = {"keys": "image", "meta_key_postfix": "meta_dict"}
    resnet = (
        "resnet10(spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1],conv1_t_size=[7,7,7])"
    )
    pyramid = "monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor"
    boxes = (
        "score_thresh=0.02,topk_candidates_per_level=1000,nms_thresh=0.22,detections_per_img=300"
    )
    windows = "roi_size=@infer_patch_size,overlap=0.25,sw_batch_size=1,mode='constant',device='cpu'"
    return {
        "whether_raw_luna16": False,
        "whether_resampled_luna16": "$(not @whether_raw_luna16)",
        "imports": ["$import glob", "$import os"],
        "bundle_root": "./",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "amp": True,
        "infer_patch_size": [48, 48, 24],
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": [1, 2, 4],
            "base_anchor_shapes": [[6, 8, 4], [8, 6, 5], [10, 10, 6]],
        },
        "backbone": f"$monai.networks.nets.resnet.{resnet}",
        "feature_extractor": f"${pyramid}(@backbone,3,False,[1,2],None)",
        "network_def": {
            "_target_": "RetinaNet",
            "spatial_dims": 3,
            "num_classes": 1,
            "num_anchors": 3,
            "feature_extractor": "@feature_extractor",
            "size_divisible": [16, 16, 8],
        },
        "network": "$@network_def.to(@device)",
        "detector": {
            "_target_": "RetinaNetDetector",
            "network": "@network",
            "anchor_generator": "@anchor_generator",
            "debug": False,
        },
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            f"$@detector.set_box_selector_parameters({boxes})",
            f"$@detector.set_sliding_window_inferer({windows})",
        ],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **key, "_disabled_": "@whether_raw_luna16"},
                {"_target_": "EnsureChannelFirstd", **key},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            ],
        },
        "inferer": {
            "_target_": "scripts.detection_inferer.RetinaNetInferer",
            "detector": "@detector",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "AffineBoxToWorldCoordinated",
                    "box_keys": "box",
                    "box_ref_image_keys": "image",
                    "affine_lps_to_ras": True,
                },
            ],
        },
        "handlers": [{"_target_": "scripts.detection_saver.DetectionSaver"}],
        "evaluator": {
            "_target_": "scripts.evaluator.DetectionEvaluator",
            "_requires_": "@detector_ops",
            "network": "@network",
        },
    }


def nnunet(folder: Path, *, labels: dict[str, int], architecture: bool = True) -> Path:
    """What nnU-Net leaves of a training: plans, data set and a checkpoint with its logs.

    Weights carry nnU-Net's names, those that it lists twice included.
    """
    torch.manual_seed(3)
    root = folder / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (root / "fold_0").mkdir(parents=True)
    kernels, strides = [[1, 3, 3], [3, 3, 3], [3, 3, 3]], [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    plan: dict[str, Any] = {
        "spacing": [3.0, 1.5, 1.25],
        "patch_size": [8, 32, 24],
        "normalization_schemes": ["CTNormalization"],
    }
    if architecture:
        plan["architecture"] = {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [4, 8, 12],
                "kernel_sizes": kernels,
                "strides": strides,
                "n_conv_per_stage": [2, 2, 2],
                "n_conv_per_stage_decoder": [2, 2],
            },
        }
    else:
        plan |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "conv_kernel_sizes": kernels,
            "pool_op_kernel_sizes": strides,
            "n_conv_per_stage_encoder": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
        }
    spread = {"mean": 40.0, "std": 90.0, "percentile_00_5": -160.0, "percentile_99_5": 240.0}
    plans = {
        "dataset_name": "Dataset291_Organs",
        "transpose_forward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": spread},
        "configurations": {"3d_fullres": plan},
    }
    _json(root / "plans.json", plans)
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **labels}}
    _json(root / "dataset.json", dataset)
    network = PlainUNet(
        1,
        len(labels) + 1,
        features=[4, 8, 12] if architecture else [4, 8, 8],
        kernels=kernels,
        strides=strides,
        encoder_convs=[2, 2, 2],
        decoder_convs=[2, 2],
    )
    weights = network.state_dict()
    twice = {f"decoder.{k}": v for k, v in weights.items() if k.startswith("encoder.")}
    again = {k.replace(".conv.", ".all_modules.0."): v for k, v in weights.items() if ".conv." in k}
    checkpoint = {
        "network_weights": {**weights, **twice, **again},
        "logging": {"mean_fg_dice": [np.float64(0.9)]},
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "trainer_name": "nnUNetTrainer",
    }
    torch.save(checkpoint, root / "fold_0" / "checkpoint_final.pth")
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
