"""Bundles as the Model Zoo lays them out: added, run, rolled back, compared; and refused."""

import json
import stat
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from pydicom import dcmread

from dicomnode.algorithm import RunContext
from dicomnode.cli.main import main
from dicomnode.domain.errors import BundleInvalid, StudyError
from dicomnode.domain.findings import SegmentFinding
from dicomnode.models.adding import Asked, add_bundle
from dicomnode.models.shelf import Shelf, Version, check_version
from dicomnode.models.templates import template_named, templates
from dicomnode.models.unpacking import Limits, unpack
from dicomnode.models.weights import convert_weights
from dicomnode.pipeline.bundle import load_bundle, try_loading
from dicomnode.pipeline.manifest import Manifest
from dicomnode.pipeline.tensors import ras_affine
from dicomnode.pipeline.volume import read_series
from dicomnode.settings import load_settings
from dicomnode.steps.installed import algorithms_of, usable
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series
from tests.integration import zoo_bundles as zoo

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]

LIMITS = Limits(total_bytes=200_000_000)
NOW = datetime(2026, 11, 29, 18, tzinfo=UTC)


def loaded(root: Path) -> None:
    try_loading("cpu", root)


def unloaded(_root: Path) -> None:
    """For tests of what comes before loading."""


def ct_files(folder: Path, shape: tuple[int, int, int] = (20, 40, 32)) -> list[Path]:
    """An oblique CT of blocks and noise, so that a mask fits in one way only."""
    folder.mkdir(exist_ok=True)
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.2)), float(np.sin(0.2)))
    slices, rows, columns = shape
    geometry = SeriesGeometry(rows=rows, columns=columns, slices=slices, orientation=tilted)
    generator = np.random.default_rng(4)
    coarse = generator.normal(30, 90, (slices // 4, rows // 8, columns // 8))
    hounsfield = np.kron(coarse, np.ones((4, 8, 8))) + generator.normal(0, 10, shape)
    paths = []
    made = ct_series(StudyIdentity(seed="zoo"), geometry, hounsfield.astype(np.int16))
    for index, ds in enumerate(made):
        paths.append(folder / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def as_monai_alone_runs_it(
    root: Path, files: Sequence[Path], folder: Path
) -> npt.NDArray[np.bool_]:
    """The bundle's own configuration on a NIfTI file, by MONAI: (slice, row, column)."""
    volume = read_series(files)
    nifti = folder / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume.array.T, ras_affine(volume.grid)), nifti)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    parser["postprocessing#transforms"] = parser["postprocessing#transforms"][:-1]
    network = parser.get_parsed_content("network_def").eval()
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    network.load_state_dict(weights["model"])
    data = parser.get_parsed_content("preprocessing")({"image": str(nifti)})
    with torch.inference_mode():
        output = parser.get_parsed_content("inferer")(data["image"][None], network)
    # Invertd works in place.
    data["pred"] = output[0].clone()
    pred = parser.get_parsed_content("postprocessing")(data)["pred"]
    return np.asarray(pred[0]).T == 1


def test_a_bundle_of_the_model_zoo_is_added_and_run_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = zoo.spleen(tmp_path / "there")
    archive = zoo.zipped(root, tmp_path / "spleen_ct_segmentation_v0.5.9.zip")
    settings = tmp_path / "dicomnode.toml"
    settings.write_text('data_dir = "data"\n')
    files = ct_files(tmp_path / "study")
    expected = as_monai_alone_runs_it(root, files, tmp_path)
    assert 0.05 < expected.mean() < 0.95

    def command(*arguments: str | Path) -> None:
        main([*map(str, arguments), "--settings", str(settings)])

    with pytest.raises(SystemExit) as ended:
        command("models", "add", archive, "--activate")
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        command("run", "spleen_ct_segmentation", tmp_path / "study", "--out", tmp_path / "out")
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        command("models", "verify")
    said = capsys.readouterr().out

    assert ended.value.code == 0
    assert "model.pt converted to model.safetensors" in said
    assert "described by the template spleen_ct_segmentation" in said
    (segmentation,) = (
        ds for path in (tmp_path / "out").rglob("*.dcm") if (ds := dcmread(path)).Modality == "SEG"
    )
    assert segmentation.SegmentSequence[0].SegmentLabel == "spleen"
    assert segmentation.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == (
        "78961009"
    )
    volume = read_series(files)
    version = usable(algorithms_of(load_settings(settings, {})))["spleen_ct_segmentation"]
    assert version.source.root is not None
    algorithm = load_bundle(version.source.root)
    (found,) = algorithm.run({"image": volume}, RunContext(device="cpu", scratch=tmp_path))
    assert isinstance(found, SegmentFinding)
    np.testing.assert_array_equal(found.mask, expected)
    pixels = segmentation.pixel_array.reshape(-1, 40, 32)
    assert pixels.sum() == expected.sum()


def test_own_transforms_and_inferer_run_once_they_are_trusted(tmp_path: Path) -> None:
    root = zoo.spleen(tmp_path / "there", own_code=True)
    shelf = Shelf(tmp_path / "models")

    with pytest.raises(BundleInvalid, match=r"scripts.*--trust-code"):
        add_bundle(shelf, Asked(source=root), LIMITS, loaded)
    added = add_bundle(shelf, Asked(source=root, trust_code=True), LIMITS, loaded)
    other = zoo.spleen(tmp_path / "other", own_code=True, version="0.6.0")
    numbers = other / "scripts" / "numbers.py"
    numbers.write_text("SHIFT = -0.5\n")
    second = add_bundle(shelf, Asked(source=other, trust_code=True), LIMITS, loaded)

    volume = read_series(ct_files(tmp_path / "study"))
    masks = []
    for version in (added.version, second.version, added.version):
        findings = load_bundle(version.root).run(
            {"image": volume}, RunContext(device="cpu", scratch=tmp_path)
        )
        masks.append([f.mask.sum() for f in findings if isinstance(f, SegmentFinding)])
    # each bundle has found its own `scripts`
    assert masks[0] == masks[2] != masks[1]
    assert not list(added.version.root.rglob("__pycache__"))

    (added.version.root / "scripts" / "numbers.py").write_text("SHIFT = 9\n")
    with pytest.raises(BundleInvalid, match=r"scripts/numbers.py has SHA-256"):
        load_bundle(added.version.root)
    (second.version.root / "scripts" / "more.py").write_text("")
    with pytest.raises(BundleInvalid, match=r"scripts/more.py is not listed"):
        try_loading("cpu", second.version.root)


def test_a_searched_architecture_in_a_pickle_of_arrays_is_converted_and_loads(
    tmp_path: Path,
) -> None:
    root = zoo.pancreas(tmp_path / "there")

    added = add_bundle(Shelf(tmp_path / "models"), Asked(source=root), LIMITS, loaded)

    kept = {path.name for path in (added.version.root / "models").iterdir()}
    assert kept == {"model.safetensors", "search_code_18590.safetensors"}
    config = json.loads((added.version.root / "configs" / "inference.json").read_text())
    assert config["dints_space"]["device"] == "@device"
    assert config["imports"][-1] == "$from safetensors.numpy import load_file"


def test_a_box_detector_is_run_without_its_own_code_and_nothing_it_marks_leaves(
    tmp_path: Path,
) -> None:
    root = zoo.nodules(tmp_path / "there")

    added = add_bundle(Shelf(tmp_path / "models"), Asked(source=root), LIMITS, loaded)

    volume = read_series(ct_files(tmp_path / "study", (16, 16, 16)))
    algorithm = load_bundle(added.version.root)
    context = RunContext(device="cpu", scratch=tmp_path)
    found = algorithm.candidates({"image": volume}, context)
    assert found
    lowest, highest = np.min([c.box[0] for c in found], 0), np.max([c.box[1] for c in found], 0)
    corners = np.array(list(product(*((0, n) for n in volume.grid.shape))))
    ends = corners @ volume.grid.affine_lps_mm[:3, :3].T + volume.grid.affine_lps_mm[:3, 3]
    assert (lowest > ends.min(0) - 20).all()
    assert (highest < ends.max(0) + 20).all()
    assert list(algorithm.run({"image": volume}, context)) == []


def test_versions_are_activated_and_rolled_back_in_one_step(tmp_path: Path) -> None:
    settings = load_settings(None, {}).model_copy(update={"data_dir": tmp_path})
    shelf = Shelf(settings.models_dir)
    versions = [
        add_bundle(
            shelf,
            Asked(source=zoo.spleen(tmp_path / number, version=number, seed=seed)),
            LIMITS,
            unloaded,
        ).version
        for seed, number in enumerate(("0.5.8", "0.5.9"))
    ]
    again = zoo.spleen(tmp_path / "again", version="0.5.9", seed=1)

    def active() -> str:
        known = usable(algorithms_of(settings)).get("spleen_ct_segmentation")
        return "" if known is None else known.identity.version

    assert active() == ""
    for version in versions:
        shelf.activate(shelf.find(version.name, version.key[:5]), NOW)
        assert active() == version.key[:5]
    assert [one.is_active for one in shelf.of("spleen_ct_segmentation")] == [False, True]
    before = shelf.roll_back("spleen_ct_segmentation", NOW)
    assert before is not None
    assert before.key == versions[0].key
    assert active() == "0.5.8"
    with pytest.raises(StudyError, match="no other version"):
        shelf.roll_back("spleen_ct_segmentation", NOW)
    assert shelf.roll_back("spleen_ct_segmentation", NOW, is_shipped=True) is None
    assert active() == ""
    shelf.activate(shelf.find("spleen_ct_segmentation", "0.5.8"), NOW)
    kept = add_bundle(shelf, Asked(source=again), LIMITS, unloaded).version
    assert kept.key == versions[1].key

    with pytest.raises(StudyError, match="is active"):
        shelf.remove(shelf.find("spleen_ct_segmentation", "0.5.8"))
    shelf.deactivate("spleen_ct_segmentation", NOW)
    assert active() == ""
    shelf.remove(shelf.find("spleen_ct_segmentation", "0.5.8"))
    with pytest.raises(StudyError, match="no version"):
        shelf.find("spleen_ct_segmentation", "0.5.8")


def test_an_added_model_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    settings = load_settings(None, {}).model_copy(update={"data_dir": tmp_path})
    shelf = Shelf(settings.models_dir)
    assert template_named("spleen_ct_segmentation") is not None
    described = dict(template_named("spleen_ct_segmentation").dicom, name="lung_ct")  # type: ignore[union-attr]
    described_by = tmp_path / "mine.json"
    described_by.write_text(json.dumps(described))
    asked = Asked(source=zoo.spleen(tmp_path / "b", version="9.0"), dicom_json=described_by)
    before = set(algorithms_of(settings))

    shelf.activate(add_bundle(shelf, asked, LIMITS, unloaded).version, NOW)

    assert usable(algorithms_of(settings))["lung_ct"].identity.version == "9.0"
    assert set(algorithms_of(settings)) == before


def test_a_damaged_version_is_named_and_not_activated(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    version = add_bundle(shelf, Asked(source=zoo.spleen(tmp_path)), LIMITS, unloaded).version
    assert check_version(version) == ""
    weights = version.root / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    assert "model.safetensors has SHA-256" in check_version(version)
    with pytest.raises(BundleInvalid, match="SHA-256"):
        shelf.activate(version, NOW)
    assert not list(shelf.active.iterdir()) if shelf.active.is_dir() else True


def test_two_commands_at_once_do_not_both_write(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    with (
        shelf.staging(),
        pytest.raises(StudyError, match="right now"),
        Shelf(tmp_path / "models").staging(),
    ):
        raise AssertionError("two writers")


def zip_of(folder: Path, members: dict[str, bytes], *, mode: int = 0) -> Path:
    path = folder / "evil.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "b/../../evil", "b\\..\\evil", "C:evil"]
)
def test_a_zip_that_leads_out_of_itself_writes_nothing(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path, {"b/configs/metadata.json": b"{}", name: b"evil"})
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)

    with pytest.raises(BundleInvalid, match="leads out"):
        unpack(archive, inside, LIMITS)

    assert not list(inside.rglob("*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "evil.zip"]


def test_links_in_zip_and_folder_are_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path, {"b/configs/x": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777)
    (tmp_path / "into").mkdir()
    with pytest.raises(BundleInvalid, match="no plain file"):
        unpack(archive, tmp_path / "into", LIMITS)

    root = zoo.spleen(tmp_path / "b")
    (root / "models" / "more.pt").symlink_to("/etc/passwd")
    with pytest.raises(BundleInvalid, match="is a link"):
        unpack(root, tmp_path / "into", LIMITS)


def test_a_zip_is_measured_as_it_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path, {"b/configs/zeros": bytes(3_000_000)})
    assert archive.stat().st_size < 10_000
    (tmp_path / "into").mkdir()

    with pytest.raises(BundleInvalid, match=r"more than 0.002 GB"):
        unpack(archive, tmp_path / "into", Limits(total_bytes=2_000_000))
    with pytest.raises(BundleInvalid, match="more than 0 files"):
        unpack(archive, tmp_path / "into", Limits(total_bytes=9_000_000, files=0))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"b/models/x": b""}, "there is none"),
        ({"a/configs/x": b"", "b/configs/x": b""}, "there is several"),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, members: dict[str, bytes], why: str) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(BundleInvalid, match=why):
        unpack(zip_of(tmp_path, members), tmp_path / "into", LIMITS)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(BundleInvalid, match="neither a folder nor"):
        unpack(tmp_path / "text.zip", tmp_path / "into", LIMITS)


