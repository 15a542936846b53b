"""The lung bundle on a CT it was not trained on: Chest Imaging Platform's ct-64, silver truth."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "algorithms/lung_ct"
DATA = Path(os.environ.get("DICOMNODE_DATA", ROOT.parent / "shared/data"))
CT = DATA / "ct/cip_ct64"
NOT_OURS = {"LoadImaged", "EnsureChannelFirstd", "SaveImaged"}

held_out = pytest.mark.skipif(not CT.is_dir(), reason=f"the held-out CT is not at {CT}")

Labels = npt.NDArray[np.uint8]


def read(name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return `(x, y, z)` and its RAS affine."""
    image: Any = sitk.ReadImage(str(CT / name))
    lps = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps[:3, :3] = direction @ np.diag(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32)
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


@torch.no_grad()
def segment(hu: npt.NDArray[np.float32], affine: npt.NDArray[np.float64]) -> Labels:
    """Return the labels of the bundle, run as its own configuration says."""
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs/inference.json")
    for chain in ("preprocessing", "postprocessing"):
        steps = parser[chain]["transforms"]
        parser[chain]["transforms"] = [t for t in steps if t["_target_"] not in NOT_OURS]
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_file(BUNDLE / "models/model.safetensors"))
    network.eval()
    data = parser.get_parsed_content("preprocessing")(
        {"image": MetaTensor(torch.from_numpy(hu.copy())[None], affine=torch.from_numpy(affine))}
    )
    data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    pred = parser.get_parsed_content("postprocessing")(data)["pred"]
    assert pred.shape == (1, *hu.shape)
    labels: Labels = pred[0].numpy()
    return labels


def dice(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def sides_of_truth() -> Labels:
    """Return 1 right, 2 left: the regions of the label map are thirds of each lung."""
    whole = read("wholeLung-64.nrrd")[0] > 0
    region = read("lm-64.nrrd")[0].astype(np.int64) % 256
    sides = np.where(np.isin(region, (12, 13, 14)), 1, np.where(region > 8, 2, 0))
    return np.asarray(np.where(whole, sides, 0), np.uint8)


@held_out
def test_each_lung_of_a_ct_it_never_saw_is_found_in_less_than_forty_seconds() -> None:
    hu, affine = read("ct-64.nrrd")
    true = sides_of_truth()
    started = time.monotonic()

    found = segment(hu, affine)

    assert time.monotonic() - started < 40
    assert dice(found > 0, true > 0) >= 0.97
    assert dice(found == 1, true == 1) >= 0.95
    assert dice(found == 2, true == 2) >= 0.95


@held_out
def test_right_stays_right_when_the_axes_are_reversed_and_exchanged() -> None:
    hu, affine = read("ct-64.nrrd")
    true = sides_of_truth()
    turn = np.array([[0, -1, 0, 63], [0, 0, 1, 0], [-1, 0, 0, 78], [0, 0, 0, 1]], float)
    turned = np.ascontiguousarray(hu.transpose(2, 0, 1)[::-1, ::-1])
    # voxel (a, b, c) of the turned array is voxel (63 - b, c, 78 - a) of the first

    found = segment(turned, affine @ turn)
    back = found[::-1, ::-1].transpose(1, 2, 0)

    assert dice(back == 1, true == 1) >= 0.95
    assert dice(back == 2, true == 2) >= 0.95


def test_a_volume_without_lungs_has_none() -> None:
    body = np.full((60, 50, 24), -1000.0, np.float32)
    body[10:50, 10:40] = 40.0

    assert not segment(body, np.diag([-5.0, -5.0, 5.0, 1.0])).any()


def test_the_weights_are_the_ones_that_were_described() -> None:
    described = json.loads((BUNDLE / "configs/dicom.json").read_text())["files"]
    present = {f"models/{p.name}" for p in (BUNDLE / "models").iterdir()}

    assert set(described) == present
    for name, digest in described.items():
        assert hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest() == digest
