"""Memory of a run: said before it, bounded by slabs, refused with figures."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.algorithm import RunContext
from dicomnode.domain.device_memory import MemoryLine, Shortage
from dicomnode.domain.errors import InputRefused
from dicomnode.domain.findings import SegmentFinding
from dicomnode.domain.volumes import Grid, Volume
from dicomnode.pipeline.bundle import load_bundle
from dicomnode.pipeline.manifest import Segments
from dicomnode.pipeline.memory import Need, need_of, shifted, slabs, slabs_that_fit
from dicomnode.pipeline.volume import read_series
from dicomnode.testing.bundles import Behaviour, BundleRecipe, write_bundle
from dicomnode.testing.studies import SeriesGeometry, StudyIdentity, ct_series

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),
]

NEED = Need(standing=100, a_slice=10, slices=50)


def test_a_volume_is_cut_into_as_few_slabs_as_fit() -> None:
    assert slabs_that_fit(NEED, 600, 3) == 1
    assert slabs_that_fit(NEED, 599, 3) == 2
    # 100 + 10 * (10 + 2 * 3) = 260
    assert slabs_that_fit(NEED, 260, 3) == 5
    assert slabs_that_fit(NEED, 100 + 10 * (1 + 6), 3) == 50
    assert slabs_that_fit(NEED, 169, 3) is None


@pytest.mark.parametrize(("slices", "count", "margin"), [(50, 5, 3), (50, 7, 0), (3, 3, 9)])
def test_what_slabs_keep_is_every_slice_once(slices: int, count: int, margin: int) -> None:
    parts = list(slabs(slices, count, margin))

    assert [n for _, keep in parts for n in keep] == list(range(slices))
    for read, keep in parts:
        assert read.start == max(0, keep.start - margin)
        assert read.stop == min(slices, keep.stop + margin)


def segments(count: int) -> Segments:
    code = ["1", "99X", "a"]
    return Segments.model_validate(
        {
            "kind": "segments",
            "encoding": "labels",
            "segments": {
                n: {"name": f"s{n}", "category": code, "type": code, "color": [0, 0, 0]}
                for n in range(1, count + 1)
            },
        }
    )


def test_need_grows_with_slices_classes_and_a_finer_grid() -> None:
    from monai.transforms.compose import Compose
    from monai.transforms.post.dictionary import AsDiscreted, Invertd
    from monai.transforms.spatial.dictionary import Spacingd

    grid = Grid(
        affine_lps_mm=np.diag([2.0, 1.0, 1.0, 1.0]),
        shape=(600, 512, 512),
        frame_of_reference_uid="1.2",
    )
    coarse, fine = (Compose([Spacingd("image", pixdim=(mm, mm, mm))]) for mm in (3.0, 1.5))
    undo = Invertd("pred", transform=coarse, orig_keys="image")
    labels_back = Compose([AsDiscreted("pred", argmax=True), undo])
    classes_back = Compose([undo, AsDiscreted("pred", argmax=True)])

    few = need_of(grid, segments(1), coarse, labels_back).whole
    assert few < 6e9
    assert need_of(grid, segments(1), fine, labels_back).whole > few
    assert need_of(grid, segments(1), coarse, classes_back).whole > few
    assert need_of(grid, segments(104), fine, labels_back).whole > 30e9
    half = replace(grid, shape=(300, 512, 512))
    assert need_of(half, segments(1), coarse, labels_back).whole < few


def test_a_later_slab_lies_where_its_slices_lie() -> None:
    affine = np.array([[0.1, 0, 0.5, 7], [0.2, 0.5, 0, 8], [2.9, 0, 0, 9], [0, 0, 0, 1]])

    moved = shifted(affine, 4)

    np.testing.assert_allclose(moved @ [0, 3, 2, 1], affine @ [4, 3, 2, 1])


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    folder = tmp_path_factory.mktemp("study")
    tilted = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.2)), float(np.sin(0.2)))
    geometry = SeriesGeometry(rows=24, columns=20, slices=40, orientation=tilted)
    blocks = np.random.default_rng(2).random((10, 6, 5)) < 0.4
    hounsfield = np.where(np.kron(blocks, np.ones((4, 4, 4))) > 0, -1000, 40).astype(np.int16)
    for index, ds in enumerate(ct_series(StudyIdentity(seed="memory"), geometry, hounsfield)):
        ds.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return read_series(sorted(folder.iterdir()))


def bundle(folder: Path, behaviour: Behaviour, *, slabs_mm: float | None) -> Path:
    root = write_bundle(folder, BundleRecipe(behaviour=behaviour, orientation="PIL"))
    if slabs_mm is not None:
        path = root / "configs" / "dicom.json"
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "slabs": {"margin_mm": slabs_mm}})
        )
    return root


@pytest.mark.parametrize("behaviour", [Behaviour.WORKS, Behaviour.MOVES])
def test_slab_by_slab_gives_the_mask_of_the_whole(
    tmp_path: Path, volume: Volume, behaviour: Behaviour
) -> None:
    algorithm = load_bundle(bundle(tmp_path, behaviour, slabs_mm=9.0))
    told: list[str] = []

    def run(memory: int | None) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        context = RunContext(
            device="cpu",
            scratch=tmp_path,
            memory_bytes=memory,
            progress=lambda _fraction, stage: told.append(stage),
        )
        (found,) = algorithm.run({"image": volume}, context)
        assert isinstance(found, SegmentFinding)
        return found.mask

    whole = run(None)
    assert "needs about 0.7 GB" in told
    assert not any(stage.startswith("slab") for stage in told)
    need = need_of(
        volume.grid,
        segments(1),
        *(algorithm._ready["cpu"].preprocessing, None),
    )
    found = run(need.of(16))

    assert "slab 2 of 4" in told or "slab 2 of 5" in told
    np.testing.assert_array_equal(found, whole)


def test_without_leave_for_slabs_the_volume_is_refused_with_the_figures(
    tmp_path: Path, volume: Volume
) -> None:
    algorithm = load_bundle(bundle(tmp_path, Behaviour.WORKS, slabs_mm=None))
    context = RunContext(device="cpu", scratch=tmp_path, memory_bytes=600_000_000)

    with pytest.raises(InputRefused, match=r"40 slices need about 0.7 GB.*0.6 GB are allowed"):
        algorithm.run({"image": volume}, context)
    allowed = bundle(tmp_path / "cut", Behaviour.WORKS, slabs_mm=9.0)
    with pytest.raises(InputRefused, match="even slab by slab"):
        load_bundle(allowed).run({"image": volume}, context)


BUDGET = '''
import torch
from torch import nn


class Budgeted(nn.Conv3d):
    """Runs out of memory on a numbered device, as a GPU does, beyond so many voxels."""

    def __init__(self, device, voxels):
        super().__init__(1, 1, 1)
        self.least, self.voxels = device.index, voxels

    def forward(self, x):
        if self.least == 0 and x.numel() > self.voxels:
            raise torch.OutOfMemoryError("simulated")
        return super().forward(x)
'''


def budgeted(folder: Path, voxels: int, *, slabs_mm: float | None) -> Path:
    root = bundle(folder, Behaviour.WORKS, slabs_mm=slabs_mm)
    (root / "scripts").mkdir()
    code = root / "scripts" / "budget.py"
    code.write_text(BUDGET)
    config = json.loads((root / "configs" / "inference.json").read_text())
    config["network_def"] = {
        "_target_": "scripts.budget.Budgeted",
        "device": "@device",
        "voxels": voxels,
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    dicom = json.loads((root / "configs" / "dicom.json").read_text())
    dicom["files"]["scripts/budget.py"] = hashlib.sha256(code.read_bytes()).hexdigest()
    (root / "configs" / "dicom.json").write_text(json.dumps(dicom))
    return root


@pytest.mark.parametrize(
    ("share", "slabs_mm", "note"),
    [
        (1.0, 9.0, None),
        (0.7, 9.0, "read in 2 slabs: cpu:0 was too small for the whole"),
        (0.45, 9.0, "read in 4 slabs: cpu:0 was too small for the whole"),
        (0.1, 9.0, "computed on the CPU: cpu:0 was too small"),
        (0.7, None, "computed on the CPU: cpu:0 was too small"),
    ],
)
def test_a_device_that_is_too_small_gets_slabs_then_the_cpu_does_it_and_the_result_says_so(
    tmp_path: Path, volume: Volume, share: float, slabs_mm: float | None, note: str | None
) -> None:
    voxels = int(share * volume.array.size)
    algorithm = load_bundle(budgeted(tmp_path, voxels, slabs_mm=slabs_mm))
    expected = load_bundle(bundle(tmp_path / "plain", Behaviour.WORKS, slabs_mm=None))
    context = RunContext(device="cpu:0", scratch=tmp_path)

    (found,) = algorithm.run({"image": volume}, context)
    (right,) = expected.run({"image": volume}, RunContext(device="cpu", scratch=tmp_path))

    assert isinstance(found, SegmentFinding)
    assert isinstance(right, SegmentFinding)
    np.testing.assert_array_equal(found.mask, right.mask)
    assert context.notes == ([] if note is None else [note])


@pytest.mark.parametrize(
    ("share", "slabs_mm", "note"),
    [
        (0.7, 9.0, "read in 2 slabs: the whole was predicted to need 2.0 GB, cpu:0 has 1.7 GB"),
        (0.1, 9.0, "computed on the CPU: it was predicted to need 2.0 GB, cpu:0 has 1.1 GB"),
        (0.7, None, "computed on the CPU: it was predicted to need 2.0 GB, cpu:0 has 1.7 GB"),
    ],
)
def test_a_device_that_is_known_to_be_too_small_is_never_given_the_whole(
    tmp_path: Path, volume: Volume, share: float, slabs_mm: float | None, note: str
) -> None:
    voxels = int(share * volume.array.size)
    algorithm = load_bundle(budgeted(tmp_path, voxels, slabs_mm=slabs_mm))
    line = MemoryLine(fixed_bytes=1e9, a_voxel_bytes=1e9 / volume.array.size)
    short = Shortage(need_bytes=line.of(volume.array.size), budget_bytes=line.of(voxels), line=line)
    context = RunContext(device="cpu:0", scratch=tmp_path, shortage=short)

    (found,) = algorithm.run({"image": volume}, context)
    plain = load_bundle(bundle(tmp_path / "plain", Behaviour.WORKS, slabs_mm=None))
    (right,) = plain.run({"image": volume}, RunContext(device="cpu", scratch=tmp_path))

    assert context.notes == [note]
    assert isinstance(found, SegmentFinding)
    assert isinstance(right, SegmentFinding)
    np.testing.assert_array_equal(found.mask, right.mask)
