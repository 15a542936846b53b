"""Planted lesions are where they are said to be, of the density they should have."""

import numpy as np
import pytest

from dicomnode.phantom.distractors import Distractors
from dicomnode.phantom.planting import Kind, Planter, counts_of
from dicomnode.phantom.structures import Organ, Tissue

SPACING = (2.0, 2.0, 2.0)


def planted(seed: int) -> Planter:
    """Fat on the left, lung on the right, a block of marrow between them."""
    labels = np.full((40, 50, 60), Organ.VISCERAL_FAT, np.uint8)
    labels[:, :, 34:] = Organ.LUNG_LEFT
    tissue = np.full(labels.shape, Tissue.WALL, np.uint8)
    labels[:, 15:35, 26:34] = Organ.VERTEBRA_L1
    tissue[:, 15:35, 26:34] = Tissue.INNER
    hu = np.where(labels == Organ.LUNG_LEFT, -850, -100).astype(np.float32)
    hu[labels == Organ.VERTEBRA_L1] = 180
    planter = Planter(
        np.random.default_rng(seed),
        hu=hu,
        labels=labels,
        tissue=tissue,
        spacing=SPACING,
        phase=2,
    )
    planter.plant({Kind.LYMPH_NODE: 4, Kind.LUNG_NODULE: 4, Kind.BONE: 3, Kind.LIVER: 2})
    return planter


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lesions_lie_in_their_organ_and_do_not_touch(seed: int) -> None:
    told = planted(seed)
    homes = {
        Kind.LYMPH_NODE: Organ.VISCERAL_FAT,
        Kind.LUNG_NODULE: Organ.LUNG_LEFT,
        Kind.BONE: Organ.VERTEBRA_L1,
    }
    assert {one.kind for one in told.lesions} <= homes.keys()
    assert len(told.lesions) >= 5
    for one in told.lesions:
        mask = told.instances == one.number
        assert (told.labels[mask] == homes[one.kind]).all()
        assert np.argwhere(mask).mean(0) == pytest.approx(one.centre, abs=1e-6)
        volume = mask.sum() * np.prod(SPACING)
        assert one.diameter_mm == pytest.approx(2 * (volume * 3 / (4 * np.pi)) ** (1 / 3))


def test_sclerotic_lesions_are_denser_than_marrow_and_nodes_than_fat() -> None:
    told = planted(1)
    for one in told.lesions:
        mean = float(told.hu[told.instances == one.number].mean())
        if one.kind is Kind.BONE:
            assert mean > 300
        elif one.kind is Kind.LYMPH_NODE:
            assert mean > 0


def test_the_same_seed_plants_the_same() -> None:
    first, second = planted(5), planted(5)
    assert first.lesions == second.lesions
    assert np.array_equal(first.hu, second.hu)


def test_counts_keep_to_the_most() -> None:
    told = counts_of(np.random.default_rng(0), (1, 2, 3, 4, 5, 6, 0))
    assert list(told) == list(Kind)
    assert all(told[kind] <= top for kind, top in zip(Kind, (1, 2, 3, 4, 5, 6, 0), strict=True))


def test_contrast_is_that_of_what_was_painted() -> None:
    for one in planted(2).lesions:
        assert (
            one.contrast_hu > {Kind.LYMPH_NODE: 60, Kind.LUNG_NODULE: 150, Kind.BONE: 100}[one.kind]
        )
        assert one.visibility(10.0, 4.0) == pytest.approx(
            one.contrast_hu * np.sqrt(one.slice_mm2 / 4.0) / 10.0
        )
        assert one.visibility(0.0, 4.0) < 10_000


def test_distractors_stay_in_fat_and_lung() -> None:
    labels = np.full((40, 50, 60), Organ.VISCERAL_FAT, np.uint8)
    labels[:, :, 30:] = Organ.LUNG_LEFT
    labels[:, :, 50:] = Organ.LIVER
    hu = np.where(labels == Organ.LIVER, 60, -100).astype(np.float32)
    before = hu.copy()
    painter = Distractors(
        np.random.default_rng(1),
        hu=hu,
        labels=labels,
        tissue=np.full(labels.shape, Tissue.WALL, np.uint8),
        spacing=np.array(SPACING),
    )
    painter.add_vessels(4, 150.0)
    painter.add_loops(3)
    assert (hu[:, :, 30:] == before[:, :, 30:]).all()
    assert hu[:, :, :30].max() > 30
    painter.add_fissures(1)
    changed = hu[:, :, 30:50] != before[:, :, 30:50]
    assert 0 < changed.mean() < 0.2
    assert (hu[:, :, 50:] == before[:, :, 50:]).all()
