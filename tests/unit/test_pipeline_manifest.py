"""`dicom.json` and the files of a bundle are checked before anything is loaded."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomnode.algorithm import InputSpec
from dicomnode.domain.codes import Code
from dicomnode.domain.errors import BundleInvalid
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.bundle_files import read_checked, read_manifest
from dicomnode.pipeline.discovery import (
    AlgorithmDescription,
    AlgorithmSource,
    BrokenAlgorithm,
    describe,
    discover,
    load_algorithm,
)
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle

Spoil = Callable[[dict[str, Any]], None]


def edit(root: Path, name: str, change: Spoil) -> None:
    path = root / "configs" / f"{name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_description_says_who_and_what_fits(tmp_path: Path) -> None:
    described = describe(write_bundle(tmp_path))
    assert described.identity.name == "test_air"
    assert described.identity.version == "1.0.0"
    assert described.identity.intended_use.startswith("Research use only")
    assert described.needs == {"image": InputSpec(modalities=frozenset({"CT"}), dimensions=3)}
    assert described.time_limit_s == 60
    assert described.source == AlgorithmSource(root=tmp_path / "test_air")


def test_codes_and_colors_are_read(tmp_path: Path) -> None:
    pred = read_manifest(write_bundle(tmp_path)).outputs.pred
    assert pred.kind == "segments"
    segment = pred.segments[1]
    assert segment.type == Code("39607008", "SCT", "Lung")
    assert segment.color == (230, 159, 0)
    assert segment.laterality is None


def test_another_model_or_threshold_is_another_digest(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    first = describe(root).identity.model_digest
    assert describe(root).identity.model_digest == first
    edit(root, "inference", lambda config: config.update(size=7))
    second = describe(root).identity.model_digest
    edit(
        root,
        "dicom",
        lambda config: config["files"].update({next(iter(config["files"])): "0" * 64}),
    )
    third = describe(root).identity.model_digest
    assert len({first, second, third}) == 3


def put(*path: str | int, value: object) -> Spoil:
    def change(config: dict[str, Any]) -> None:
        place: Any = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


SEGMENT = ("outputs", "pred", "segments", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("schema", value=2), "schema"),
        (put("colour", value="red"), "colour: Extra inputs are not permitted"),
        (put("name", value="../evil"), "name"),
        (put("time_limit_s", value=0), "time_limit_s"),
        (put("inputs", value={}), "inputs"),
        (put("inputs", "image", "dimensions", value=4), "inputs.image.dimensions"),
        (put("inputs", "image", "modality", value=[]), "inputs.image.modality"),
        (put("outputs", "pred", "kind", value="magic"), "outputs.pred.kind"),
        (put(*SEGMENT, "type", value=["39607008", "SCT"]), r"a code is \[value, scheme, meaning\]"),
        (put(*SEGMENT, "type", value=["1", "S" * 17, "Lung"]), "the scheme 1 to 16"),
        (put(*SEGMENT, "color", value=[0, 0, 256]), "color"),
        (put("outputs", "pred", "segments", value={}), "outputs.pred.segments"),
        (put("outputs", "pred", "encoding", value="channels"), "counted 0, 1, ... without a gap"),
        (put("measurements", 0, "of", value=["spleen"]), "volume of 'spleen', which is no segment"),
        (put("measurements", 0, "measure", value="area"), "area cannot be measured in 3D"),
        (put("measurements", 0, "measure", value="weight"), "measurements.0"),
        (put("files", value={}), "files"),
        (put("files", value={"models/model.safetensors": "abc"}), "files"),
        (put("files", value={"../other/model.pt": "0" * 64}), "plain path inside the bundle"),
        (put("files", value={"/etc/passwd": "0" * 64}), "plain path inside the bundle"),
        (put("files", value={"models/../../x": "0" * 64}), "plain path inside the bundle"),
        (put("files", "models/gone.pt", value="0" * 64), "models/gone.pt is listed but not in"),
    ],
)
def test_faulty_description_is_refused_with_its_place(
    tmp_path: Path, change: Spoil, message: str
) -> None:
    root = write_bundle(tmp_path)
    edit(root, "dicom", change)
    with pytest.raises(BundleInvalid, match=message):
        describe(root)


def test_label_zero_is_the_background(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    edit(
        root,
        "dicom",
        lambda c: put(
            "outputs",
            "pred",
            "segments",
            "0",
            value={**c["outputs"]["pred"]["segments"]["1"], "name": "other"},
        )(c),
    )
    with pytest.raises(BundleInvalid, match="label 0 is the background"):
        describe(root)


def test_two_segments_of_one_name_are_refused(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    edit(
        root,
        "dicom",
        lambda c: put(
            "outputs", "pred", "segments", "2", value=c["outputs"]["pred"]["segments"]["1"]
        )(c),
    )
    with pytest.raises(BundleInvalid, match="two segments have one name"):
        describe(root)


def test_mean_hu_needs_ct(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    edit(root, "dicom", put("measurements", 0, "measure", value="mean_hu"))
    describe(root)
    edit(root, "dicom", put("inputs", "image", "modality", value=["CT", "MR"]))
    with pytest.raises(BundleInvalid, match="in CT only"):
        describe(root)


@pytest.mark.parametrize("version", ["", "1.0 beta", 7, None])
def test_bundle_needs_a_version(tmp_path: Path, version: object) -> None:
    root = write_bundle(tmp_path)
    edit(root, "metadata", put("version", value=version))
    with pytest.raises(BundleInvalid, match="no usable version"):
        describe(root)


@pytest.mark.parametrize("name", ["dicom", "inference", "metadata"])
def test_missing_and_broken_configuration_is_refused(tmp_path: Path, name: str) -> None:
    root = write_bundle(tmp_path)
    (root / "configs" / f"{name}.json").unlink()
    with pytest.raises(BundleInvalid, match=f"configs/{name}.json cannot be read"):
        describe(root)


def test_wrong_digest_is_refused_before_loading(tmp_path: Path) -> None:
    root = write_bundle(tmp_path, BundleRecipe(behaviour=Behaviour.WRONG_DIGEST))
    with pytest.raises(BundleInvalid, match=r"SHA-256 .* nothing of it was loaded"):
        load_bundle(root)


def test_weights_swapped_after_the_check_are_refused(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    manifest = read_manifest(root)
    (root / "models" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(BundleInvalid, match="nothing of it was loaded"):
        read_checked(root, manifest, "models/model.safetensors")


def test_unlisted_model_file_is_refused(tmp_path: Path) -> None:
    root = write_bundle(tmp_path, BundleRecipe(behaviour=Behaviour.UNLISTED_FILE))
    with pytest.raises(BundleInvalid, match=r"models/model.pt is not listed"):
        describe(root)


def test_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    weights = root / "models" / "model.safetensors"
    weights.rename(tmp_path / "outside")
    weights.symlink_to(tmp_path / "outside")
    with pytest.raises(BundleInvalid, match="listed but not in the bundle"):
        describe(root)


def test_bundle_is_loaded_once_and_again_when_it_changes(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    first = load_bundle(root)
    assert load_bundle(root) is first
    edit(root, "metadata", put("version", value="1.0.10"))
    assert load_bundle(root).identity.version == "1.0.10"


def test_broken_bundle_is_listed_with_its_fault_beside_sound_ones(tmp_path: Path) -> None:
    write_bundle(tmp_path, BundleRecipe(name="sound"))
    write_bundle(tmp_path, BundleRecipe(name="broken", behaviour=Behaviour.UNLISTED_FILE))
    (tmp_path / "not a bundle").mkdir()
    found = discover([tmp_path, tmp_path / "missing"])
    assert set(found) == {"sound", "broken"}
    assert isinstance(found["sound"], AlgorithmDescription)
    broken = found["broken"]
    assert isinstance(broken, BrokenAlgorithm)
    assert "not listed" in broken.fault


def test_name_that_is_taken_is_a_fault_of_the_later_bundle(tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        write_bundle(root)
    found = discover(roots)
    assert isinstance(found["test_air"], AlgorithmDescription)
    (other,) = [one for one in found.values() if isinstance(one, BrokenAlgorithm)]
    assert other.source.root == roots[1] / "test_air"
    assert "taken" in other.fault


def test_unknown_entry_point_is_refused() -> None:
    with pytest.raises(BundleInvalid, match="no installed package offers"):
        load_algorithm(AlgorithmSource(entry_point="nobody-has-this"))


_PLUGIN = """
from dicomnode.algorithm import AlgorithmIdentity, InputSpec

