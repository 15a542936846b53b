"""A folder as nnU-Net leaves it becomes a bundle, and says what it cannot do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import BundleInvalid
from dicomnode.domain.findings import SegmentFinding
from dicomnode.models.adding import Asked, add_bundle
from dicomnode.models.shelf import Shelf
from dicomnode.networks.plain_unet import PlainUNet
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration import zoo_bundles as zoo
from tests.integration.test_models import LIMITS, loaded, unloaded

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]

LABELS = {"spleen": 1, "kidney_right": 2}


@pytest.mark.parametrize("architecture", [True, False])
def test_a_model_of_nnunet_gives_what_its_network_says(tmp_path: Path, architecture: bool) -> None:
    source = zoo.nnunet(tmp_path / "there", labels=LABELS, architecture=architecture)
    asked = Asked(source=source, orientation="LPS")

    added = add_bundle(Shelf(tmp_path / "models"), asked, LIMITS, loaded)

    assert any("fold_0/checkpoint_final.pth, read as LPS" in note for note in added.notes)
    geometry = SeriesGeometry(rows=32, columns=24, slices=16)
    hu = np.random.default_rng(5).normal(40, 120, (16, 32, 24)).astype(np.int16)
    paths = []
    for index, ds in enumerate(ct_series(StudyIdentity(seed="nnunet"), geometry, hu)):
        paths.append(tmp_path / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    volume = read_series(paths)
    algorithm = load_bundle(added.version.root)
    findings = algorithm.run({"image": volume}, RunContext(device="cpu", scratch=tmp_path))
    found = np.zeros(volume.grid.shape, np.uint8)
    for one in findings:
        assert isinstance(one, SegmentFinding)
        found[one.mask] = {"spleen": 1, "kidney right": 2}[one.name]

    # the same network on the slices as they lie (z, y, x), LPS, windows and weights aside
    raw = json.loads((added.version.root / "configs/inference.json").read_text())["network_def"]
    del raw["_target_"]
    plain = PlainUNet(**{**raw, "axes": (0, 1, 2)}).eval()
    plain.load_state_dict(load_file(added.version.root / "models/model.safetensors"))
    seen = (torch.from_numpy(volume.array).clamp(-160, 240) - 40) / 90
    with torch.inference_mode():
        upper, lower = (plain(part[None, None])[0].argmax(0) for part in (seen[:8], seen[8:]))
    # between the windows they are blended
    assert (found[:4] == upper[:4].numpy()).mean() > 0.9
    assert (found[-4:] == lower[-4:].numpy()).mean() > 0.9
    assert len(np.unique(found)) > 1


def test_axes_are_those_of_the_network() -> None:
    shape = {
        "features": [2, 4],
        "kernels": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2]],
        "encoder_convs": [1, 1],
        "decoder_convs": [1],
    }
    torch.manual_seed(0)
    plain = PlainUNet(1, 2, **shape, axes=(0, 1, 2)).eval()  # type: ignore[arg-type]
    turned = PlainUNet(1, 2, **shape, axes=(2, 0, 1)).eval()  # type: ignore[arg-type]
    turned.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 8, 6, 4)
    with torch.inference_mode():
        expected = plain(x.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
        torch.testing.assert_close(turned(x), expected)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"normalization_schemes": ["ZScoreNormalization"]}, "CTNormalization"),
        (
            {"architecture": {"network_class_name": "a.ResidualEncoderUNet", "arch_kwargs": {}}},
            "Res",
        ),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    source = zoo.nnunet(tmp_path / "there", labels=LABELS)
    plans = json.loads((source / "plans.json").read_text())
    plans["configurations"]["3d_fullres"] |= changes
    (source / "plans.json").write_text(json.dumps(plans))
    shelf = Shelf(tmp_path / "models")
    with pytest.raises(BundleInvalid, match=why):
        add_bundle(shelf, Asked(source=source, orientation="RAS"), LIMITS, unloaded)
    assert shelf.names() == ()


def test_orientation_has_to_be_said_and_unknown_labels_described(tmp_path: Path) -> None:
    source = zoo.nnunet(tmp_path / "there", labels={"something": 1})
    shelf = Shelf(tmp_path / "models")
    for given in ("", "XYZ", "RRS"):
        with pytest.raises(BundleInvalid, match="--orientation"):
            add_bundle(shelf, Asked(source=source, orientation=given), LIMITS, unloaded)
    with pytest.raises(BundleInvalid, match="--dicom-json"):
        add_bundle(shelf, Asked(source=source, orientation="RAS"), LIMITS, unloaded)
