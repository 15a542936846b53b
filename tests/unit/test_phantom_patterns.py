"""Painted patterns lie where they are said to, and look like what they are called."""

import numpy as np
import pytest

from dicomnode.phantom.patterns import LUNG_PATTERNS, Painter, Pattern
from dicomnode.phantom.structures import Organ, Tissue

SPACING = (2.0, 2.0, 2.0)


def painter(seed: int) -> Painter:
    """A lung beside fat with a tube of colon in it."""
    labels = np.full((40, 60, 90), Organ.VISCERAL_FAT, np.uint8)
    labels[:, :, :45] = Organ.LUNG_RIGHT
    tissue = np.full(labels.shape, Tissue.WALL, np.uint8)
    y, x = np.mgrid[:60, :90]
    far = np.hypot(y - 30, x - 68)
    labels[:, far < 12] = Organ.COLON
    tissue[:, far < 10] = Tissue.INNER
    hu = np.select(
        [labels == Organ.LUNG_RIGHT, tissue == Tissue.INNER, labels == Organ.COLON],
        [-840.0, -950.0, 45.0],
        -100.0,
    ).astype(np.float32)
    rng = np.random.default_rng(seed)
    return Painter(rng, hu=hu, labels=labels, tissue=tissue, spacing=SPACING)


@pytest.mark.parametrize("pattern", LUNG_PATTERNS)
def test_patterns_of_the_lung_stay_in_the_lung(pattern: Pattern) -> None:
    told = painter(3)
    before = told.hu.copy()
    assert told.paint(pattern)
    where = told.painted == pattern
    assert where.sum() > 100
    assert (told.labels[where] == Organ.LUNG_RIGHT).all()
    assert (told.hu[:, :, 45:] == before[:, :, 45:]).all()
    mean, spread = float(told.hu[where].mean()), float(told.hu[where].std())
    low, high = {
        Pattern.GROUND_GLASS: (-720, -400),
        Pattern.RETICULATION: (-800, -400),
        Pattern.HONEYCOMBING: (-850, -250),
        Pattern.CONSOLIDATION: (-400, 110),
        Pattern.EMPHYSEMA: (-1010, -860),
    }[pattern]
    assert low < mean < high
    if pattern in (Pattern.RETICULATION, Pattern.HONEYCOMBING):
        assert spread > 100


def test_colitis_thickens_the_wall_and_hazes_the_fat() -> None:
    told = painter(4)
    before = told.hu.copy()
    assert told.paint(Pattern.COLITIS)
    where = told.painted == Pattern.COLITIS
    assert (
        where.sum()
        > 1.5
        * ((told.labels == Organ.COLON) & (told.tissue == Tissue.WALL))[where.any((1, 2))].sum()
        / 2
    )
    assert float(told.hu[where].mean()) > -20
    fat = (told.labels == Organ.VISCERAL_FAT) & ~where
    assert float((told.hu - before)[fat].max()) > 15
    assert (told.hu[:, :, :40] == before[:, :, :40]).all()


def test_without_the_organ_nothing_is_painted() -> None:
    told = painter(5)
    told.labels[:] = Organ.LIVER
    before = told.hu.copy()
    assert not any(told.paint(pattern) for pattern in Pattern)
    assert np.array_equal(told.hu, before)
    assert not told.painted.any()
