"""Words for places and sizes, from boxes and masks of the bundle `cxr_description`."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "algorithms" / "cxr_description" / "scripts" / "words.py"


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = spec_from_file_location("description_words", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    import sys

    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lungs(words: ModuleType) -> object:
    """Both from row 2 to 18 of 20; the patient's right on the left of the image."""
    organs = np.zeros((3, 20, 20))
    organs[1, 2:18, 2:9] = organs[2, 2:18, 11:18] = 1
    found: object = words.lungs_of(organs)
    return found


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0.15, 0.12, 0.25, 0.22), ("upper zone", "right")),
        ((0.15, 0.75, 0.25, 0.85), ("lower zone", "right")),
        ((0.75, 0.45, 0.85, 0.55), ("middle zone", "left")),
        ((0.52, 0.45, 0.60, 0.55), ("hilum", "left")),
        ((0.60, 0.15, 0.85, 0.85), ("several zones", "left")),
    ],
)
def test_a_box_is_placed_by_the_lungs(
    words: ModuleType, lungs: object, box: tuple[float, ...], said: tuple[str, str]
) -> None:
    assert words.place_words([box], lungs) == said


def test_boxes_on_both_sides_are_bilateral_and_of_different_zones_several(
    words: ModuleType, lungs: object
) -> None:
    right, left = (0.15, 0.12, 0.25, 0.22), (0.75, 0.75, 0.85, 0.85)
    assert words.place_words([right, left], lungs) == ("several zones", "bilateral")


def test_sizes_grow_with_what_the_boxes_cover(words: ModuleType, lungs: object) -> None:
    boxes = [(0.1, 0.1, 0.1 + side, 0.1 + side) for side in (0.1, 0.35, 0.6)]
    assert [words.size_word([box], lungs) for box in boxes] == ["small", "medium", "large"]
    degrees = [words.graded(x, words.RATIO_LIMITS, words.DEGREES) for x in (0.49, 0.5, 0.58, 0.7)]
    assert degrees == ["borderline", "mild", "moderate", "marked"]


def test_without_both_lungs_there_is_no_place(words: ModuleType) -> None:
    assert words.lungs_of(np.zeros((3, 8, 8))) is None
