"""A model that nnU-Net (version 2) trained, laid out as a MONAI bundle.

What nnU-Net leaves is a folder with `dataset.json`, `plans.json` and `fold_N/checkpoint_*.pth`
(`nnUNetv2_export_model_to_zip` packs the same). The bundle runs one fold without nnU-Net: same
network, same window, same normalization. Images are interpolated linearly, where nnU-Net uses
cubic splines, and there is neither mirroring nor an ensemble of folds, so results are close to
nnU-Net's own and not the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch

from dicomnode.domain.errors import BundleInvalid
from dicomnode.models.templates import template_named
from dicomnode.models.weights import MODEL, read_pickled
from dicomnode.networks.plain_unet import own_weights

_CONFIGURATIONS = ("3d_fullres", "3d_lowres")
_CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")


def is_nnunet(source: Path) -> bool:
    """Whether this is a folder as nnU-Net leaves it."""
    return (source / "plans.json").is_file() and (source / "dataset.json").is_file()


def bundle_from_nnunet(source: Path, orientation: str, into: Path) -> tuple[str, ...]:
    """Write the bundle to the folder `into`, which is made; returns notes for people.

    `orientation`: how the files lay that it was trained on, as axis codes (`RAS`, `LPS` ...):
    nnU-Net reads arrays as they are stored and says nowhere how that was.

    Raises:
        BundleInvalid: this kind of plan cannot be run here, with the reason.
    """
    if not re.fullmatch(r"(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}", orientation):
        raise BundleInvalid(
            "nnU-Net says nowhere how its training files were oriented: give --orientation, e.g. "
            "RAS (TotalSegmentator's models) or LPS"
        )
    plans, dataset = _json(source / "plans.json"), _json(source / "dataset.json")
    name = next((one for one in _CONFIGURATIONS if one in plans.get("configurations", {})), None)
    if name is None:
        raise BundleInvalid(f"plans.json has none of {', '.join(_CONFIGURATIONS)}")
    plan = plans["configurations"][name]
    plan = {**plans["configurations"].get(plan.get("inherits_from", ""), {}), **plan}
    labels = _labels(dataset)
    checkpoint = _checkpoint(source)
    weights = own_weights(read_pickled(checkpoint, checkpoint.name))
    # (x, y, z) of a volume here -> (z, y, x) as nnU-Net reads it -> as its plans exchange them
    axes = [(2, 1, 0)[n] for n in plans.get("transpose_forward", (0, 1, 2))]
    for part in ("configs", "models", "docs"):
        (into / part).mkdir(parents=True)
    _write(into / "configs/metadata.json", _metadata(dataset, plans, labels))
    described = _described(str(plans.get("dataset_name", source.name)), labels)
    if described is not None:
        _write(into / "configs/dicom.json", described)
    _write(
        into / "configs/inference.json",
        _inference(plan, plans, _network(plan, dataset, len(labels) + 1, axes), axes, orientation),
    )
    safetensors.torch.save_file(weights, into / MODEL)
    return (
        f"{name} of nnU-Net, {checkpoint.parent.name}/{checkpoint.name}, read as {orientation}",
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BundleInvalid(f"{path.name} cannot be read: {type(exc).__name__}") from exc
    if not isinstance(raw, dict):
        raise BundleInvalid(f"{path.name} is no mapping")
    return raw


def _labels(dataset: Mapping[str, Any]) -> dict[int, str]:
    labels = dataset.get("labels", {})
    if not all(isinstance(code, int) for code in labels.values()):
        raise BundleInvalid("labels that overlap (regions) are not run here")
    if len(dataset.get("channel_names", {"0": "CT"})) != 1:
        raise BundleInvalid("models of several input channels are not run here")
    return {code: str(name) for name, code in labels.items() if code != 0}


def _checkpoint(source: Path) -> Path:
    for fold in sorted(source.glob("fold_*")):
        for name in _CHECKPOINTS:
            if (fold / name).is_file():
                return fold / name
    raise BundleInvalid(f"no fold_N holds one of {', '.join(_CHECKPOINTS)}")


def _network(
    plan: Mapping[str, Any], dataset: Mapping[str, Any], classes: int, axes: Sequence[int]
) -> dict[str, Any]:
    """The network's arguments, from plans as written before and after nnU-Net 2.4."""
    if "architecture" in plan:
        kind = str(plan["architecture"]["network_class_name"]).rpartition(".")[2]
        told = plan["architecture"]["arch_kwargs"]
        features = told.get("features_per_stage")
        kernels, strides = told.get("kernel_sizes"), told.get("strides")
        convs = told.get("n_conv_per_stage"), told.get("n_conv_per_stage_decoder")
    else:
        kind = str(plan.get("UNet_class_name"))
        strides = plan.get("pool_op_kernel_sizes", [])
        first, most = plan.get("UNet_base_num_features"), plan.get("unet_max_num_features")
        features = [min(first * 2**n, most) for n in range(len(strides))]
        kernels = plan.get("conv_kernel_sizes")
        convs = plan.get("n_conv_per_stage_encoder"), plan.get("n_conv_per_stage_decoder")
    if kind != "PlainConvUNet":
        raise BundleInvalid(f"the network is a {kind}; only PlainConvUNet is run here")
    return {
        "_target_": "dicomnode.networks.plain_unet.PlainUNet",
        "in_channels": len(dataset.get("channel_names", {"0": "CT"})),
        "out_channels": classes,
        "features": features,
        "kernels": kernels,
        "strides": strides,
        "encoder_convs": convs[0],
        "decoder_convs": convs[1],
        "axes": list(axes),
    }


