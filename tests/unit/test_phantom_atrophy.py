"""A thin, lobulated pancreas and empty bowel: what changes, and what stays as it was."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from dicomnode.phantom import Anatomy, Organ, Tissue, make_anatomy
from dicomnode.phantom.atrophy import LUMEN, atrophy, collapse
from dicomnode.phantom.slabs import SlabShape, Stock, make_slab

SPACING = (3.0, 3.0, 3.0)
Bytes = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def belly() -> Anatomy:
    return make_anatomy(8, region=(90.0, 240.0), spacing_mm=SPACING, detail=False)


def thinned(belly: Anatomy, seed: int) -> tuple[Bytes, Bytes]:
    labels, tissue = belly.labels.copy(), belly.tissue.copy()
    atrophy(np.random.default_rng(seed), labels, tissue, SPACING)
    return labels, tissue


def test_only_pancreas_becomes_fat_and_what_remains_is_one_gland(belly: Anatomy) -> None:
    before = belly.labels == Organ.PANCREAS
    for seed in range(8):
        labels, _ = thinned(belly, seed)
        changed = labels != belly.labels
        assert (labels[changed] == Organ.VISCERAL_FAT).all()
        assert before[changed].all()
        parts, count = ndimage.label(labels == Organ.PANCREAS, np.ones((3, 3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.9 * (parts > 0).sum()
        assert count >= 1


def test_glands_lose_little_to_most_of_their_volume(belly: Anatomy) -> None:
    before = (belly.labels == Organ.PANCREAS).sum()
    left = [(thinned(belly, s)[0] == Organ.PANCREAS).sum() / before for s in range(24)]
    assert min(left) < 0.55
    assert max(left) > 0.85


def test_fat_lies_between_lobules_of_what_remains(belly: Anatomy) -> None:
    shares = []
    for seed in range(24):
        labels, tissue = thinned(belly, seed)
        shares.append((tissue[labels == Organ.PANCREAS] == Tissue.FATTY).mean())
    assert min(shares) < 0.06
    assert 0.15 < max(shares) < 0.6


def test_the_same_seed_gives_the_same_gland(belly: Anatomy) -> None:
    for one, other in zip(thinned(belly, 3), thinned(belly, 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_belly_without_pancreas_stays_as_it_is(belly: Anatomy) -> None:
    labels = np.where(belly.labels == Organ.PANCREAS, Organ.VISCERAL_FAT, belly.labels)
    labels = labels.astype(np.uint8)
    kept = labels.copy()
    atrophy(np.random.default_rng(0), labels, belly.tissue.copy(), SPACING)
    np.testing.assert_array_equal(labels, kept)


def test_empty_bowel_has_no_inside_and_nothing_else_changes(belly: Anatomy) -> None:
    tissue = belly.tissue.copy()
    collapse(np.random.default_rng(1), belly.labels, tissue, SPACING)
    changed = tissue != belly.tissue
    assert changed.any()
    assert np.isin(belly.labels[changed], LUMEN).all()
    assert (tissue[changed] == Tissue.WALL).all()


def test_slabs_vary_so_only_where_asked(belly: Anatomy) -> None:
    stock = Stock(labels=belly.labels, tissue=belly.tissue, age=belly.age)
    size = (24, 56, 72)
    plain = [make_slab([stock], seed, SlabShape(size=size)) for seed in range(4)]
    asked = SlabShape(size=size, atrophic_share=1.0, collapsed_share=1.0)
    for seed, as_ever in enumerate(plain):
        varied = make_slab([stock], seed, asked)
        own = as_ever.labels == Organ.PANCREAS
        now = varied.labels == Organ.PANCREAS
        assert now.sum() < own.sum()
        assert not (now & ~own).any()
