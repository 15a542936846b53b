"""Real MONAI bundles run on real files, on the CPU."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from dicomnode.algorithm import RunContext
from dicomnode.domain.errors import (
    AlgorithmError,
    BundleInvalid,
    ContractBroken,
    InputRefused,
    OutOfMemory,
)
from dicomnode.domain.findings import LesionFinding, SegmentFinding
from dicomnode.domain.volumes import Volume
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle
from dicomnode.testing.detector import write_detector
from dicomnode.testing.studies import (
    AXIAL,
    SeriesGeometry,
    StudyIdentity,
    ct_series,
    forty_eight_orientations,
    radiograph,
)

pytestmark = [
    # Said by MONAI of its own and torch's inner workings.
    pytest.mark.filterwarnings("ignore::FutureWarning:monai"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:torch"),
]

IDENTITY = StudyIdentity(seed="bundle")


def ct_volume(folder: Path, geometry: SeriesGeometry, *, reverse: bool = False) -> Volume:
    """Air where a coin says so, so that a mask fits in one way only."""
    return read_series(ct_files(folder, geometry, reverse=reverse))


def ct_files(folder: Path, geometry: SeriesGeometry, *, reverse: bool = False) -> list[Path]:
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(3)
    shape = (geometry.slices, geometry.rows, geometry.columns)
    hounsfield = np.where(generator.random(shape) < 0.3, -1000, 40).astype(np.int16)
    paths = []
    for index, ds in enumerate(ct_series(IDENTITY, geometry, hounsfield)):
        paths.append(folder / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths[::-1] if reverse else paths


def context(folder: Path, told: list[tuple[float, str]] | None = None) -> RunContext:
    def progress(fraction: float, stage: str) -> None:
        if told is not None:
            told.append((fraction, stage))

    return RunContext(device="cpu", scratch=folder, progress=progress)


def air_in(root: Path, volume: Volume, folder: Path) -> npt.NDArray[np.bool_]:
    (finding,) = load_bundle(root).run({"image": volume}, context(folder))
    assert isinstance(finding, SegmentFinding)
    return finding.mask


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for behaviour in Behaviour:
        write_bundle(
            folder, BundleRecipe(name=behaviour.value, behaviour=behaviour, orientation="PIL")
        )
    return folder


@pytest.mark.parametrize(
    "behaviour", [Behaviour.WORKS, Behaviour.MOVES_AND_INVERTS, Behaviour.MOVES]
)
def test_mask_lies_on_its_voxels_in_all_48_orientations(
    tmp_path: Path, bundles: Path, behaviour: Behaviour
) -> None:
    for number, (orientation, reverse) in enumerate(forty_eight_orientations()):
        geometry = SeriesGeometry(rows=6, columns=5, slices=4, orientation=orientation)
        volume = ct_volume(tmp_path / str(number), geometry, reverse=reverse)
        mask = air_in(bundles / behaviour.value, volume, tmp_path)
        np.testing.assert_array_equal(mask, volume.array < -500, err_msg=str(orientation))


@pytest.mark.parametrize("behaviour", [Behaviour.MOVES_AND_INVERTS, Behaviour.MOVES])
def test_oblique_volume_turned_for_the_network_comes_back(
    tmp_path: Path, bundles: Path, behaviour: Behaviour
) -> None:
    geometry = SeriesGeometry(
        rows=6, columns=5, slices=4, orientation=(0.8, 0.6, 0.0, -0.36, 0.48, 0.8)
    )
    volume = ct_volume(tmp_path / "ct", geometry)
    mask = air_in(bundles / behaviour.value, volume, tmp_path)
    np.testing.assert_array_equal(mask, volume.array < -500)


@pytest.mark.parametrize("behaviour", [Behaviour.MOVES_AND_INVERTS, Behaviour.MOVES])
def test_mask_from_a_coarser_grid_keeps_its_place(tmp_path: Path, behaviour: Behaviour) -> None:
    recipe = BundleRecipe(behaviour=behaviour, orientation="SLA", spacing_mm=(4.0, 2.0, 2.0))
    root = write_bundle(tmp_path, recipe)
    paths = []
    for index, ds in enumerate(ct_series(IDENTITY)):
        paths.append(tmp_path / f"{index}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    volume = read_series(paths)
    mask, truth = air_in(root, volume, tmp_path), volume.array < -500
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.93
    shift = np.argwhere(mask).mean(axis=0) - np.argwhere(truth).mean(axis=0)
    assert np.abs(shift).max() < 0.35


@pytest.mark.filterwarnings("ignore:NvImgCodec")
@pytest.mark.parametrize("orientation", [AXIAL, (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)])
def test_network_is_given_what_monai_reads_from_nifti(
    tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    pytest.importorskip("nibabel")
    from monai.transforms.compose import Compose
    from monai.transforms.io.dictionary import LoadImaged
    from monai.transforms.utility.dictionary import EnsureChannelFirstd

    from dicomnode.pipeline.tensors import to_metatensor

    geometry = SeriesGeometry(rows=6, columns=5, slices=4, orientation=orientation)
    paths = ct_files(tmp_path / "ct", geometry)
    nifti = tmp_path / "ct.nii"
    sitk.WriteImage(sitk.ReadImage([str(path) for path in paths]), str(nifti))
    load = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    expected = load({"image": str(nifti)})["image"]
    given = to_metatensor(read_series(paths), 3)
    assert given.shape == expected.shape
    np.testing.assert_array_equal(given.numpy(), expected.numpy())
    np.testing.assert_allclose(given.affine, expected.affine, atol=1e-4)
    assert given.meta["space"] == expected.meta["space"]


def test_measurements_come_with_the_segment(tmp_path: Path, bundles: Path) -> None:
    geometry = SeriesGeometry(rows=6, columns=5, slices=4)
    volume = ct_volume(tmp_path / "ct", geometry)
    told: list[tuple[float, str]] = []
    (finding,) = load_bundle(bundles / "works").run({"image": volume}, context(tmp_path, told))
    assert isinstance(finding, SegmentFinding)
    assert finding.name == "air"
    (measured,) = finding.measurements
    expected = (volume.array < -500).sum() * 3.0 * 1.5 * 1.25 / 1000
    assert measured.value == pytest.approx(expected)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert told[-1] == (1.0, "done")


def test_volume_is_not_changed_by_a_run(tmp_path: Path, bundles: Path) -> None:
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    before = volume.array.copy()
    air_in(bundles / "works", volume, tmp_path)
    np.testing.assert_array_equal(volume.array, before)


def test_nothing_found_is_no_finding(tmp_path: Path, bundles: Path) -> None:
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    water = replace(volume, array=np.zeros_like(volume.array))
    assert load_bundle(bundles / "works").run({"image": water}, context(tmp_path)) == ()


@pytest.mark.parametrize("behaviour", [Behaviour.WORKS, Behaviour.MOVES_AND_INVERTS])
def test_radiograph_keeps_rows_and_columns_apart(tmp_path: Path, behaviour: Behaviour) -> None:
    recipe = BundleRecipe(dimensions=2, behaviour=behaviour, orientation="RA")
    root = write_bundle(tmp_path, recipe)
    pixels = (np.random.default_rng(5).random((9, 6)) < 0.4).astype(np.uint16) * 4095
    path = tmp_path / "image.dcm"
    radiograph(IDENTITY, pixels).save_as(path, enforce_file_format=True)
    mask = air_in(root, read_series([path]), tmp_path)
    np.testing.assert_array_equal(mask[0], pixels > 0)


@pytest.mark.parametrize(
    ("behaviour", "error", "message"),
    [
        (Behaviour.OUT_OF_MEMORY, OutOfMemory, "preprocessing of out-of-memory failed"),
        (Behaviour.RAISES, AlgorithmError, "preprocessing of raises failed: AttributeError"),
        (Behaviour.WRONG_SHAPE, ContractBroken, "lies neither on the image"),
        (Behaviour.UNKNOWN_LABEL, ContractBroken, "label 7, which dicom.json does not know"),
        (Behaviour.NOT_A_LABEL, ContractBroken, "values that are no labels"),
        (Behaviour.WRONG_DIGEST, BundleInvalid, "nothing of it was loaded"),
        (Behaviour.UNLISTED_FILE, BundleInvalid, "is not listed"),
    ],
)
def test_each_fault_of_a_bundle_has_its_own_error(
    tmp_path: Path,
    bundles: Path,
    behaviour: Behaviour,
    error: type[AlgorithmError],
    message: str,
) -> None:
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    with pytest.raises(error, match=message) as caught:
        air_in(bundles / behaviour.value, volume, tmp_path)
    assert type(caught.value) is error


def test_input_that_does_not_fit_is_refused(tmp_path: Path, bundles: Path) -> None:
    algorithm = load_bundle(bundles / "works")
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    with pytest.raises(InputRefused, match="input 'image' is MR, not CT"):
        algorithm.run({"image": replace(volume, modality="MR")}, context(tmp_path))
    with pytest.raises(InputRefused, match="input 'image' is missing"):
        algorithm.run({}, context(tmp_path))


def with_weights(folder: Path, name: str, content: bytes) -> Path:
    """A sound bundle whose only model file is `name`."""
    root = write_bundle(folder)
    (root / "models" / "model.safetensors").unlink()
    (root / "models" / name).write_bytes(content)
    config = json.loads((root / "configs" / "dicom.json").read_text())
    config["files"] = {f"models/{name}": hashlib.sha256(content).hexdigest()}
    (root / "configs" / "dicom.json").write_text(json.dumps(config))
    return root


def identity_network() -> nn.Module:
    network = nn.Conv3d(1, 1, 1)
    nn.init.ones_(network.weight)
    assert network.bias is not None
    nn.init.zeros_(network.bias)
    return network


@pytest.mark.parametrize("form", ["plain", "wrapped", "script"])
def test_weights_of_the_model_zoo_s_forms_are_loaded(tmp_path: Path, form: str) -> None:
    buffer = BytesIO()
    network = identity_network()
    if form == "script":
        torch.jit.save(torch.jit.script(network), buffer)
    else:
        state = network.state_dict()
        torch.save({"model": state} if form == "wrapped" else state, buffer)
    name = "model.ts" if form == "script" else "model.pt"
    root = with_weights(tmp_path, name, buffer.getvalue())
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    np.testing.assert_array_equal(air_in(root, volume, tmp_path), volume.array < -500)


class Poison:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.trace,)


def test_pickled_code_among_the_weights_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "was-run"
    buffer = BytesIO()
    torch.save({"weight": Poison(trace)}, buffer)
    root = with_weights(tmp_path, "model.pt", buffer.getvalue())
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    with pytest.raises(BundleInvalid, match="cannot be loaded: UnpicklingError"):
        air_in(root, volume, tmp_path)
    assert not trace.exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    buffer = BytesIO()
    torch.save(nn.Conv3d(1, 2, 3).state_dict(), buffer)
    root = with_weights(tmp_path, "model.pt", buffer.getvalue())
    volume = ct_volume(tmp_path / "ct", SeriesGeometry(rows=6, columns=5, slices=4))
    with pytest.raises(BundleInvalid, match="size mismatch"):
        air_in(root, volume, tmp_path)


def test_a_detectors_lesions_lie_where_they_were_planted_in_all_orientations(
    tmp_path: Path,
) -> None:
    root = write_detector(tmp_path)
    for number, (orientation, reverse) in enumerate([*forty_eight_orientations()][::7]):
        geometry = SeriesGeometry(
            rows=40, columns=36, slices=30, spacing_mm=(1.5, 1.0, 1.2), orientation=orientation
        )
        hounsfield = np.full((30, 40, 36), 40, dtype=np.int16)
        k, j, i = np.mgrid[:30, :40, :36]
        # 14 mm long along the columns' direction, 9.6 mm wide, around slice 11, row 15, column 22.
        inside = ((k - 11) * 1.5 / 5) ** 2 + ((j - 15) / 7) ** 2 + ((i - 22) * 1.2 / 4.8) ** 2 < 1
        hounsfield[inside] = 300
        folder = tmp_path / str(number)
        folder.mkdir()
        paths = []
        for index, ds in enumerate(ct_series(IDENTITY, geometry, hounsfield)):
            paths.append(folder / f"{index}.dcm")
            ds.save_as(paths[-1], enforce_file_format=True)
        volume = read_series(paths[::-1] if reverse else paths)
        (lesion,) = load_bundle(root).run({"image": volume}, context(tmp_path))
        assert isinstance(lesion, LesionFinding)
        np.testing.assert_array_equal(lesion.mask, volume.array > 100)
        long_axis, short_axis = lesion.marks
        assert long_axis.slice_index == 11
        np.testing.assert_allclose(long_axis.points.mean(axis=0), (22.5, 15.5), atol=0.6)
        assert np.ptp(long_axis.points[:, 1]) == pytest.approx(13, abs=1.1)
        assert np.ptp(short_axis.points[:, 0]) == pytest.approx(7, abs=1.1)