def _inference(
    plan: Mapping[str, Any],
    plans: Mapping[str, Any],
    network: Mapping[str, Any],
    axes: Sequence[int],
    orientation: str,
) -> dict[str, Any]:
    if list(plan.get("normalization_schemes", ())) != ["CTNormalization"]:
        raise BundleInvalid("only models with CTNormalization are run here")
    seen = plans["foreground_intensity_properties_per_channel"]["0"]
    low, high, mean = seen["percentile_00_5"], seen["percentile_99_5"], seen["mean"]
    spread = max(float(seen["std"]), 1e-8)
    back = [list(axes).index(n) for n in range(3)]
    key = {"keys": "image"}
    return {
        "imports": [],
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": dict(network),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **key},
                {"_target_": "EnsureChannelFirstd", **key},
                {"_target_": "Orientationd", **key, "axcodes": orientation},
                {
                    "_target_": "Spacingd",
                    **key,
                    "pixdim": [float(plan["spacing"][n]) for n in back],
                    "mode": "bilinear",
                },
                {
                    "_target_": "ScaleIntensityRanged",
                    **key,
                    "a_min": low,
                    "a_max": high,
                    "b_min": (low - mean) / spread,
                    "b_max": (high - mean) / spread,
                    "clip": True,
                },
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [int(plan["patch_size"][n]) for n in back],
            "sw_batch_size": 1,
            "overlap": 0.5,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
        },
    }


def _described(name: str, labels: Mapping[int, str]) -> dict[str, Any] | None:
    """`dicom.json` where every label is called as TotalSegmentator calls it; else None."""
    known = template_named("wholeBody_ct_segmentation")
    if known is None:
        raise BundleInvalid("the template wholeBody_ct_segmentation is missing")
    segments = known.dicom["outputs"]["pred"]["segments"]
    by_name = {word: segments[code] for code, word in known.channels.items()}
    if not labels or not set(labels.values()) <= by_name.keys():
        return None
    named = {str(code): by_name[word] for code, word in sorted(labels.items())}
    return {
        **known.dicom,
        "name": re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_"),
        "manufacturer": "nnU-Net",
        "title": f"{name} (nnU-Net)",
        "intended_use": "Research use only. Outlines structures on CT by a model that nnU-Net "
        "trained. Not trained or checked by this node's makers; see the model's own card.",
        "outputs": {
            "pred": {**known.dicom["outputs"]["pred"], "segments": named},
        },
        "measurements": [{"measure": "volume", "of": [one["name"] for one in named.values()]}],
        "files": {},
    }


def _metadata(
    dataset: Mapping[str, Any], plans: Mapping[str, Any], labels: Mapping[int, str]
) -> dict[str, Any]:
    name = str(plans.get("dataset_name", dataset.get("name", "nnunet")))
    channels = {"0": "background", **{str(code): word for code, word in sorted(labels.items())}}
    return {
        "version": str(dataset.get("release", "1")),
        "name": name,
        "description": f"{name}, trained by nnU-Net",
        "network_data_format": {"outputs": {"pred": {"channel_def": channels}}},
    }


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