class Evil:
    """What a pickle can do: call anything."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path(__file__).parent / "evil.ran",)  # type: ignore[return-value]


def test_a_pickle_of_more_than_tensors_is_refused_and_not_run(tmp_path: Path) -> None:
    root = zoo.spleen(tmp_path)
    torch.save({"model": Evil()}, root / "models" / "model.pt")
    shelf = Shelf(tmp_path / "models")

    with pytest.raises(BundleInvalid, match="pickle of more than tensors"):
        add_bundle(shelf, Asked(source=root), LIMITS, unloaded)

    assert not (Path(__file__).parent / "evil.ran").exists()
    assert shelf.names() == ()


@pytest.mark.parametrize("name", ["model.pkl", "model.onnx", "model.safetensors"])
def test_other_kinds_of_weights_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    root = zoo.spleen(tmp_path)
    (root / "models" / name).write_bytes(b"something")
    with pytest.raises(BundleInvalid, match=r"not loaded here|no safetensors"):
        convert_weights(root)


def test_torchscript_is_kept_and_pickles_are_gone(tmp_path: Path) -> None:
    root = zoo.spleen(tmp_path)
    (root / "models" / "model.pt").unlink()
    scripted = torch.jit.trace(torch.nn.Conv3d(1, 2, 1), torch.zeros(1, 1, 2, 2, 2))
    torch.jit.save(scripted, root / "models" / "model.pt")

    convert_weights(root)

    assert [path.name for path in (root / "models").iterdir()] == ["model.ts"]


def test_labels_in_another_order_than_the_template_says_are_refused(tmp_path: Path) -> None:
    root = zoo.spleen(tmp_path)
    metadata = root / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text().replace('"spleen"', '"liver"'))
    shelf = Shelf(tmp_path / "models")

    with pytest.raises(BundleInvalid, match=r"channel 1 is 'liver'.*'spleen'"):
        add_bundle(shelf, Asked(source=root), LIMITS, unloaded)
    with pytest.raises(BundleInvalid, match="no template 'liver'"):
        add_bundle(shelf, Asked(source=root, template="liver"), LIMITS, unloaded)
    root = root.rename(tmp_path / "unheard_of")
    with pytest.raises(BundleInvalid, match="no template fits its name"):
        add_bundle(shelf, Asked(source=root), LIMITS, unloaded)


@pytest.mark.parametrize("name", templates())
def test_every_shipped_template_makes_a_whole_dicom_json(name: str) -> None:
    template = template_named(name)
    assert template is not None

    raw = {**template.dicom, "files": {"models/model.safetensors": "0" * 64}}
    manifest = Manifest.model_validate(raw)

    assert manifest.name == name
    pred = manifest.outputs.pred
    if pred.kind == "lesions":
        # nobody has measured here what its scores mean
        assert not any(one.reported for one in pred.types.values())
        return
    assert pred.kind == "segments"
    assert {str(label) for label in pred.segments} == set(template.channels)
    for label, channel in template.channels.items():
        side = pred.segments[int(label)].laterality
        words = channel.split("_")
        if side is not None:
            assert side.meaning.lower() in words
        elif {"left", "right"} & set(words):
            # one word for part and side, as in "Left atrium"
            meaning = pred.segments[int(label)].type.meaning.lower()
            assert ({"left", "right"} & set(words)) == ({"left", "right"} & set(meaning.split()))


def test_two_versions_are_compared_on_the_same_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "dicomnode.toml"
    settings.write_text('data_dir = "data"\n')
    shelf = Shelf(tmp_path / "data" / "models")
    versions: list[Version] = []
    for seed, number in enumerate(("0.5.8", "0.5.9")):
        bundle = zoo.spleen(tmp_path / number, version=number, seed=seed)
        versions.append(add_bundle(shelf, Asked(source=bundle), LIMITS, unloaded).version)
    volume = read_series(ct_files(tmp_path / "study"))
    masks = []
    for version in versions:
        (found,) = load_bundle(version.root).run(
            {"image": volume}, RunContext(device="cpu", scratch=tmp_path)
        )
        assert isinstance(found, SegmentFinding)
        masks.append(found.mask)
    dice = 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())

    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("models", "compare", "spleen_ct_segmentation", "0.5.8", "0.5.9"),
                *(str(tmp_path / "study"), "--out", str(tmp_path / "compared")),
                *("--settings", str(settings)),
            ]
        )

    assert ended.value.code == 0, capsys.readouterr()
    raw = json.loads((tmp_path / "compared" / "comparison.json").read_text())
    (segment,) = raw["series"][0]["segments"]
    assert segment["dice"] == pytest.approx(dice)
    ml = volume.grid.voxel_mm3 / 1000
    assert segment["first_ml"] == pytest.approx(masks[0].sum() * ml)
    assert segment["second_ml"] == pytest.approx(masks[1].sum() * ml)
    assert (tmp_path / "compared" / "series_1.png").is_file()
    assert "data:image/png" in (tmp_path / "compared" / "comparison.html").read_text()


def test_adding_and_activating_are_in_the_audit_trail_and_the_event_log(tmp_path: Path) -> None:
    from sqlalchemy import text

    from dicomnode.index import open_database

    settings = tmp_path / "dicomnode.toml"
    settings.write_text('data_dir = "data"\n')
    root = zoo.spleen(tmp_path)
    for arguments in (["add", str(root), "--activate"], ["deactivate", "spleen_ct_segmentation"]):
        with pytest.raises(SystemExit) as ended:
            main(["models", *arguments, "--settings", str(settings)])
        assert ended.value.code == 0

    database = open_database(load_settings(settings, {}))
    with database.engine.connect() as connection:
        deeds = connection.execute(text("SELECT what FROM audit ORDER BY id")).scalars().all()
        events = connection.execute(text("SELECT name FROM event ORDER BY id")).scalars().all()
    expected = ["model.added", "model.activated", "model.deactivated"]
    assert list(deeds) == expected
    assert [name for name in events if name.startswith("model.")] == expected
