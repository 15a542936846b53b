"""Makes a bundle of weights of torchxrayvision that a site has downloaded.

The entry point `torchxrayvision` of the group `dicomnode.converters`: `dicomnode models convert
torchxrayvision WEIGHTS.pt OUT`. WEIGHTS.pt is a plain state dictionary; files that hold whole
pickled models are refused.
"""

import hashlib
import json
import shutil
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch

from dicomnode.domain.errors import BundleInvalid
from dicomnode.networks.xrv import renamed
from dicomnode.shipped import shipped

LABELS = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema"),
    *("Fibrosis", "Effusion", "Pneumonia", "Pleural Thickening", "Cardiomegaly", "Nodule"),
    *("Mass", "Hernia", "Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"),
)
"""Of the published DenseNets, in their order."""
_USE = (
    "Research use only. A network of torchxrayvision (Cohen et al. 2022) with weights that this "
    "site has put in place; it has not been scored by the makers of the node, and no class is "
    "reported until the site has scored it. Not a medical device, not for diagnosis."
)


def make_bundle(weights: Path, out: Path, name: str) -> None:
    """Write the bundle `out`; no class is reported yet.

    Raises:
        BundleInvalid: the weights cannot be used, or there is such a folder already.
    """
    thorax = shipped("algorithms") / "cxr_thorax"
    network = _weights(weights)
    if out.exists():
        raise BundleInvalid(f"{out} is there already")
    for part in ("configs", "models", "docs"):
        (out / part).mkdir(parents=True)
    safetensors.torch.save_file(network, out / "models" / "model.safetensors")
    shutil.copy(thorax / "models" / "gate.safetensors", out / "models")
    known = json.loads((thorax / "configs" / "dicom.json").read_text())
    codes = {
        one["name"].lower(): one["code"] for one in known["outputs"]["pred"]["classes"].values()
    }
    labels = LABELS[: len(network["network.class_layers.out.bias"])]
    manifest = {
        **{key: known[key] for key in ("schema", "manufacturer", "inputs", "gate", "time_limit_s")},
        "name": name,
        "title": "Diseases on chest radiographs (torchxrayvision)",
        "intended_use": _USE,
        "outputs": {
            "pred": {
                "kind": "classes",
                "classes": {
                    str(number): {
                        "name": label,
                        "code": codes.get(label.lower(), [_value(label), "99DICOMNODE", label]),
                        "operating_point": 0.5,
                        "reported": False,
                    }
                    for number, label in enumerate(labels)
                },
            }
        },
        "files": {
            f"models/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((out / "models").iterdir())
        },
    }
    inference = json.loads((thorax / "configs" / "inference.json").read_text())
    inference["network_def"] = {
        "_target_": "dicomnode.networks.xrv.XrvReader",
        "classes": len(labels),
    }
    metadata = json.loads((thorax / "configs" / "metadata.json").read_text())
    metadata.update(name=manifest["title"], description=_USE, version="1.0.0")
    for file, content in (("dicom", manifest), ("inference", inference), ("metadata", metadata)):
        text = json.dumps(content, indent=2)
        (out / "configs" / f"{file}.json").write_text(text + "\n", encoding="utf-8")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        published = torch.load(path, map_location="cpu", weights_only=True)
        return {key: value.contiguous() for key, value in renamed(published).items()}
    except (UnpicklingError, ValueError, OSError, AttributeError, RuntimeError) as exc:
        raise BundleInvalid(
            f"{path.name} is no state dictionary of a DenseNet of torchxrayvision ({exc}). Where "
            "that library is installed: torch.save(xrv.models.DenseNet(weights=NAME).state_dict(), "
            "'weights.pt')"
        ) from exc


def _value(label: str) -> str:
    return label.lower().replace(" ", "-")[:16]