class Plugin:
    identity = AlgorithmIdentity(name="plugin", version="2", manufacturer="m", title="t",
                                 model_digest="", intended_use="Research use only.")
    needs = {"image": InputSpec(modalities=frozenset({"MR"}), dimensions=3)}
    time_limit_s = 5.0
    def run(self, inputs, context):
        return []

def broken():
    raise LookupError("no weights")
"""


def test_entry_points_are_described_and_broken_ones_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dicomnode_test_plugin.py").write_text(_PLUGIN)
    info = tmp_path / "dicomnode_test_plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: dicomnode-test-plugin\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text(
        "[dicomnode.algorithms]\n"
        "plugin = dicomnode_test_plugin:Plugin\n"
        "bad = dicomnode_test_plugin:broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = discover([])
    plugin = found["plugin"]
    assert isinstance(plugin, AlgorithmDescription)
    assert plugin.identity.version == "2"
    assert load_algorithm(plugin.source).identity == plugin.identity
    bad = found["bad"]
    assert isinstance(bad, BrokenAlgorithm)
    assert bad.fault == "LookupError: no weights"


def test_discovery_and_reading_load_neither_torch_nor_monai(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from dicomnode.pipeline.discovery import discover\n"
        "import dicomnode.pipeline.volume, dicomnode.pipeline.child\n"
        "assert 'test_air' in discover([Path(sys.argv[1])])\n"
        "print({'torch', 'monai', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_listed_digest_is_of_the_whole_file(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    content = read_checked(root, read_manifest(root), "models/model.safetensors")
    assert hashlib.sha256(content).hexdigest() in (root / "configs/dicom.json").read_text()
