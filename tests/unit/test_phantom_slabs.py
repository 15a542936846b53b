"""Slabs for training: the same seed gives the same slab, and its truth fits what is seen."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from dicomnode.phantom import Organ, Phase, make_anatomy
from dicomnode.phantom.masks import as_stock, halved_voxels, organ_of, read_masks
from dicomnode.phantom.slabs import SlabShape, Stock, keep_stock, make_slab, read_stock
from dicomnode.phantom.tissues import draw_means
from dicomnode.phantom.variation import flood, lose_fat, paint_fluid, recolour

SHAPE = SlabShape(size=(16, 56, 72), spacing_mm=(6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def painted() -> Stock:
    anatomy = make_anatomy(7, region=(90.0, 230.0), spacing_mm=(6.0, 6.0, 6.0), detail=False)
    return Stock(
        labels=anatomy.labels, tissue=anatomy.tissue, age=anatomy.age, spacing_mm=(6.0, 6.0, 6.0)
    )


@pytest.fixture(scope="module")
def real(painted: Stock) -> Stock:
    """A CT with masks of some organs: what else there is has no label."""
    native = draw_means(np.random.default_rng(0), Phase.NATIVE, 0.5)
    hu = native[painted.labels, painted.tissue]
    hu += np.random.default_rng(1).normal(0, 8, hu.shape).astype(np.float32)
    masks = (Organ.LIVER, Organ.SPLEEN, Organ.KIDNEY_LEFT, Organ.AORTA)
    organs = np.where(np.isin(painted.labels, masks), painted.labels, 0).astype(np.uint8)
    return as_stock(hu, organs, (6.0, 6.0, 6.0))


def test_the_same_seed_gives_the_same_slab_and_another_seed_another(painted: Stock) -> None:
    first, second = (make_slab([painted], 3, SHAPE) for _ in range(2))
    other = make_slab([painted], 4, SHAPE)
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.labels != other.labels).mean() > 0.02


def test_an_organ_fills_a_plausible_and_varied_part_of_the_slab(painted: Stock) -> None:
    slabs = [make_slab([painted], seed, SHAPE) for seed in range(8)]
    shares = np.array([(slab.labels == Organ.LIVER).sum() for slab in slabs])
    assert (shares > 0).sum() >= 7
    assert shares.std() > 0.1 * shares.mean()


def test_a_slab_can_be_laid_on_an_organ(painted: Stock) -> None:
    shape = SlabShape(size=(16, 40, 40), spacing_mm=(6.0, 6.0, 6.0), around=Organ.SPLEEN)
    shown = [(make_slab([painted], s, shape).labels == Organ.SPLEEN).any() for s in range(6)]
    assert all(shown)


def test_a_stock_is_read_as_it_was_kept(tmp_path: Path) -> None:
    anatomy = make_anatomy(9, region=(100.0, 140.0), spacing_mm=(8.0, 5.0, 4.0), detail=False)
    keep_stock(anatomy, tmp_path / "one.npz")
    stock = read_stock(tmp_path / "one.npz")
    np.testing.assert_array_equal(stock.labels, anatomy.labels)
    assert stock.spacing_mm == (8.0, 5.0, 4.0)
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]


def test_what_masks_leave_out_is_neutral_and_what_they_name_is_not(real: Stock) -> None:
    for seed in range(4):
        slab = make_slab([real], seed, SHAPE)
        assert slab.neutral.any()
        named = np.isin(slab.labels, (Organ.LIVER, Organ.SPLEEN, Organ.KIDNEY_LEFT, Organ.AORTA))
        assert (slab.neutral & named).mean() < 0.001


def test_a_real_ct_is_recoloured_to_another_phase_and_keeps_its_texture(real: Stock) -> None:
    assert real.hu is not None
    assert real.means is not None
    before = real.hu[real.labels == Organ.AORTA]
    means = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        args = (real.labels, real.tissue, real.means, 0.5, (6.0, 6.0, 6.0))
        after = recolour(rng, real.hu, *args)
        means.append(float(after[real.labels == Organ.AORTA].mean()))
        liver = real.labels == Organ.LIVER
        assert after[liver].std() == pytest.approx(real.hu[liver].std(), rel=0.6)
    assert min(means) < before.mean() + 40
    assert max(means) > before.mean() + 80


def test_organs_grow_into_fat_and_into_nothing_else(painted: Stock) -> None:
    for seed in range(5):
        labels, tissue = painted.labels.copy(), painted.tissue.copy()
        lose_fat(np.random.default_rng(seed), labels, tissue, 3.0)
        changed = labels != painted.labels
        assert (painted.labels[changed] == Organ.VISCERAL_FAT).all()
        assert not np.isin(labels[changed], (Organ.OUTSIDE, Organ.MUSCLE)).any()


@pytest.fixture(scope="module")
def chest() -> Stock:
    anatomy = make_anatomy(7, region=(200.0, 330.0), spacing_mm=(6.0, 6.0, 6.0), detail=False)
    return Stock(
        labels=anatomy.labels, tissue=anatomy.tissue, age=anatomy.age, spacing_mm=(6.0, 6.0, 6.0)
    )


def test_fluid_takes_lung_alone_and_lies_at_its_back(chest: Stock) -> None:
    shares = []
    for seed in range(8):
        labels, tissue = chest.labels.copy(), chest.tissue.copy()
        fluid = flood(np.random.default_rng(seed), labels, tissue, (6.0, 6.0, 6.0))
        np.testing.assert_array_equal(fluid, labels != chest.labels)
        assert (labels[fluid] == Organ.EFFUSION).all()
        lungs = (Organ.LUNG_RIGHT, Organ.LUNG_LEFT)
        assert np.isin(chest.labels[fluid], lungs).all()
        left = np.isin(labels, lungs)
        shares.append(fluid.sum() / (fluid.sum() + left.sum()))
        if fluid.any() and left.any():
            assert np.nonzero(fluid)[1].mean() > np.nonzero(left)[1].mean()
    assert min(shares) < 0.2 < 0.5 < max(shares)


def test_fluid_painted_into_a_real_ct_leaves_no_rim_of_air_and_the_liver_as_it_was(
    chest: Stock,
) -> None:
    native = draw_means(np.random.default_rng(0), Phase.NATIVE, 0.5)
    before = native[chest.labels, chest.tissue]
    before += np.random.default_rng(1).normal(0, 8, before.shape).astype(np.float32)
    labels, tissue, hu = chest.labels.copy(), chest.tissue.copy(), before.copy()
    fluid = flood(np.random.default_rng(2), labels, tissue, (6.0, 6.0, 6.0))
    paint_fluid(np.random.default_rng(3), hu, labels, fluid)
    assert -20 < hu[fluid].mean() < 40
    beside = ndimage.binary_dilation(fluid) & ~np.isin(labels, (Organ.LUNG_RIGHT, Organ.LUNG_LEFT))
    assert hu[beside].min() > -300
    liver = labels == Organ.LIVER
    np.testing.assert_array_equal(hu[liver], before[liver])


def test_slabs_are_flooded_only_where_that_is_asked_for(chest: Stock) -> None:
    dry, wet = (
        SlabShape(size=(16, 56, 72), spacing_mm=(6.0, 6.0, 6.0), flooded_share=share)
        for share in (0.0, 1.0)
    )
    fluid = [
        sum((make_slab([chest], seed, shape).labels == Organ.EFFUSION).sum() for seed in range(4))
        for shape in (dry, wet)
    ]
    assert fluid[1] > 4 * fluid[0] + 100


def test_more_variety_spreads_the_means_and_none_leaves_them() -> None:
    def kidneys(variety: float) -> list[float]:
        rngs = (np.random.default_rng(seed) for seed in range(60))
        return [
            float(draw_means(rng, Phase.NATIVE, 0.5, variety_hu=variety)[Organ.KIDNEY_RIGHT, 0])
            for rng in rngs
        ]

    assert np.std(kidneys(15.0)) > 1.5 * np.std(kidneys(0.0))


def test_masks_are_read_by_their_names(tmp_path: Path) -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    hu = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    codes = np.zeros((2, 3, 4), np.uint8)
    codes[0, 0, 0], codes[1, 2, 3] = 5, 9
    for name, array in (("ct", hu), ("masks", codes)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    names = {5: "kidney_left", 9: "something_else"}
    values, organs = read_masks(tmp_path / "ct.nii.gz", tmp_path / "masks.nii.gz", names)
    assert values.shape == organs.shape == (4, 3, 2)
    assert organs[values == hu[0, 0, 0]] == Organ.KIDNEY_LEFT
    assert (organs > 0).sum() == 1


def test_names_of_totalsegmentator_are_known_by_their_start() -> None:
    assert organ_of("lung_lower_lobe_left") is Organ.LUNG_LEFT
    assert organ_of("lung_middle_lobe_right") is Organ.LUNG_RIGHT
    assert organ_of("brain") is None


def test_masks_of_another_grid_are_refused(tmp_path: Path) -> None:
    for name, size in (("ct", 3), ("masks", 4)):
        image = nibabel.Nifti1Image(np.zeros((size, 3, 3), np.float32), np.eye(4))
        nibabel.save(image, tmp_path / f"{name}.nii")
    with pytest.raises(ValueError, match="grid"):
        read_masks(tmp_path / "ct.nii", tmp_path / "masks.nii", json.loads("{}"))


def test_halved_voxels_keep_places_and_round_the_steps_of_masks() -> None:
    organs = np.zeros((20, 20, 20), np.uint8)
    z, y, x = np.indices(organs.shape)
    organs[(z - 10) ** 2 + (y - 10) ** 2 + (x - 10) ** 2 < 36] = Organ.LIVER
    hu = np.where(organs == Organ.LIVER, 60, 30).astype(np.float32)
    coarse = as_stock(hu, organs, (3.0, 3.0, 3.0))
    fine = halved_voxels(coarse)
    assert fine.spacing_mm == (1.5, 1.5, 1.5)
    assert fine.labels.shape == fine.tissue.shape == (40, 40, 40)
    steps = coarse.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    liver = fine.labels == Organ.LIVER
    z, y, x = (np.indices(liver.shape) - 20.5) / 2
    ball = z**2 + y**2 + x**2 < 36
    found, stepped = (
        (2 * (m & ball).sum() / (m.sum() + ball.sum())) for m in (liver, steps == Organ.LIVER)
    )
    assert found > stepped
    assert fine.unlabelled is not None
    assert not (fine.unlabelled & liver).any()
    assert (fine.labels[fine.unlabelled] == Organ.MUSCLE).all()
