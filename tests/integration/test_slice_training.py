"""`slice_lesion` trained on a DeepLesion folder, stopped, gone on with, judged and evaluated."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dicomnode.cli.main import main
from dicomnode.pipeline.bundle import load_bundle

ROOT = Path(__file__).parents[2] / "algorithms" / "slice_lesion"
QUICK = {"batch_size": 2, "validate_every": 1, "validation_slices": 1}


def deep_lesion(folder: Path) -> Path:
    """Four patients with a bright disc each; one is learned from twice."""
    columns = (
        "File_name,Measurement_coordinates,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,"
        "Spacing_mm_px_,Train_Val_Test"
    )
    lines = [columns]
    y, x = np.mgrid[:96, :96]
    for patient, part in ((1, 1), (2, 2), (3, 3), (4, 1)):
        images = folder / "Images_png" / f"{patient:06d}_01_01"
        images.mkdir(parents=True)
        middle = 30 + 8 * patient
        plane = np.where(np.hypot(x - 48, y - 48) < 45, 30, -1000)
        plane[np.hypot(x - middle, y - 48) < 8] = 150
        for number in (4, 5, 6):
            Image.fromarray((plane + 32768).astype(np.uint16)).save(images / f"{number:03d}.png")
        a, b = middle - 8, middle + 8
        lines.append(
            f'{patient:06d}_01_01_005.png,"{a}, 48, {b}, 48, {middle}, 40, {middle}, 56",'
            f'"{a - 5}, 35, {b + 5}, 61",{-1 if patient == 4 else 5},0,"0.8, 0.8, 2.5",{part}'
        )
    (folder / "DL_info.csv").write_text("\n".join(lines) + "\n")
    return folder


def ended_well(command: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(command)
    said = capfd.readouterr()
    assert ended.value.code == 0, said.err[-3000:]
    return said.out


@pytest.mark.timeout(1800)
def test_it_is_trained_by_one_command_goes_on_and_is_judged_an_image(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data, out = deep_lesion(tmp_path / "data"), tmp_path / "trained"

    def train(steps: int) -> str:
        options = [f"{key}={value}" for key, value in {**QUICK, "steps": steps}.items()]
        words = [word for option in options for word in ("--set", option)]
        command = ["train", "slice_lesion", str(data), "--out", str(out), "--draws", "5", *words]
        return ended_well(command, capfd)

    train(1)
    said = train(2)
    assert "learned from: 2 key slices of 2 patients, 2 lesions" in said
    curve = json.loads((out / "runs" / "curve.json").read_text())
    assert [row["step"] for row in curve] == [1, 2]
    assert all("sensitivity_at_4" in row for row in curve)
    new = load_bundle(out / "bundle")
    assert "Trained further on 2 marked lesions of 2 patients." in new.identity.intended_use
    before, after = (
        load_file(folder / "models" / "model.safetensors") for folder in (ROOT, out / "bundle")
    )
    assert {value.dtype for value in after.values()} <= {torch.float16, torch.int64}
    assert any(not torch.equal(before[name], after[name]) for name in before)
    judged = json.loads((out / "after.json").read_text())
    assert [one["name"] for one in judged["volumes"]] == ["000003_01_01_005"]

    report = tmp_path / "report.html"
    command = ["evaluate", "slice_lesion", str(data), "--out", str(report), "--draws", "5"]
    said = ended_well([*command, "--split", "train"], capfd)
    assert "2 volumes of 2 patients, 0 refused" in said
    told = json.loads(report.with_suffix(".json").read_text())
    assert {one["name"] for one in told["types"]} >= {"any type"}
    assert "false positives an image" in report.read_text()
