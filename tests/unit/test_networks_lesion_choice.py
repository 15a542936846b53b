"""Which candidates are outlined: nothing that is reported may look otherwise for it."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from dicomnode.networks.lesion_choice import Choice
from dicomnode.networks.lesion_finder import CUBE, FoundInferer, LesionFinder
from dicomnode.networks.lesion_placing import PlaceLesionsd
from dicomnode.networks.transforms import ToWorkingGridd

ROWS = ("scores", "types", "long_axes", "short_axes", "boxes")

Rows = npt.NDArray[np.int_]


class Looking:
    """Gives known scores, and remembers of which rows it was asked."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = np.array(scores)
        self.asked: list[int] = []

    def __call__(self, rows: Rows) -> npt.NDArray[np.float64]:
        self.asked.extend(rows.tolist())
        return self.scores[rows]


def choice(
    along: list[float], kinds: list[int], *, bounds: list[float] | float = 1.0, most: int = 10
) -> Choice:
    """Cubes of 30 mm in a row; only type 0 is reported, from .5 on."""
    n = len(along)
    return Choice(
        points=np.array([[x, 0.0, 0.0] for x in along]),
        sides=np.full(n, 30.0),
        kinds=np.array(kinds),
        most_scores=np.broadcast_to(np.asarray(bounds, float), (n,)).copy(),
        floors=np.where(np.array(kinds) == 0, 0.5, np.inf),
        most=most,
    )


def test_what_is_far_from_every_reported_lesion_is_not_looked_at() -> None:
    look = Looking([0.6, 0.9, 0.8])
    rows, scores = choice([0, 20, 200], [0, 1, 1]).made(look)
    assert rows.tolist() == [1, 0]
    assert sorted(look.asked) == [0, 1]
    assert np.isnan(scores[2])


def test_what_is_less_sure_than_the_lesion_beside_it_cannot_hide_it() -> None:
    look = Looking([0.6, 0.55, 0.9])
    rows, _ = choice([0, 20, 20], [0, 1, 1], bounds=[1.0, 1.0, 0.59]).made(look)
    assert rows.tolist() == [0]
    assert 2 not in look.asked


def test_what_may_hide_the_one_that_hides_counts_too() -> None:
    # 25 mm apart each: the third touches the second alone, the fourth is not sure enough.
    rows, _ = choice([0, 25, 50, 75], [0, 1, 1, 1]).made(Looking([0.6, 0.7, 0.8, 0.75]))
    assert rows.tolist() == [2, 1, 0]


def test_nothing_reported_is_nothing_looked_at() -> None:
    look = Looking([0.9, 0.4])
    rows, _ = choice([0, 10], [1, 0], bounds=[1.0, 0.45]).made(look)
    assert not len(rows)
    assert not look.asked


def test_the_surest_of_each_type_are_kept_also_of_those_that_nobody_is_told_of() -> None:
    # Two of type 1 far away are surer: with two outlined of each type the near one is none.
    look = Looking([0.6, 0.7, 0.9, 0.8])
    rows, _ = choice([0, 20, 300, 400], [0, 1, 1, 1], most=2).made(look)
    assert rows.tolist() == [0]
    rows, _ = choice([0, 20, 300, 400], [0, 1, 1, 1], most=3).made(look)
    assert rows.tolist() == [1, 0]


def test_each_row_is_looked_at_once() -> None:
    look = Looking([0.6, 0.7, 0.8, 0.9])
    choice([0, 20, 20, 45], [0, 1, 1, 0], most=1).made(look)
    assert len(set(look.asked)) == len(look.asked)


def shapes(cubes: int) -> torch.Tensor:
    """Smooth random outlines, some of several parts, some that leave their cube, some empty."""
    rough = torch.randn(cubes, 1, 5, 5, 5)
    smooth = torch.nn.functional.interpolate(rough, size=(CUBE,) * 3, mode="trilinear")
    return 5 * smooth[:, 0]


@pytest.mark.parametrize("seed", range(4))
def test_reported_lesions_are_the_same_whether_the_others_are_outlined_or_not(seed: int) -> None:
    torch.manual_seed(seed)
    network = LesionFinder(3).eval()
    outlines: dict[tuple[float, ...], torch.Tensor] = {}

    def outlined(cubes: torch.Tensor) -> torch.Tensor:
        """The same outline for the same cube, whichever others are asked for with it."""
        for cube in cubes:
            outlines.setdefault(tuple(cube[0, 0, :8].tolist()), shapes(1)[0])
        return torch.stack([outlines[tuple(cube[0, 0, :8].tolist())] for cube in cubes])

    network.outline.forward = outlined  # type: ignore[method-assign]
    ct = MetaTensor(torch.randn(1, 64, 64, 64) * 200 + 100, affine=torch.eye(4).double() * 2)
    heat = torch.randn(1, 4, 32, 32, 32)
    network.candidates.forward = lambda hu: heat  # type: ignore[method-assign]
    data: dict[Hashable, Any] = {**ToWorkingGridd("image", spacing=(2, 2, 2))({"image": ct})}
    every = FoundInferer(
        views=2, at_least=0.0, least_score=0.0, candidates=12, most=6, types=[7, 8, 9]
    )
    place = PlaceLesionsd("pred", types=[7, 8, 9])

    def reported(inferer: FoundInferer) -> tuple[list[Any], int]:
        with torch.inference_mode():
            found = inferer(data["image"].as_tensor()[None], network)
        given: dict[Hashable, Any] = {**data, "pred": found}
        pred: Any = place(given)["pred"]
        mask = np.asarray(pred["mask"])
        lesions = [
            (score, long.tolist(), short.tolist(), box.tolist(), np.argwhere(mask == n + 1).sum())
            for n, (score, kind, long, short, box) in enumerate(
                zip(*(pred[key] for key in ROWS), strict=True)
            )
            if kind == 8 and score >= floor
        ]
        return lesions, len(found["scores"])

    floor = 0.0
    scores = sorted(score for score, *_ in reported(every)[0])
    floor = scores[len(scores) // 2]
    wanted, of_all = reported(every)
    sparing, of_few = reported(every.only_for({8: floor}))
    assert wanted
    assert of_few < of_all
    assert len(sparing) == len(wanted)
    for one, other in zip(sparing, wanted, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-6)
        assert np.ravel(one[1]) == pytest.approx(np.ravel(other[1]), abs=1e-3)
        assert one[2:] == other[2:]
