"""Weights of torchxrayvision become a bundle; the weights here are a stand-in of random numbers."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from monai.networks.nets.densenet import DenseNet121
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.domain.errors import BundleInvalid
from dicomnode.models.converters import GROUP, convert_to_bundle
from dicomnode.networks.xrv import XrvReader, renamed
from dicomnode.networks.xrv_bundle import LABELS, make_bundle
from dicomnode.pipeline.bundle import load_bundle

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's and torch's own


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """A state dictionary with the names and shapes of the published ones."""
    torch.manual_seed(0)
    own = DenseNet121(spatial_dims=2, in_channels=1, out_channels=18).state_dict()
    names = {key: re.sub(r"\.layers\.(norm|conv)", r".\1", key) for key in own}
    found = {
        names[key].replace("class_layers.out", "classifier"): value for key, value in own.items()
    }
    return {**found, "op_threshs": torch.full((18,), 0.5)}


def test_every_weight_finds_its_place(published: dict[str, torch.Tensor]) -> None:
    # As torchvision, from which the library has them, names the layers.
    assert "features.denseblock1.denselayer1.norm1.weight" in published
    assert "features.transition1.conv.weight" in published
    assert "classifier.bias" in published
    reader = XrvReader().eval()
    reader.load_state_dict(renamed(published))
    with torch.inference_mode():
        reading = reader(torch.rand(1, 1, 96, 64))
    assert reading["logits"].shape == (1, 18)
    assert reading["heatmaps"].shape == (1, 18, 64, 64)
    assert reading["ratio"].isnan().all()
    # The mean of a class's map, and the bias, are its logit.
    means = reading["heatmaps"].mean((2, 3)) + published["classifier.bias"]
    torch.testing.assert_close(means, reading["logits"], atol=0.2, rtol=0.1)


def test_what_is_no_such_dictionary_is_refused(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no part"):
        renamed({"layer1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="no classifier"):
        renamed({"features.conv0.weight": torch.zeros(1)})
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pt")
    with pytest.raises(BundleInvalid, match=r"state_dict\(\)"):
        make_bundle(tmp_path / "model.pt", tmp_path / "out", "cxr_xrv")
    assert not (tmp_path / "out").exists()


def test_the_bundle_loads_with_every_class_switched_off(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "weights.pt")
    make_bundle(tmp_path / "weights.pt", tmp_path / "cxr_xrv", "cxr_xrv")
    bundle = load_bundle(tmp_path / "cxr_xrv")
    pred = bundle.manifest.outputs.pred
    assert pred.kind == "classes"
    assert [one.name for one in pred.classes.values()] == list(LABELS)
    assert not any(one.reported for one in pred.classes.values())
    assert "has not been scored" in bundle.identity.intended_use
    with pytest.raises(BundleInvalid, match="already"):
        make_bundle(tmp_path / "weights.pt", tmp_path / "cxr_xrv", "cxr_xrv")


@pytest.mark.skipif(not entry_points(group=GROUP), reason="installed before there were converters")
def test_the_command_finds_the_converter_by_its_entry_point(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(published, tmp_path / "weights.pt")
    words = ["models", "convert", "torchxrayvision", str(tmp_path / "weights.pt")]
    done = CliRunner().invoke(app, [*words, str(tmp_path / "cxr_own")])
    assert done.exit_code == 0, done.output
    assert load_bundle(tmp_path / "cxr_own").identity.name == "cxr_own"
    with pytest.raises(BundleInvalid, match="torchxrayvision"):
        convert_to_bundle("tensorflow", tmp_path / "weights.pt", tmp_path / "other", "other")
